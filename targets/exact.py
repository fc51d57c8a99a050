"""The default backend: the device's equations, simulated exactly.

`Cells` hands out what the cells of one load show, `Reader` turns it into the job's coordinates. The board
model runs the same two with its own circuit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray, IntArray
from spucc.backend import Chunk, Mode, Normals, Progress, Request, Streams, members_of, pieces, silent
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.readback import Affine, HostLoop, ReadBack
from spucc.stages import Configuration, Job, Quantized
from spucc.targets.circuits import Board, board
from spucc.targets.hostloop import Sweep, sweep, warm_up
from spucc.targets.law import Gaussian, cells, corrected
from spucc.targets.stepper import Stepper, starts, stepper
from spucc.targets.walk import Walk
from spucc.threads import one_blas_thread

# The purposes of random streams: the host's, then two for each member of an ensemble, its cells' and its
# read-out's.
_HOST, _MEMBER = 0, 1
# Random numbers that are made and worked on together: what a cache holds.
_GROUP = 2**16


class Cells(Protocol):
    """One load of a device: draws of its cells in order, [chains, count, cells]."""

    def take(self, first: int, count: int) -> NDArray[Any]: ...

    @property
    def state(self) -> NDArray[Any]:
        """What is needed to go on after the last draw taken, [chains, states]; no columns where nothing
        is."""
        ...

    @property
    def note(self) -> str:
        """How far the law of the draws may be from the circuit's; empty where that is rounding alone."""
        ...


