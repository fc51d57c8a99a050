"""Stationary or cold-started trajectories of linear circuits, read at a fixed interval, many steps at once.

    y(t) = F y(t − 1) + R ξ(t),   cells(t) = y(t) W + mean

A stretch of T = B·m steps is cut into m pieces of B. All pieces of all chains take their steps together, from
zero; then the pieces' ends are joined one after the other by F^B (by the same method, if they are many), and
what each piece inherits is added, again for all together. So any F, normal or not, runs as products of
matrices with many rows.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from spucc.targets.linear import Linear, Modes, modes, system, transition

# Cells above which no dense matrix of a circuit is made, and states above which the general step is refused.
MODAL_CELLS = 2048
# Up to so many RLC cells a product with F is quicker than its pairs.
PAIR_CELLS = 48
GENERAL_STATES = 3000
# Numbers of one stretch of a chain, and of a group of chains that is stepped together: what a cache holds.
_STRETCH = 2**16
_GROUP = 2**19


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
    def stretch(self) -> int:
        """Steps that are taken together: a trajectory can be resumed at multiples of it."""
        ...

    def start(self, z: FloatArray) -> NDArray[Any]:
        """States [chains, states] at the first draw from z [chains, width]."""
        ...

    def steps(self, state: NDArray[Any], z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The stretch after `state` from random numbers [chains, stretch, width] → cells [chains, stretch,
        n], state."""
        ...


# --- y → F y, for the three forms that F has
# ----------------------------------------------------------------------------


class Step(Protocol):
    """A linear map of states [..., d]."""

    def __call__(self, y: NDArray[Any]) -> NDArray[Any]: ...

    def squared(self) -> Step: ...


