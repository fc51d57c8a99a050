"""Stationary or cold-started trajectories of linear circuits, read at a fixed interval, many steps at once.

    y(t) = F y(t − 1) + R ξ(t),   cells(t) = y(t) W + mean

Steps are made in tiles of P blocks of B. Random numbers are exchangeable, so within a tile they are taken to
lie as suits the products. These have the same shapes whatever is asked for beside the tile, so that a path
has the same bytes for any number of chains and draws.
"""

from __future__ import annotations

from math import inf
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.backend import Streams
from spucc.diagnostics import fail
from spucc.targets.chebyshev import Spectral
from spucc.targets.circuits import Board
from spucc.targets.gaussian import root
from spucc.targets.linear import Linear, Modes, boltzmann, modes, repeated, system, transition
from spucc.targets.walk import Walk

# Cells above which no dense matrix of a circuit is made: of equal ones, of unequal ones; and states above which noise that
# is updated at intervals is refused.
MODAL_CELLS = 2048
WALKED_CELLS = 512
GENERAL_STATES = 3000
# Matrix elements below this are nothing, and as denormal numbers would cost a hundred times the others.
_NOTHING = 1e-25
# The block of random numbers that no path gets to.
_START = 2**62


class Stepper(Protocol):
    """A circuit at a fixed interval. A chain's state is [states]; one draw takes `width` random numbers."""

    @property
    def width(self) -> int: ...

    @property
    def states(self) -> int: ...

    @property
    def dtype(self) -> Any:
        """The type of the random numbers."""
        ...

    @property
    def tile(self) -> int:
        """Steps that are made together: a trajectory can be resumed at multiples of it."""
        ...

    def start(self, z: FloatArray) -> NDArray[Any]:
        """States [chains, states] at the first draw from z [chains, width]."""
        ...

    def steps(self, state: NDArray[Any], z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The k tiles after `state` from random numbers [chains, k·tile, width], which are overwritten →
        cells [chains, k·tile, n], state."""
        ...


# --- equal cells
# --------------------------------------------------------------------------------------------------------


class Modal:
    """A circuit that falls apart into n modes of K = 1 or 2 states, of which the last one is read.

    `f`, `low`, `begin` [n, K, K]: F, R and the root of the first state's covariance; `weights` W [n, n];
    `mean` [n]. A draw costs n (K B + n) multiplications, all of them in products of small matrices: within a
    mode, B steps from the state before them are one matrix, and so are the states before all blocks of a
    tile from what each block adds. Nothing is divided, so F and R may be singular.
    """

    def __init__(
        self,
        f: FloatArray,
        low: FloatArray,
        begin: FloatArray,
        weights: FloatArray,
        mean: FloatArray,
        dtype: Any,
    ) -> None:
        self.dtype: Any = np.dtype(dtype)
        n, k, _ = f.shape
        self.width = self.states = n * k
        self._block, self._blocks = 16, 32 if n * k <= 16 else 16
        self.tile = self._block * self._blocks

        def cast(x: FloatArray) -> NDArray[Any]:
            return np.ascontiguousarray(x, dtype=self.dtype)

        self._f, self._low, self._begin = cast(f), cast(low), cast(begin)
        self._weights, self.mean = cast(weights), cast(mean)
        power = powers(f, self._block)
        inside = lagged(power, self._block, self._block, 0)
        # The first number of a block is given its R, and F times the state before the block, by themselves.
        inside[:, :, 1:] = inside[:, :, 1:] @ low[:, None, None]
        self._shown = cast(inside[:, :, :, -1].transpose(0, 2, 3, 1).reshape(n, -1, self._block))
        self._added = cast(inside[:, -1].transpose(0, 1, 3, 2).reshape(n, -1, k))
        leap = powers(power[:, -1], self._blocks)
        between = lagged(leap, self._blocks + 1, self._blocks, 1)
        self._joined = cast(between.transpose(0, 2, 4, 1, 3).reshape(n, self._blocks * k, -1))
        self._carried = cast(leap[:, :-1].transpose(0, 3, 1, 2).reshape(n, k, -1))
        self._leap = cast(leap[:, -1])

    def start(self, z: FloatArray) -> NDArray[Any]:
        n, k, _ = self._f.shape
        return each(self._begin, z.astype(self.dtype).reshape(-1, n, 1, k)).reshape(z.shape)

    def steps(self, state: NDArray[Any], z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        n, k, _ = self._f.shape
        chains, tiles = z.shape[0], z.shape[1] // self.tile
        z = z.reshape(chains, tiles, n, self._blocks, self._block * k)
        first = z[..., :k]
        first[...] = each(self._low, first)
        added = (z @ self._added).reshape(chains, tiles, n, 1, self._blocks * k)
        before = added @ self._joined
        s = state.astype(self.dtype, copy=False).reshape(chains, n, 1, k)
        begin = np.empty((chains, tiles, n, 1, k), dtype=self.dtype)
        for t in range(tiles):
            begin[:, t] = s
            s = each(self._leap, s) + before[:, t, ..., -k:]
        before = before[..., :-k] + begin @ self._carried
        first += each(self._f, before.reshape(first.shape))
        modes = (z @ self._shown).reshape(chains, tiles, n, self.tile)
        cells = (modes.swapaxes(2, 3) @ self._weights).reshape(chains, tiles * self.tile, n)
        if self.mean.any():
            cells += self.mean
        return cells, s.reshape(chains, n * k)


def powers(f: FloatArray, count: int) -> FloatArray:
    """F⁰ … F^count of matrices [n, K, K]: [n, count + 1, K, K]."""
    out = np.empty((f.shape[0], count + 1, *f.shape[1:]))
    out[:, 0] = np.eye(f.shape[1])
    for j in range(count):
        out[:, j + 1] = out[:, j] @ f
    out[np.abs(out) < _NOTHING] = 0.0
    return out


def lagged(power: FloatArray, rows: int, columns: int, delay: int) -> FloatArray:
    """[n, rows, columns, K, K]: power [n, ·, K, K] number row − column − delay, 0 for negative ones."""
    lag = np.arange(rows)[:, None] - np.arange(columns) - delay
    return np.asarray(power[:, np.maximum(lag, 0)] * (lag >= 0)[:, :, None, None])


def each(m: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Matrices [n, K, K] times vectors [..., n, P, K], elementwise so that all shapes round alike."""
    if m.shape[1] == 1:
        return np.asarray(x * m)
    out = np.empty(x.shape, dtype=x.dtype)
    for a in range(2):
        np.add(m[:, a, :1] * x[..., 0], m[:, a, 1:] * x[..., 1], out=out[..., a])
    return out


# --- any other circuit
# --------------------------------------------------------------------------------------------------------


class General:
    """Any F, normal or not: `f`, `noise`, `begin` [d, d] are F, R and the root of the first state's
    covariance; the cells are the last states times `weights` [n], plus `mean` [n].

    All blocks of a tile take their steps together, from zero; then their ends are joined one after the other
    by F^B, and what each block inherits is added, again for all together.
    """

    def __init__(
        self,
        f: FloatArray,
        noise: FloatArray,
        begin: FloatArray,
        weights: FloatArray,
        mean: FloatArray,
        dtype: Any,
    ) -> None:
        self.dtype: Any = np.dtype(dtype)
        self.width = self.states = int(f.shape[0])
        self._block = 16 if self.states <= 64 else 8
        self._blocks = 32 if self.states <= 64 else 16
        self.tile = self._block * self._blocks

        def right(m: FloatArray) -> NDArray[Any]:
            return np.ascontiguousarray(np.where(np.abs(m) < _NOTHING, 0.0, m).T, dtype=self.dtype)

        self._f, self._noise, self._begin = right(f), right(noise), right(begin)
        self._leap = right(np.linalg.matrix_power(f, self._block))
        self._weights, self.mean = weights.astype(self.dtype), mean.astype(self.dtype)

    def start(self, z: FloatArray) -> NDArray[Any]:
        return np.asarray((z.astype(self.dtype)[:, None] @ self._begin)[:, 0])

    def steps(self, state: NDArray[Any], z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        chains, steps, d = z.shape
        n = self._weights.size
        out = np.empty((chains, steps, n), dtype=self.dtype)
        state = state.astype(self.dtype, copy=False)
        for low in range(0, steps, self.tile):
            here = slice(low, low + self.tile)
            # Step b·B + j of the tile stands at [j, :, b].
            y = z[:, here].reshape(chains, self._block, self._blocks, d).swapaxes(0, 1) @ self._noise
            state = self._scan(y, state)
            shown = out[:, here].reshape(chains, self._blocks, self._block, n)
            np.multiply(y[..., d - n :].transpose(1, 2, 0, 3), self._weights, out=shown)
        if self.mean.any():
            out += self.mean
        return out, state

    def _scan(self, y: NDArray[Any], state: NDArray[Any]) -> NDArray[Any]:
        """Turn noise y [B, chains, P, d] into states in place; the last states [chains, d]."""
        for j in range(1, self._block):
            y[j] += y[j - 1] @ self._f
        carried = np.empty_like(y[-1])
        for b in range(self._blocks):
            carried[:, b] = state
            state = (state[:, None] @ self._leap)[:, 0] + y[-1][:, b]
        for j in range(self._block):
            carried = carried @ self._f
            y[j] += carried
        return state


# --- circuits
# -----------------------------------------------------------------------------------------------------------


def stepper(circuit: Board, interval: float, settle: float, dtype: str = "float64") -> Stepper | Walk:
    """The circuit read every `interval` s, first `settle` s after a cold start (0: in equilibrium from the
    start).

    Equal cells fall apart into the modes of their matrix; other circuits take the general step. Sparse
    circuits of more than 2048 equal cells use Chebyshev series of their matrix (`spucc.targets.chebyshev`), those of
    more than 512 unequal ones a series of their drift (`spucc.targets.walk`), and are never made dense.

    Raises:
        SpuccError: E0720 for a circuit that is not stable or not passive, E0721 for a matrix that is not
        positive
            definite, E0723 for an impossible interval, E0724 for one that is too large for its kind.
    """
    if not (0 <= interval < inf and settle >= 0):
        fail("E0723", f"the interval between draws is {interval} s", help="give a finite time of 0 s or more")
    warm = inf if settle == 0 else settle
    separable = modes(circuit)
    if separable is not None:
        kind = Spectral if circuit.n > MODAL_CELLS else _modal
        return kind(circuit, separable, interval, warm, dtype)
    if circuit.n > WALKED_CELLS:
        return Walk(circuit, interval, settle)
    return _general(circuit, interval, warm, dtype)


def _modal(circuit: Board, m: Modes, interval: float, warm: float, dtype: str) -> Modal:
    values, vectors = np.linalg.eigh(circuit.matrix.toarray())
    if not values.min(initial=1.0) > 0:
        fail(
            "E0721",
            "the configuration makes a network without a stable law: its matrix is not positive definite",
            help="the codes ask for more coupling than the ground components carry; compile again",
        )
    f, low = m.transfer(values, interval)
    begin = m.transfer(values, warm)[1]
    slowest = float(np.abs(np.linalg.eigvals(f)).max(initial=0.0))
    return Modal(f, low, begin, vectors.T, _mean(circuit, vectors, values), _precision(slowest, dtype))


def _mean(circuit: Board, vectors: FloatArray, values: FloatArray) -> FloatArray:
    if not circuit.bias.any():
        return np.zeros(circuit.n)
    return np.asarray(vectors @ ((vectors.T @ circuit.bias) / values))


def _general(circuit: Board, interval: float, warm: float, dtype: str) -> General:
    linear = system(circuit)
    f, q = transition(linear, interval)
    if warm == inf and circuit.equilibrium:
        begin = boltzmann(circuit, linear)
    elif warm == inf and interval > 0:
        begin = repeated(f, q, None)[1]
    else:
        begin = transition(linear, warm)[1]
    slowest = float(np.exp(-linear.rates.real.min(initial=inf) * interval)) if dtype == "float32" else 1.0
    return general(linear, f, q, begin, _precision(slowest, dtype))


def general(linear: Linear, f: FloatArray, q: FloatArray, begin: FloatArray, kind: Any) -> General:
    """The general step of F, Q [d, d] and the first state's covariance; the cells are the last states of
    `linear`."""
    return General(f, root(q), root(begin), linear.read_unit, linear.mean_read(), kind)


def _precision(slowest: float, dtype: str) -> Any:
    """Single precision only where rounding, summed over a mode's memory, stays far below sampling error."""
    return np.float32 if dtype == "float32" and slowest < 1.0 - 1e-3 else np.float64


def starts(streams: Streams, chains: int, width: int) -> FloatArray:
    """Random numbers [chains, width] of the first states."""
    return (
        np.stack([streams.at(c, _START).standard_normal(width) for c in range(chains)])
        if chains
        else np.zeros((0, width))
    )
