"""A spin system ready for sweeps: couplings in compressed rows, colours, and the sites that are free.

p(s) ∝ exp(½ sᵀJs + h·s) over s ∈ {−1, +1}ⁿ: J and h are divided by the temperature already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen
from spucc.diagnostics import fail
from spucc.targets.machine_code import Native

_greedy_colours = Native("spucc.targets.spins.sweeps", "greedy_colours")

DENSE_SHARE = 0.25
"""A bipartite graph with at least this share of its possible couplings is swept by matrix products."""


@dataclass(frozen=True, eq=False)
class SpinModel:
    """Couplings J [n, n] (symmetric, zero diagonal), fields h [n], and which spins are clamped [n]."""

    couplings: sparse.csr_array
    field: FloatArray
    clamped: BoolArray

    @property
    def n(self) -> int:
        return int(self.field.size)

    @cached_property
    def colour(self) -> IntArray:
        """Colours [n] such that no coupled spins share one: two for a bipartite graph, else greedy in order
        of falling degree. Spins of one colour can be updated at once, on a p-bit array as in the sweeps
        here."""
        sides = self._sides
        if sides is not None:
            return sides
        j = self.couplings
        degree = np.diff(j.indptr)
        colour = np.full(self.n, -1, dtype=np.int64)
        taken = np.full(self.n + 1, -1, dtype=np.int64)
        indptr, indices, _, _ = self.arrays
        _greedy_colours(np.argsort(-degree, kind="stable"), indptr, indices, colour, taken)
        return frozen(colour, np.int64)

    @cached_property
    def _sides(self) -> IntArray | None:
        """The two colours of a bipartite graph, by the parity of the distance in a spanning forest."""
        j = self.couplings
        if self.n == 0:
            return frozen([], np.int64)
        _, part = csgraph.connected_components(j, directed=False)
        roots = np.unique(part, return_index=True)[1]
        # one root above all components makes a single breadth-first search of the forest
        links = np.concatenate([[0], np.cumsum(np.diff(j.indptr)), [j.nnz + roots.size]])
        joined = sparse.csr_array(
            (np.ones(j.nnz + roots.size, np.int8), np.concatenate([j.indices, roots]), links),
            shape=(self.n + 1, self.n + 1),
        )
        order, parent = csgraph.breadth_first_order(joined, self.n, directed=True)
        depth = np.zeros(self.n + 1, dtype=np.int64)
        for level in _levels(order, parent):
            depth[level] = depth[parent[level]] + 1
        side = frozen((depth[: self.n] + 1) % 2, np.int64)
        rows = np.repeat(np.arange(self.n), np.diff(j.indptr))
        return side if bool((side[rows] != side[j.indices]).all()) else None

    @cached_property
    def order(self) -> NDArray[np.int32]:
        """The free sites, colour by colour."""
        sites = np.argsort(self.colour, kind="stable").astype(np.int32)
        return np.ascontiguousarray(sites[~self.clamped[sites]])

    @cached_property
    def arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """Row pointers, columns, couplings and fields as the kernels take them."""
        j = self.couplings
        return (
            np.ascontiguousarray(j.indptr, dtype=np.int32),
            np.ascontiguousarray(j.indices, dtype=np.int32),
            np.ascontiguousarray(j.data, dtype=np.float32),
            np.ascontiguousarray(self.field, dtype=np.float32),
        )

    @cached_property
    def layers(self) -> bool:
        """Whether two dense layers face each other, so that matrix products beat row sums."""
        if self._sides is None or self.n < 16:
            return False
        left = int((self._sides == 0).sum())
        return bool(self.couplings.nnz >= 2 * DENSE_SHARE * left * (self.n - left))

    @cached_property
    def magnitude(self) -> float | None:
        """The common size of all couplings if there is one, no field and nothing clamped: multi-spin coding
        applies."""
        size = np.abs(self.couplings.data)
        if (
            size.size == 0
            or self.field.any()
            or self.clamped.any()
            or np.diff(self.couplings.indptr).max() > 255
        ):
            return None
        return float(size[0]) if bool((size == size[0]).all()) else None

    def energy(self, spins: FloatArray | NDArray[np.int8]) -> FloatArray:
        """−½ sᵀJs − h·s in double precision for spins [..., n]."""
        rows = np.asarray(spins, dtype=np.float64).reshape(-1, self.n)
        value = -rows @ self.field - 0.5 * np.einsum("ki,ki->k", (self.couplings @ rows.T).T, rows)
        return np.asarray(value.reshape(np.shape(spins)[:-1]))


def _levels(order: IntArray, parent: IntArray) -> list[IntArray]:
    """The nodes of a breadth-first order after its root, generation by generation."""
    position = np.empty(parent.size, dtype=np.int64)
    position[order] = np.arange(order.size)
    above = position[parent[order[1:]]]
    levels, start = [], 1
    while start < order.size:
        # the generation ends where a node's parent belongs to it
        stop = 1 + int(np.searchsorted(above, start))
        levels.append(order[start:stop])
        start = stop
    return levels


def spin_model(couplings: sparse.csr_array, field: FloatArray, clamped: BoolArray | None = None) -> SpinModel:
    """A checked `SpinModel`. `couplings` J [n, n] symmetric; its diagonal, a constant for spins, is dropped.

    Raises E0550 for an infinite or undefined coupling or field, which no temperature can sample.
    """
    j = sparse.csr_array(couplings, dtype=np.float64)
    h = np.asarray(field, dtype=np.float64)
    if not (np.isfinite(j.data).all() and np.isfinite(h).all()):
        fail(
            "E0550",
            "a coupling or a field of the spins is infinite or undefined",
            help="clamp a spin with `observe s[0] = 1` instead of an infinite field; "
            "at zero temperature ask for `argmin`",
        )
    if j.diagonal().any():
        j = sparse.csr_array(j - sparse.diags_array(j.diagonal()))
    j.eliminate_zeros()
    j.sort_indices()
    mask = np.zeros(h.size, dtype=bool) if clamped is None else np.asarray(clamped, dtype=bool)
    return SpinModel(j, frozen(h), frozen(mask, np.bool_))
