"""What every backend does: run one job of a program and hand out draws in chunks of bounded size.

A chunk is a stretch of draws of all chains. Draw t of chain c depends on the seed, the job's name, c and t
alone, so the same bytes come out for any chunk size, any number of threads, and a run that goes on from
where another one stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray, IntArray
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.normals import Source, source
from spucc.stages import Job

Progress = Callable[[str, float], None]


class Mode(StrEnum):
    """`independent`: every draw from the law after infinite time. `trajectory`: the device's own dynamics,
    read at the schedule's interval."""

    INDEPENDENT = "independent"
    TRAJECTORY = "trajectory"


@dataclass(frozen=True, eq=False)
class Request:
    """How many draws are wanted, and from where.

    `draws` a chain, of `chains` chains; `seed` is any integer; `dtype` is `float64` or `float32`; `interval`
    [s] replaces the schedule's. A run goes on from draw number `first` with the `state` that the chunk
    before it ended with. A chunk holds at most about `memory` bytes.
    """

    draws: int
    chains: int = 1
    seed: int = 0
    mode: Mode = Mode.INDEPENDENT
    dtype: str = "float64"
    interval: float | None = None
    first: int = 0
    state: FloatArray | None = None
    memory: int = 128 * 2**20

    def __post_init__(self) -> None:
        if self.draws < 0 or self.chains < 0 or self.first < 0:
            fail(
                "E0726", f"cannot take {self.draws} draws of {self.chains} chains from number {self.first} on"
            )
        if self.dtype not in ("float64", "float32"):
            fail("E0726", f"draws cannot be of type `{self.dtype}`", help="choose float64 or float32")
        if self.interval is not None and not 0 <= self.interval < np.inf:
            fail("E0726", f"draws cannot be {self.interval} s apart", help="give a time above 0 s")


@dataclass(frozen=True, eq=False)
class Chunk:
    """Draws `first … first + k − 1` of every chain: `values` [chains, k, coordinates of the job]. `state` is
    what a run needs in order to go on after this chunk (None: nothing). `note` says how far the law of these draws may
    be from the device's, where simulating it is not exact."""

    first: int
    values: NDArray[Any]
    state: FloatArray | None = None
    note: str = ""


def pieces(request: Request, numbers: int) -> Iterator[tuple[int, int]]:
    """(first draw, count) of one chunk after the other, of `numbers` numbers a draw of every chain.

    A chunk is as many draws as the memory holds, a power of two, and ends at a multiple of it: where streams and tiles do, and
    where the shorter chunks of other jobs do, so that a run of many jobs can go on from there.
    """
    step = max(
        1, request.memory // (max(numbers, 1) * max(request.chains, 1) * np.dtype(request.dtype).itemsize)
    )
    step = 1 << (step.bit_length() - 1)
    done, end = request.first, request.first + request.draws
    while done < end:
        count = min(end - done, step - done % step)
        yield done, count
        done += count


def silent(text: str, share: float) -> None:
    """Progress for nobody."""


class Backend(Protocol):
    """Runs the jobs of programs. `families` names the device families that it can run."""

    @property
    def name(self) -> str: ...

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """Chunks in order, in the job's coordinates, until `request.draws` draws of every chain are done.
        `job.value` is a `Configuration`. Raises `SpuccError` for a job that the backend cannot run."""
        ...


@dataclass(frozen=True)
class Streams:
    """The random streams of a job: one for each chain and block of draws, reached without those before it.

    Each is an SFC64 generator seeded through SeedSequence by (seed, job, purpose, chain, block), so that
    streams are independent for all that is known, and any of them starts in microseconds.
    """

    seed: int
    job: str
    purpose: int = 0
    _entropy: int = field(init=False, default=0)
    _words: tuple[int, int] = field(init=False, default=(0, 0))

    def __post_init__(self) -> None:
        # Any integer, negative ones too, to its own non-negative one.
        object.__setattr__(self, "_entropy", 2 * self.seed if self.seed >= 0 else -2 * self.seed - 1)
        digest = hashlib.sha256(self.job.encode()).digest()
        words = int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")
        object.__setattr__(self, "_words", words)

    def at(self, chain: int, block: int = 0) -> np.random.Generator:
        """The generator of one block of one chain."""
        return np.random.Generator(self.bits(chain, block))

    def bits(self, chain: int, block: int = 0) -> np.random.BitGenerator:
        """The random bits of one block of one chain."""
        low, high = block & 0xFFFFFFFF, block >> 32
        sequence = np.random.SeedSequence(
            self._entropy, spawn_key=(*self._words, self.purpose, chain, low, high)
        )
        return np.random.SFC64(sequence)


# Random numbers that one stream gives: enough to make its start cheap, few enough to stay in the
# second-level cache.
_BLOCK = 2**16


def block_length(width: int) -> int:
    """How many draws of `width` random numbers belong to one stream; a power of two, a function of the width
    alone."""
    return 1 << max(0, (_BLOCK // max(width, 1)).bit_length() - 1)


class Normals:
    """Standard normal numbers of the draws of all chains, `width` a draw, whatever was asked for before;
    quickest where each stretch starts where the last one ended."""

    def __init__(self, streams: Streams, chains: int, width: int, dtype: str = "float64") -> None:
        self._streams, self._chains, self._width = streams, chains, width
        self._dtype: Any = np.dtype(dtype)
        self._open: list[Source] = []
        self._at = -1

    def take(self, first: int, count: int) -> NDArray[Any]:
        """Numbers [chains, count, width] of draws first … first + count − 1."""
        values: NDArray[Any] = np.empty((self._chains, count, self._width), dtype=self._dtype)
        length = block_length(self._width)
        going_on, left = first == self._at, self._open
        self._open = []
        for chain in range(self._chains):
            done = 0
            numbers = left[chain] if going_on and left else None
            while done < count:
                block, skip = divmod(first + done, length)
                if numbers is None or skip == 0:
                    numbers = source(self._streams.bits(chain, block), self._dtype)
                    if skip:
                        numbers.fill(np.empty((skip, self._width), dtype=self._dtype))
                take = min(length - skip, count - done)
                numbers.fill(values[chain, done : done + take])
                done += take
            if numbers is not None:
                self._open.append(numbers)
        self._at = first + count
        return values


def members_of(weight: FloatArray, first: int, count: int) -> IntArray:
    """Which member of an ensemble gives draws first … first + count − 1, [count].

    Draw k of member m is due at time (k + ½)/w_m; draws are taken as they come due, the lower member first.
    So every prefix of a run holds each member's share to within one or two draws, and no draw depends on how
    many are asked for.
    """
    members = int(weight.size)
    if members == 1:
        return np.zeros(count, dtype=np.int64)
    share = np.asarray(weight, dtype=np.float64) / np.sum(weight)
    low = np.maximum(0, np.floor(first * share).astype(np.int64) - members - 2)
    high = np.ceil((first + count) * share).astype(np.int64) + members + 2
    low[share == 0], high[share == 0] = 0, 0
    who = np.repeat(np.arange(members), high - low)
    offset = np.concatenate([[0], np.cumsum(high - low)[:-1]])
    k = np.arange(who.size) - offset[who] + low[who]
    order = np.lexsort((who, (k + 0.5) / share[who]))
    skip = first - int(low.sum())
    return np.asarray(who[order][skip : skip + count])