@dataclass(frozen=True, eq=False)
class Diagonal:
    """One number a mode."""

    f: NDArray[Any]

    def __call__(self, y: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(y * self.f)

    def squared(self) -> Diagonal:
        return Diagonal(self.f * self.f)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two states a mode, f [k, 2, 2]: the first states of all modes, then the second ones."""

    f: NDArray[Any]

    def __call__(self, y: NDArray[Any]) -> NDArray[Any]:
        k = self.f.shape[0]
        a, b = y[..., :k], y[..., k:]
        out = np.empty_like(y)
        np.multiply(a, self.f[:, 0, 0], out=out[..., :k])
        np.multiply(b, self.f[:, 1, 1], out=out[..., k:])
        out[..., :k] += b * self.f[:, 0, 1]
        out[..., k:] += a * self.f[:, 1, 0]
        return out

    def squared(self) -> Pairs:
        return Pairs(self.f @ self.f)


@dataclass(frozen=True, eq=False)
class Full:
    """y @ right, right = Fᵀ."""

    right: NDArray[Any]

    def __call__(self, y: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((y.reshape(-1, y.shape[-1]) @ self.right).reshape(y.shape))

    def squared(self) -> Full:
        return Full(self.right @ self.right)


def scan(step: Step, y: NDArray[Any], state: NDArray[Any]) -> NDArray[Any]:
    """Turn noise y [B, chains, m, d] into states in place; step b·B + j stands at [j, :, b]. Returns the last
    states [chains, d]. B is a power of two."""
    length, chains, pieces, d = y.shape
    for j in range(1, length):
        y[j] += step(y[j - 1])
    leap = step
    for _ in range(length.bit_length() - 1):
        leap = leap.squared()
    if pieces > 32:
        # The ends of the pieces are a trajectory of their own, one step of it B of these.
        inner = 16
        ends = np.ascontiguousarray(y[-1].reshape(chains, pieces // inner, inner, d).transpose(2, 0, 1, 3))
        last = scan(leap, ends, state)
        joined = ends.transpose(1, 2, 0, 3).reshape(chains, pieces, d)
    else:
        joined = np.empty_like(y[-1])
        last = state
        for b in range(pieces):
            last = step_add(leap, last, y[-1][:, b])
            joined[:, b] = last
    carried = np.concatenate([state[:, None], joined[:, :-1]], axis=1)
    for j in range(length - 1):
        carried = step(carried)
        y[j] += carried
    y[-1] = joined
    return last


def step_add(step: Step, state: NDArray[Any], noise: NDArray[Any]) -> NDArray[Any]:
    """F state + noise."""
    return np.asarray(step(state) + noise)


# --- circuits
# -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Dense:
    """A circuit of moderate size. `step` F; `noise` the map from random numbers to R ξ; `begin` the map to
    the first state; the cells are the last states times `weights` W ([n, n], or its diagonal [n]), plus
    `mean`."""

    step: Step
    noise: Step
    begin: Step
    weights: NDArray[Any]
    mean: NDArray[Any]
    states: int
    dtype: Any = np.float64

    @property
    def width(self) -> int:
        return self.states

    @property
    def stretch(self) -> int:
        return max(4, min(2048, 1 << ((_STRETCH // max(self.states, 1)).bit_length() - 1)))

    def start(self, z: FloatArray) -> NDArray[Any]:
        return self.begin(z.astype(self.dtype))

    def steps(self, state: NDArray[Any], z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        chains, stretch, d = z.shape
        state = state.astype(self.dtype, copy=False)
        pieces = 1 << (stretch.bit_length() // 2)
        length = stretch // pieces
        n = self.weights.shape[-1]
        out = np.empty((chains, stretch, n), dtype=self.dtype)
        last = np.empty_like(state)
        group = max(1, _GROUP // (stretch * max(d, 1)))
        for low in range(0, chains, group):
            part = slice(low, min(low + group, chains))
            count = part.stop - low
            # Which random number belongs to which step is free: [j, b] needs no transposition.
            y = np.empty((length, count, pieces, d), dtype=self.dtype)
            for c in range(count):
                y[:, c] = self.noise(z[low + c].reshape(length, pieces, d))
            last[part] = scan(self.step, y, state[part])
            cells = y[..., d - n :]
            cells = cells * self.weights if self.weights.ndim == 1 else cells @ self.weights
            out[part].reshape(count, pieces, length, n)[...] = cells.transpose(1, 2, 0, 3)
        if self.mean.any():
            out += self.mean
        return out, last


def stepper(circuit: Board, interval: float, settle: float, dtype: str = "float64") -> Stepper:
    """The circuit read every `interval` s, first `settle` s after a cold start (0: in equilibrium from the
    start).

    Equal cells fall apart into the modes of their matrix; other circuits take the general step. Sparse
    circuits of more than 2048 cells use Chebyshev series of their matrix (`spucc.targets.chebyshev`) and are
    never made dense.

    Raises:
        SpuccError: E0720 for a circuit that is not stable or not passive, E0721 for a matrix that is not
        positive
            definite, E0723 for an impossible interval, E0724 for one that is too large for its kind.
    """
    if not (0 <= interval < inf and settle >= 0):
        fail("E0723", f"the interval between draws is {interval} s", help="give a finite time of 0 s or more")
    warm = inf if settle == 0 else settle
    separable = modes(circuit)
    if separable is not None and circuit.n > MODAL_CELLS:
        return Spectral(circuit, separable, interval, warm, dtype)
    if separable is not None and (separable.kind == 1 or circuit.n > PAIR_CELLS):
        return _modal(circuit, separable, interval, warm, dtype)
    if circuit.n > GENERAL_STATES // 2:
        fail(
            "E0724",
            f"{circuit.n} unequal cells are too many for an exact trajectory",
            help="draw independently, or use a device file whose cells are equal",
        )
    return _general(circuit, interval, warm, dtype)


def _modal(circuit: Board, m: Modes, interval: float, warm: float, dtype: str) -> Dense:
    values, vectors = np.linalg.eigh(circuit.matrix.toarray())
    if not values.min(initial=1.0) > 0:
        fail(
            "E0721",
            "the configuration makes a network without a stable law: its matrix is not positive definite",
            help="the codes ask for more coupling than the ground components carry; compile again",
        )
    f, low = m.transfer(values, interval)
    begin = m.transfer(values, warm)[1]
    kind: Any = _precision(float(np.abs(np.linalg.eigvals(f)).max(initial=0.0)), dtype)
    mean = _mean(circuit, vectors, values)
    shape = Diagonal if m.kind == 1 else Pairs
    if m.kind == 1:
        f, low, begin = f[:, 0, 0], low[:, 0, 0], begin[:, 0, 0]
    return Dense(
        shape(f.astype(kind)),
        shape(low.astype(kind)),
        shape(begin.astype(kind)),
        np.ascontiguousarray(vectors.T, dtype=kind),
        mean.astype(kind),
        m.kind * circuit.n,
        kind,
    )


def _mean(circuit: Board, vectors: FloatArray, values: FloatArray) -> FloatArray:
    if not circuit.bias.any():
        return np.zeros(circuit.n)
    return np.asarray(vectors @ ((vectors.T @ circuit.bias) / values))


def _general(circuit: Board, interval: float, warm: float, dtype: str) -> Dense:
    linear = system(circuit)
    f, q = transition(linear, interval)
    begin = transition(linear, warm)[1]
    slowest = float(np.exp(-linear.rates.real.min(initial=inf) * interval))
    return dense(linear, f, q, begin, _precision(slowest, dtype))


def dense(linear: Linear, f: FloatArray, q: FloatArray, begin: FloatArray, kind: Any) -> Dense:
    """The general step of F, Q [d, d] and the first state's covariance; the cells are the last states of
    `linear`."""
    return Dense(
        Full(np.ascontiguousarray(f.T, dtype=kind)),
        Full(np.ascontiguousarray(root(q).T, dtype=kind)),
        Full(np.ascontiguousarray(root(begin).T, dtype=kind)),
        linear.read_unit.astype(kind),
        linear.mean_read().astype(kind),
        f.shape[0],
        kind,
    )


def _precision(slowest: float, dtype: str) -> Any:
    """Single precision only where rounding, summed over a mode's memory, stays far below sampling error."""
    return np.float32 if dtype == "float32" and slowest < 1.0 - 1e-3 else np.float64


def starts(streams: Streams, chains: int, width: int) -> FloatArray:
    """Random numbers [chains, width] of the first states."""
    return (
        np.stack([streams.at(c).standard_normal(width) for c in range(chains)])
        if chains
        else np.zeros((0, width))
    )