class IndependentCells:
    """Every draw from the law after infinite time."""

    def __init__(self, law: Gaussian, streams: Streams, chains: int, dtype: str) -> None:
        self._factor = law.factor_of(dtype)
        self._mean = law.mean.astype(dtype) if law.mean.any() else None
        self._normals = Normals(streams, chains, law.n, dtype)
        self._chains, self._dtype = chains, dtype
        tiles = _GROUP // 2 // max(1, chains * self._factor.tile * law.n)
        self._piece = self._factor.tile * max(1, tiles)

    def take(self, first: int, count: int) -> NDArray[Any]:
        out = np.empty((self._chains, count, self._factor.n), dtype=self._dtype)
        at, end = first, first + count
        while at < end:
            low = at - at % self._factor.tile
            high = min(end, low + self._piece)
            out[:, at - first : high - first] = self._piece_of(low, at, high)
            at = high
        if self._mean is not None:
            out += self._mean
        return out

    def _piece_of(self, low: int, first: int, end: int) -> NDArray[Any]:
        """Draws first … end − 1, of which `low` is the start of a tile."""
        tile, n = self._factor.tile, self._factor.n
        high = low + -(-(end - low) // tile) * tile
        if (low, high) == (first, end):
            z = self._normals.take(low, high - low)
        else:
            z = np.zeros((self._chains, high - low, n), dtype=self._dtype)
            z[:, first - low : end - low] = self._normals.take(first, end - first)
        return self._factor.colour(z.reshape(-1, n)).reshape(z.shape)[:, first - low : end - low]

    @property
    def state(self) -> NDArray[Any]:
        return np.zeros((self._chains, 0))

    @property
    def note(self) -> str:
        return off_by(getattr(self._factor, "error", 0.0))


def off_by(error: float) -> str:
    """A note of an error in standard deviations."""
    return f"the law of a draw is within {error:.1g} standard deviations of the circuit's" if error else ""


class WalkCells:
    """The path of a circuit of many unequal cells (`spucc.targets.walk`), a draw at a time."""

    def __init__(
        self, walk: Walk, streams: Streams, chains: int, dtype: str, state: NDArray[Any] | None
    ) -> None:
        self._walk, self._streams, self._chains, self._dtype = walk, streams, chains, dtype
        # The state at draw `first` − 1; before the first draw there is none.
        self._state = np.zeros((chains, walk.states)) if state is None else state

    def take(self, first: int, count: int) -> NDArray[Any]:
        out = np.empty((self._chains, count, self._walk.n), dtype=self._dtype)
        for t in range(first, first + count):
            rngs = [self._streams.at(c, t) for c in range(self._chains)]
            self._state = self._walk.after(self._state, rngs) if t else self._walk.start(rngs)
            out[:, t - first] = self._walk.cells(self._state)
        return out

    @property
    def state(self) -> NDArray[Any]:
        return self._state

    @property
    def note(self) -> str:
        return off_by(self._walk.error)


class PathCells:
    """The circuit's own path. The state is that at the start of the tile that the next draw belongs to."""

    def __init__(
        self, path: Stepper, streams: Streams, chains: int, state: NDArray[Any] | None, first: int
    ) -> None:
        self._path, self._chains = path, chains
        if state is None:
            state = path.start(starts(streams, chains, path.width))
        self._normals = Normals(streams, chains, path.width, path.dtype)
        self._group = max(1, _GROUP // max(1, chains * path.tile * path.width))
        self._next = first // path.tile
        self._before, self._after = state, state
        self._at = first
        self._last: NDArray[Any] | None = None

    def take(self, first: int, count: int) -> NDArray[Any]:
        tile, end = self._path.tile, first + count
        out: NDArray[Any] | None = None
        at = first
        while at < end or out is None:
            if self._last is None or at == self._next * tile:
                # Whole tiles by the group; one that is not used up by itself, to keep the state before it.
                self._make(min(self._group, max(1, (end - at) // tile)))
            assert self._last is not None
            low = self._next * tile - self._last.shape[1]
            part = self._last[:, at - low : end - low]
            if out is None:
                out = np.empty((self._chains, count, part.shape[2]), dtype=part.dtype)
            out[:, at - first : at - first + part.shape[1]] = part
            at += part.shape[1]
        self._at = end
        return out

    def _make(self, tiles: int) -> None:
        tile = self._path.tile
        self._before = self._after
        z = self._normals.take(self._next * tile, tiles * tile)
        self._last, self._after = self._path.steps(self._before, z)
        self._next += tiles

    @property
    def state(self) -> NDArray[Any]:
        return self._after if self._at == self._next * self._path.tile else self._before

    @property
    def note(self) -> str:
        return off_by(getattr(self._path, "error", 0.0))


@dataclass
class Ensemble:
    """The members of a configuration, draws interleaved by weight (`spucc.backend.members_of`) and
    corrected."""

    codes: Quantized
    members: Sequence[Cells]
    taken: IntArray
    """How many draws each member has given."""

    def take(self, first: int, count: int) -> NDArray[Any]:
        if len(self.members) == 1:
            return apply(self.codes.readback[0], self.members[0].take(first, count))
        who = members_of(self.codes.weight, first, count)
        out: NDArray[Any] | None = None
        for m, member in enumerate(self.members):
            at = np.flatnonzero(who == m)
            if not at.size:
                continue
            part = apply(self.codes.readback[m], member.take(int(self.taken[m]), at.size))
            if out is None:
                out = np.empty((part.shape[0], count, part.shape[2]), dtype=part.dtype)
            out[:, at] = part
            self.taken[m] += at.size
        assert out is not None
        return out

    @property
    def state(self) -> NDArray[Any]:
        return np.concatenate([m.state for m in self.members], axis=1)

    @property
    def note(self) -> str:
        return "; ".join(dict.fromkeys(m.note for m in self.members if m.note))


def apply(back: ReadBack, y: NDArray[Any]) -> NDArray[Any]:
    """A read-back on draws of any float type; diagonal maps work in place."""
    assert not isinstance(back, HostLoop)
    if isinstance(back, Affine) and back.is_diagonal:
        if (back.matrix.data != 1.0).any():
            y *= back.matrix.data.astype(y.dtype)
        if back.offset.any():
            y += back.offset.astype(y.dtype)
        return y
    return back.draws(y).astype(y.dtype, copy=False)


class Reader:
    """Draws of the job's coordinates from those of the cells: read-backs from last to first, a host loop
    among them.

    `laws` are the members' laws before their own correction, which only a host loop needs.
    """

    def __init__(
        self,
        configuration: Configuration,
        source: Ensemble,
        laws: Sequence[Gaussian],
        streams: Streams,
        chains: int,
        state: NDArray[Any] | None,
    ) -> None:
        backs = configuration.readback
        at = [k for k, b in enumerate(backs) if isinstance(b, HostLoop)]
        if len(at) > 1:
            fail("E0722", "a job with more than one host loop cannot run")
        self._source, self._chains = source, chains
        self._outer = backs[: at[0]] if at else ()
        self._inner = backs[at[0] + 1 :] if at else backs
        loop = backs[at[0]] if at else None
        self._loop = loop if isinstance(loop, HostLoop) else None
        if self._loop is None:
            return
        self._warm = warm_up(self._loop)
        self._sweeps: list[Sweep] = []
        for m, law in enumerate(laws):
            known = corrected(law, source.codes.readback[m])
            for back in reversed(self._inner):
                if not isinstance(back, Affine):
                    fail("E0722", "a host loop over spins cannot run")
                known = corrected(known, back)
            self._sweeps.append(sweep(self._loop, known))
        n = self._sweeps[0].width
        self._numbers = Normals(streams, chains, n)
        self._x = np.zeros((chains, n)) if state is None else state
        self._fresh = state is None

    @staticmethod
    def sweeps_before(configuration: Configuration, first: int) -> int:
        """How many draws of the cells the draws before number `first` have used."""
        loop = next((b for b in configuration.readback if isinstance(b, HostLoop)), None)
        return first if loop is None else (warm_up(loop) + first * loop.sweeps if first else 0)

    def take(self, first: int, count: int) -> NDArray[Any]:
        if self._loop is None:
            y = self._source.take(first, count)
            for back in reversed(self._inner):
                y = apply(back, y)
            return y
        sweeps = self._loop.sweeps
        if self._fresh:
            self._sweep(0, self._warm, self._warm)
            self._fresh = False
        out: NDArray[Any] = self._sweep(self._warm + first * sweeps, count * sweeps, sweeps)
        for back in reversed(self._outer):
            out = apply(back, out)
        return out

    def _sweep(self, first: int, count: int, each: int) -> FloatArray:
        """`count` sweeps from number `first` on; the host's x after every `each` of them, [chains, count //
        each, n]."""
        kept = np.empty((self._chains, count // each, self._x.shape[1]))
        piece = min(4096, max(16, 2**24 // max(1, self._x.size)))
        for low in range(0, count, piece):
            here = min(piece, count - low)
            eta = self._source.take(first + low, here)
            for back in reversed(self._inner):
                eta = apply(back, eta)
            z = self._numbers.take(first + low, here)
            who = members_of(self._source.codes.weight, first + low, here)
            for t in range(here):
                self._x = self._sweeps[who[t]](self._x, eta[:, t], z[:, t])
                if (low + t + 1) % each == 0:
                    kept[:, (low + t) // each] = self._x
        return kept

    @property
    def state(self) -> NDArray[Any]:
        """The cells' state and, in front of it, the host's."""
        own = np.zeros((self._chains, 0)) if self._loop is None else self._x
        return np.concatenate([own, self._source.state], axis=1)

    @property
    def note(self) -> str:
        """See `Cells`."""
        return self._source.note


class Circuits:
    """The circuits of a configuration's members as they run: a subclass may know more of a board than its
    file says."""

    def __init__(self, boards: Sequence[Board]) -> None:
        self.boards = boards

    def known(self, m: int) -> Gaussian:
        """The law that the host takes member m's cells to have."""
        return cells(self.boards[m])

    def law(self, m: int, dtype: str) -> Gaussian:
        """The law that member m's cells have."""
        return cells(self.boards[m])

    def path(self, m: int, interval: float, settle: float, dtype: str) -> Stepper | Walk:
        """Member m's circuit, read at an interval."""
        return stepper(self.boards[m], interval, settle, dtype)

    def readout(self, m: int, source: Cells, interval: float, streams: Streams) -> Cells:
        """What is read when member m's cells show `source`."""
        return source


@one_blas_thread()
def reader(configuration: Configuration, circuits: Circuits, name: str, request: Request) -> Reader:
    """What hands out a job's draws when its members make `circuits`.

    Raises:
        SpuccError: E0720, E0721 for circuits without a law; E0723 for a trajectory without an interval;
        E0724 for
            ones that are too large; E0725 for a host loop that does not converge.
    """
    codes, chains, state = configuration.codes, request.chains, request.state
    loop = next((b for b in configuration.readback if isinstance(b, HostLoop)), None)
    first = Reader.sweeps_before(configuration, request.first)
    begun = taken_before(codes, first)
    interval = configuration.schedule.interval if request.interval is None else request.interval
    if request.mode is Mode.TRAJECTORY and request.interval is None and interval == 0:
        fail(
            "E0723",
            f"the program does not say how long to wait between two draws of job `{name}`",
            help="give the interval in seconds, or compile with a schedule",
        )
    host_state = None
    if loop is not None and state is not None:
        host_state, state = state[:, : loop.potential.size], state[:, loop.potential.size :]
    members: list[Cells] = []
    for m in range(codes.members):
        streams = Streams(request.seed, name, _MEMBER + 2 * m)
        cells_of_m: Cells
        if request.mode is Mode.INDEPENDENT:
            cells_of_m = IndependentCells(circuits.law(m, request.dtype), streams, chains, request.dtype)
        else:
            path = circuits.path(m, interval, configuration.schedule.settle, request.dtype)
            mine = None
            if state is not None:
                mine, state = state[:, : path.states], state[:, path.states :]
            if isinstance(path, Walk):
                cells_of_m = WalkCells(path, streams, chains, request.dtype, mine)
            else:
                cells_of_m = PathCells(path, streams, chains, mine, int(begun[m]))
        noise = Streams(request.seed, name, _MEMBER + 2 * m + 1)
        members.append(circuits.readout(m, cells_of_m, interval, noise))
    laws = [circuits.known(m) for m in range(codes.members)] if loop is not None else []
    host = Streams(request.seed, name, _HOST)
    return Reader(configuration, Ensemble(codes, members, begun), laws, host, chains, host_state)


def taken_before(codes: Quantized, first: int) -> IntArray:
    """How many of the first draws each member gives."""
    counts = np.zeros(codes.members, dtype=np.int64)
    for start in range(0, first, 2**20):
        who = members_of(codes.weight, start, min(2**20, first - start))
        counts += np.bincount(who, minlength=counts.size)
    return counts


@dataclass(frozen=True)
class Exact:
    """Independent draws of the law that the codes realise, or the circuit's exact path."""

    name: str = "exact"

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend`; raises what `reader` raises, and E0722 for cells that are not
        linear."""
        configuration = configuration_of(job)
        boards = [board(configuration.codes, m, device) for m in range(configuration.codes.members)]
        yield from chunks(reader(configuration, Circuits(boards), job.name, request), job, request, progress)


def configuration_of(job: Job) -> Configuration:
    """The job's configuration. Raises E0726 for a job that is not compiled to the end."""
    if not isinstance(job.value, Configuration):
        fail("E0726", f"job `{job.name}` is not compiled to the end, so it cannot run")
    return job.value


def chunks(source: Reader, job: Job, request: Request, progress: Progress) -> Iterator[Chunk]:
    """The draws that a request asks for, in pieces of about its memory."""
    for done, count in pieces(request, 3 * max(configuration_of(job).codes.n, job.target.n)):
        with one_blas_thread():
            values = source.take(done, count).astype(request.dtype, copy=False)
        progress(job.name, (done + count - request.first) / request.draws)
        state = source.state
        yield Chunk(done, values, state if state.shape[1] else None, source.note)
