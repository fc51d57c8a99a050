"""Noise for SPICE, reproducible by seed: a text file for the XSPICE model `filesource`.

ngspice walks with the trapezoidal rule from one row of the file to the next, so a step sees the mean of two
neighbouring rows. The rule is Cayley's map of the circuit, which keeps A S + S Aᵀ = D exactly whatever the step when
those means are white with covariance D/h. So the rows are

    u_k = (1 + ρ) w_k − ρ u_{k−1},   w_k white of variance 2κ/h

whose means are white with a corner time of (1 − ρ)/(1 + ρ)·h/2: a mode of rate 1/(Rc) loses that share h/(Rc) of its
variance, with ρ = 0.95 a fortieth of what white rows (ρ = 0) lose.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from spucc.arrays import FloatArray
from spucc.backend import Streams, block_length

RHO = 0.95

# Where ngspice's steps come to lie: row 1 makes a break point; the steps then grow from a tenth of the last one, by
# factors of two, and reach their full length at this share of a step.
PHASE = 0.96

# Values are integers of so many to one standard deviation: rounding adds 5e-9 of the variance.
_RESOLUTION = 4096
_LARGEST = 8 * _RESOLUTION - 1


@dataclass(frozen=True, eq=False)
class Noise:
    """A noise file: rows at t = 0, h and then (k + phase) h. `unit` [n]: ampere of the integer 1 in each column."""

    name: str
    step: float
    steps: int
    unit: FloatArray


def write_noise(
    path: Path,
    name: str,
    streams: Streams,
    chain: int,
    sd: FloatArray,
    step: float,
    steps: int,
    *,
    rho: float = RHO,
    phase: float = PHASE,
) -> Noise:
    """Write the noise of one chain, `sd` [n] the standard deviation of w in A, for `steps` steps of `step` seconds.

    The first row is 0, since sources start from there (`uic`). Bounded memory. The file is there whole or not at all; raises
    OSError where it cannot be written.
    """
    n = int(sd.size)
    size = np.sqrt((1.0 + rho) ** 2 / (1.0 - rho**2))
    table = _integers()
    length = block_length(max(n, 1))
    last: FloatArray = np.zeros(n)
    with whole(path) as f:
        f.write(b"0" + b" 0" * n + b"\n")
        for start in range(0, steps + 2, length):
            count = min(length, steps + 2 - start)
            w = streams.at(chain, start // length).standard_normal((length, n))[:count]
            u = coloured(w, last, rho)
            last = u[-1]
            codes = np.clip(np.rint(u * (_RESOLUTION / size)), -_LARGEST, _LARGEST).astype(np.int64)
            rows = np.empty((count, _TIME + _WIDTH * n + 1), dtype=np.uint8)
            rows[:, :_TIME] = _times(start, count, phase)
            rows[:, _TIME:-1] = table[codes + _LARGEST].reshape(count, -1)
            rows[:, -1] = ord("\n")
            f.write(rows.tobytes())
    return Noise(name, step, steps, np.asarray(sd * size / _RESOLUTION))


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that is written beside its place and moved there at the end; nothing is left of one that fails."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as f:
            yield f
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def coloured(w: FloatArray, before: FloatArray, rho: float) -> FloatArray:
    """u_k = (1 + ρ) w_k − ρ u_{k−1} for w [m, n], u_{−1} = `before` [n]."""
    if rho == 0:
        return w
    from scipy.signal import lfilter

    u, _ = lfilter([1.0 + rho], [1.0, rho], w, axis=0, zi=-rho * before[None, :])
    return np.asarray(u)


_WIDTH = 7
_TIME = 17


def _integers() -> np.ndarray:
    """The text of every integer that a value can be, [2·largest + 1, width] bytes, blanks in front."""
    text = "".join(f"{k:{_WIDTH}d}" for k in range(-_LARGEST, _LARGEST + 1))
    return np.frombuffer(text.encode(), dtype=np.uint8).reshape(-1, _WIDTH)


def _times(start: int, count: int, phase: float) -> np.ndarray:
    """The text of the times of rows start + 1 …, in steps: 1, then k + phase."""
    k = np.arange(start, start + count)
    digits = 10 ** np.arange(9, -1, -1)
    out = np.empty((count, _TIME), dtype=np.uint8)
    whole = np.where(k == 0, 1, k)
    out[:, :10] = (whole[:, None] // digits) % 10 + ord("0")
    out[:, 10:] = np.frombuffer(f"{phase:.6f}"[1:].encode(), dtype=np.uint8)
    if start == 0:
        out[0, 11:] = ord("0")
    return out
