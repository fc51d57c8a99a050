"""Trajectories of large sparse circuits of equal cells: F and the root of Q are smooth functions of one
sparse matrix.

Each function of the matrix M on [low, high] is a Chebyshev series, of which the first terms that exceed
1e-11 of its largest value are kept; the error of a step, in units of its own size, is below `error`. One
step costs as many products M x as the series has terms, for all chains together, and nothing is ever made
dense."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.targets.circuits import Board
from spucc.targets.gaussian import Factor, factorise
from spucc.targets.linear import Modes

_TOLERANCE = 1e-11
_TERMS = 2**13


class Spectral:
    """See `spucc.targets.stepper.Stepper`."""

    tile = 1
    dtype: Any = np.float64

    def __init__(self, circuit: Board, modes: Modes, interval: float, warm: float, dtype: str) -> None:
        self._n = circuit.n
        self._kind = modes.kind
        self._given: Any = np.dtype(dtype)
        self.width = self.states = modes.kind * circuit.n
        factor = factorise(circuit.matrix)
        low, high = bounds(circuit.matrix, factor)
        self._scaled = rescaled(circuit.matrix, low, high)
        # States are kept in units of typical size, so that one tolerance serves currents and voltages.
        middle = np.array([0.5 * (low + high)])
        stationary = modes.transfer(middle, np.inf)[1][0]
        self._unit = np.sqrt((stationary**2).sum(axis=1))
        self._step, error_f = self._series(modes, interval, low, high)
        self._begin, error_b = self._series(modes, warm, low, high)
        self.error = max(error_f, error_b)
        self.mean = factor.solve(circuit.bias) if circuit.bias.any() else np.zeros(circuit.n)

    def _series(self, modes: Modes, h: float, low: float, high: float) -> tuple[FloatArray, float]:
        """Coefficients [terms, kind, 2 kind] of [F, R] and the error of leaving the others out."""

        def both(m: FloatArray) -> FloatArray:
            f, root = modes.transfer(m, h)
            f = f * self._unit[None, None, :] / self._unit[None, :, None]
            return np.concatenate([f, root / self._unit[None, :, None]], axis=2)

        return series(both, low, high)

    def start(self, z: FloatArray) -> NDArray[Any]:
        inputs = z.reshape(z.shape[0], self._kind, self._n)
        return apply(self._scaled, self._begin[:, :, self._kind :], inputs).reshape(z.shape)

    def steps(self, state: NDArray[Any], z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        chains, steps, _ = z.shape
        cells = np.empty((chains, steps, self._n), dtype=self._given)
        inputs = np.empty((chains, 2 * self._kind, self._n))
        after = state.reshape(chains, self._kind, self._n)
        for t in range(steps):
            inputs[:, : self._kind] = after
            inputs[:, self._kind :] = z[:, t].reshape(chains, self._kind, self._n)
            after = apply(self._scaled, self._step, inputs)
            cells[:, t] = after[:, -1] * self._unit[-1] + self.mean
        return cells, after.reshape(chains, -1)


def rescaled(matrix: sparse.csr_array, low: float, high: float) -> sparse.csr_array:
    """2 M̂, where M̂ has its eigenvalues in [−1, 1]."""
    middle = 0.5 * (high + low) * sparse.eye_array(matrix.shape[0])
    return sparse.csr_array((matrix - middle) * (4.0 / (high - low)))


def series(function: Callable[[FloatArray], FloatArray], low: float, high: float) -> tuple[FloatArray, float]:
    """Chebyshev coefficients [terms, outputs, inputs] of a function of eigenvalues [k] → [k, outputs,
    inputs] on [low, high], and the sum of the sizes of those left out. Raises E0724 where 8192 terms do not
    do."""
    terms = 32
    while True:
        nodes = np.cos(np.pi * (np.arange(terms) + 0.5) / terms)
        values = function(0.5 * (high + low) + 0.5 * (high - low) * nodes)
        c = np.asarray(fft.dct(values, type=2, axis=0)) / terms
        c[0] *= 0.5
        size = np.abs(c).max(axis=(1, 2))
        small = _TOLERANCE * size.max()
        if size[3 * terms // 4 :].max() <= small:
            keep = int(np.flatnonzero(size > small)[-1]) + 1 if (size > small).any() else 1
            return c[:keep], float(size[keep:].sum())
        terms *= 2
        if terms > _TERMS:
            fail(
                "E0724",
                "the modes of this circuit are too far apart for an exact simulation of its size",
                help="draw independently, or read at shorter intervals",
            )


def apply(scaled: sparse.csr_array, coefficients: FloatArray, inputs: FloatArray) -> FloatArray:
    """Σ_k coefficients[k] T_k(M̂), inputs [rows, inputs, n] → [rows, outputs, n]; `scaled` is 2 M̂."""
    rows, count, n = inputs.shape
    x = np.ascontiguousarray(inputs.transpose(2, 0, 1).reshape(n, rows * count), dtype=np.float64)
    total = np.zeros((n, rows, coefficients.shape[1]))
    before, now = np.zeros_like(x), x
    for k in range(coefficients.shape[0]):
        total += now.reshape(n, rows, count) @ coefficients[k].T
        if k + 1 < coefficients.shape[0]:
            after = np.asarray(scaled @ now)
            after *= 0.5 if k == 0 else 1.0
            after -= before
            before, now = now, after
    return np.ascontiguousarray(total.transpose(1, 2, 0))


class FunctionFactor:
    """Draws of N(0, s(M)) for a sparse matrix M [n, n] and a smooth function s: z ↦ √s(M) z as one series.
    See `spucc.targets.gaussian.Factor`."""

    tile = 16

    def __init__(self, matrix: sparse.csr_array, s: Callable[[FloatArray], FloatArray], dtype: Any) -> None:
        self.n = int(matrix.shape[0])
        self._dtype: Any = np.dtype(dtype)
        factor = factorise(matrix)
        self._matrix, self._s = matrix, s
        low, high = bounds(matrix, factor)
        self._scaled = rescaled(matrix, low, high)
        self._root, self.error = series(lambda m: np.sqrt(s(m))[:, None, None], low, high)

    @property
    def logdet(self) -> float:
        return -float(np.log(self._s(np.linalg.eigvalsh(self._matrix.toarray()))).sum())

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        out = [
            apply(self._scaled, self._root, z[k : k + self.tile, None])
            for k in range(0, z.shape[0], self.tile)
        ]
        return np.concatenate(out)[:, 0].astype(self._dtype) if out else z

    def solve(self, b: FloatArray) -> FloatArray:
        rows = np.atleast_2d(b.T)[:, None]
        for _ in range(2):
            rows = apply(self._scaled, self._root, rows)
        return np.asarray(rows[:, 0].T.reshape(b.shape))


def bounds(matrix: sparse.csr_array, factor: Factor) -> tuple[float, float]:
    """Numbers below and above every eigenvalue of a positive definite sparse matrix: Gershgorin's circles
    above, and below too where they are positive, else some inverse iterations with a safe margin."""
    diagonal = np.asarray(matrix.diagonal())
    around = np.asarray(abs(matrix).sum(axis=1)).ravel() - np.abs(diagonal)
    high = float((diagonal + around).max())
    low = float((diagonal - around).min())
    if low > 0 and isfinite(high):
        return 0.999 * low, 1.001 * high
    x = np.random.Generator(np.random.SFC64(1)).standard_normal((matrix.shape[0], 4))
    largest = 1.0 / high
    for _ in range(30):
        x = factor.solve(x / np.linalg.norm(x, axis=0))
        largest = max(largest, float(np.linalg.norm(x, axis=0).max()))
    return 0.8 / largest, 1.001 * high
