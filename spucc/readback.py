"""The way back: from draws or moments of a pass's output to those of its input.

Folding the read-backs of all passes in reverse turns what a board measured into what the user named. Most passes have an
affine one; a composition of affine maps is one affine map, so that reading back costs one sparse product however many
passes there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, canonical, frozen


@dataclass(frozen=True, eq=False)
class Affine:
    """x = matrix @ y + offset."""

    matrix: sparse.csr_array
    offset: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", canonical(self.matrix))

    @staticmethod
    def identity(n: int) -> Affine:
        return Affine(sparse.csr_array(sparse.eye_array(n, format="csr")), frozen(np.zeros(n)))

    @staticmethod
    def diagonal(d: FloatArray, offset: FloatArray | None = None) -> Affine:
        """x_i = d_i y_i + offset_i"""
        n = d.size
        matrix = sparse.csr_array(
            (np.asarray(d, dtype=np.float64), np.arange(n), np.arange(n + 1)), shape=(n, n)
        )
        return Affine(matrix, frozen(np.zeros(n) if offset is None else offset))

    @staticmethod
    def select(index: IntArray, n_in: int) -> Affine:
        """x_k = y[index[k]]"""
        m = index.size
        matrix = sparse.csr_array((np.ones(m), np.asarray(index), np.arange(m + 1)), shape=(m, n_in))
        return Affine(matrix, frozen(np.zeros(m)))

    @property
    def n_in(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def n_out(self) -> int:
        return int(self.matrix.shape[0])

    def draws(self, y: FloatArray) -> FloatArray:
        """Draws [..., n_in] → [..., n_out]."""
        flat = y.reshape(-1, self.n_in)
        return np.asarray((self.matrix @ flat.T).T + self.offset).reshape(*y.shape[:-1], self.n_out)

    def moments(self, mean: FloatArray, cov: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean [n_in] and covariance [n_in, n_in] → those of x."""
        half = self.matrix @ cov
        return np.asarray(self.matrix @ mean + self.offset), np.asarray((self.matrix @ half.T).T)

    def after(self, inner: Affine) -> Affine:
        """The map that applies `inner` first, then this one."""
        return Affine(
            sparse.csr_array(self.matrix @ inner.matrix), frozen(self.matrix @ inner.offset + self.offset)
        )

    @property
    def is_diagonal(self) -> bool:
        """One stored entry a row, on the diagonal."""
        m = self.matrix
        n = m.shape[0]
        return m.shape[0] == m.shape[1] and m.nnz == n and bool((m.indices == np.arange(n)).all())


@dataclass(frozen=True, eq=False)
class HostLoop:
    """Splitting M ⪰ P: the device draws η ~ N(0, M⁻¹) and the host iterates x ← M⁻¹(N x + h + ξ) + η with
    ξ ~ N(0, N), N = M − P, `sweeps` times between two draws that are kept; the law of x is N(P⁻¹h, P⁻¹) exactly
    (mapping.md §3). `contraction` is the spectral radius of M⁻¹N."""

    precision: sparse.csr_array
    potential: FloatArray
    sweeps: int
    contraction: float


@dataclass(frozen=True, eq=False)
class Majority:
    """Spins read from chains of cells: the sign of the chain's sum, the chain's first cell breaking ties.
    `chain` [n_in] numbers the spin that each cell belongs to."""

    chain: IntArray
    n_out: int

    @property
    def n_in(self) -> int:
        return int(self.chain.size)

    def draws(self, y: FloatArray) -> FloatArray:
        flat = y.reshape(-1, self.n_in)
        gather = sparse.csr_array(
            (np.ones(self.n_in), (self.chain, np.arange(self.n_in))), shape=(self.n_out, self.n_in)
        )
        votes = np.asarray((gather @ flat.T).T)
        first = np.unique(self.chain, return_index=True)[1]
        spins = np.where(votes == 0, flat[:, first], np.sign(votes))
        return np.asarray(spins.reshape(*y.shape[:-1], self.n_out))


ReadBack = Affine | HostLoop | Majority


def fold(readbacks: Sequence[ReadBack], n: int) -> tuple[ReadBack, ...]:
    """Read-backs in the order of the passes → the least list to apply from last to first, affine neighbours merged.

    `n` is the number of coordinates that the first pass started from.
    """
    folded: list[ReadBack] = [Affine.identity(n)]
    for back in readbacks:
        last = folded[-1]
        if isinstance(last, Affine) and isinstance(back, Affine):
            folded[-1] = last.after(back)
        else:
            folded.append(back)
    return tuple(folded)
