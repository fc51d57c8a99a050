"""Paths of a linear device's cells from a given start: the circuit's own equation, stepped exactly (physics §1, §3).

Through the read-back x = A y + b a path is one of the model's coordinates, in the device's seconds. Coils start without a
current: what a capacitive board does from set voltages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import BoolArray, FloatArray
from spucc.backend import Normals, Streams, members_of
from spucc.device import Device, Family
from spucc.diagnostics import fail
from spucc.readback import Affine
from spucc.stages import Configuration, Job
from spucc.targets.circuits import Board, board
from spucc.targets.exact import configuration_of
from spucc.targets.gaussian import root
from spucc.targets.linear import system, transition
from spucc.targets.stepper import WALKED_CELLS
from spucc.targets.walk import Walk
from spucc.threads import one_blas_thread

# The purpose of a member's random stream, apart from those of draws.
_PATH = 2_000_000
# Random numbers that are made at a time.
_PIECE = 2**20


@dataclass(frozen=True, eq=False)
class LinearPaths:
    """`values` [paths, times, n] of the job's coordinates; `heat` [paths] given to the bath, in units of kT: what the energy of
    cells and coils has fallen by; `error` of the law of one reading after the last, in standard deviations, beside rounding."""

    values: FloatArray
    heat: FloatArray
    error: float


class Load(Protocol):
    """One load of a real board: its circuit, without dead cells, and what is read of it."""

    @property
    def circuit(self) -> Board: ...

    @property
    def alive(self) -> BoolArray: ...

    def read(self, cells: FloatArray, streams: Streams) -> FloatArray:
        """What is shown, [paths, times, n], when the cells that work are at [paths, times, working]."""
        ...


@one_blas_thread()
def follow(
    job: Job,
    device: Device,
    start: FloatArray,
    *,
    duration: float,
    times: int,
    paths: int,
    seed: int = 0,
    loads: Sequence[Load] | None = None,
) -> LinearPaths:
    """`paths` paths from `start` [n] (the job's coordinates), read at the times k·duration/times, k = 1 … times.

    An ensemble's members share the paths by their weights; `loads` [members] are what they make on a board that is not quite
    as its file says. Raises E0493 for a job with a host loop, E0720 to E0724 as
    `spucc.targets.stepper.stepper`.
    """
    configuration = configuration_of(job)
    codes = configuration.codes
    values: FloatArray = np.empty((paths, times, job.target.n))
    heat, error = np.zeros(paths), 0.0
    who = members_of(codes.weight, 0, paths)
    for m in np.unique(who):
        back, load = _whole(configuration, int(m), job.name), None if loads is None else loads[m]
        circuit = board(codes, int(m), device) if load is None else load.circuit
        at = np.flatnonzero(who == m)
        streams = Streams(seed, job.name, _PATH + int(m))
        begin = cells_at(back, start)
        first = np.broadcast_to(begin if load is None else begin[load.alive], (at.size, circuit.n))
        cells, currents, off = _path(circuit, first, duration / times, times, streams)
        heat[at] = _energy(circuit, first, np.zeros_like(first)) - _energy(circuit, cells[:, -1], currents)
        if load is not None:
            cells = load.read(cells, Streams(seed, job.name, _PATH + codes.members + int(m)))
        values[at], error = back.draws(cells), max(error, off)
    return LinearPaths(values, heat, error)


def _path(
    circuit: Board, first: FloatArray, interval: float, times: int, streams: Streams
) -> tuple[FloatArray, FloatArray, float]:
    """The cells [paths, times, n], the coils' last currents [paths, n] (0 without coils) and the error of a step."""
    paths, n = first.shape
    cells, still = np.empty((paths, times, n)), np.zeros((paths, n))
    if n > WALKED_CELLS:
        walk = Walk(circuit, interval, 0.0)
        state = walk.at(first)
        for t in range(times):
            state = walk.after(state, [streams.at(c, t) for c in range(paths)])
            cells[:, t] = walk.cells(state)
        return cells, state[:, :n] / circuit.inductance if walk.states > n else still, walk.error
    linear = system(circuit)
    f, q = transition(linear, interval)
    r, coils = root(q), linear.d - n
    x = np.zeros((paths, linear.d))
    x[:, coils:] = (first - linear.mean_read()) / linear.read_unit
    numbers = Normals(streams, paths, linear.d)
    piece = max(1, _PIECE // max(1, x.size))
    for low in range(0, times, piece):
        z = numbers.take(low, min(piece, times - low))
        for t in range(z.shape[1]):
            x = x @ f.T + z[:, t] @ r.T
            cells[:, low + t] = x[:, coils:]
    cells = cells * linear.read_unit + linear.mean_read()
    return cells, x[:, :coils] * linear.unit[:coils] if coils else still, 0.0


def _energy(circuit: Board, cells: FloatArray, currents: FloatArray) -> FloatArray:
    """[paths] in units of kT: ½ yᵀKy − bias·y of the cells, and ½ L i² of coils."""
    stored = 0.5 * np.einsum("kn,nk->k", cells, circuit.matrix @ cells.T) - cells @ circuit.bias
    if circuit.family is Family.CAPACITIVE:
        stored = stored + 0.5 * currents**2 @ circuit.inductance
    return np.asarray(stored / circuit.scale)


def _whole(configuration: Configuration, member: int, name: str) -> Affine:
    """From a member's cells to the job's coordinates, as one map."""
    total = configuration.codes.readback[member]
    for back in reversed(configuration.readback):
        if not isinstance(back, Affine):
            fail(
                "E0493",
                f"job `{name}` runs in a loop with the host, so its draws are not a path of the device",
                help="compile for a device that holds the model in one load, or ask for `sample`",
            )
        total = back.after(total)
    return total


def cells_at(back: Affine, x: FloatArray) -> FloatArray:
    """The positions y [cells] that are read as x = A y + b [n]: exact where A is invertible, else of least norm."""
    gap = np.asarray(x - back.offset, dtype=np.float64)
    a = sparse.csr_array(back.matrix)
    if a.shape[0] == a.shape[1] and a.nnz == a.shape[0]:
        # one entry a row and a column: a scaled permutation
        y = np.zeros(a.shape[1])
        rows = np.repeat(np.arange(a.shape[0]), np.diff(a.indptr))
        y[a.indices] = gap[rows] / a.data
        return y
    return np.asarray(sparse_linalg.lsqr(a, gap, atol=1e-14, btol=1e-14)[0])
