"""What a board can be set to, as a lattice: one parameter a component, one column of levels a parameter.

    A(v) = A0 + Σ_f v_f B_f,     B_f = a e_i e_iᵀ + b (e_i e_jᵀ + e_j e_iᵀ) + c e_j e_jᵀ

Parameters 0 … n−1 are the ground components of the cells (i = j, a = 1), the rest are the couplers in the order of `edges`:
−v off the diagonal on a free device, a spring a_e a_eᵀ on capacitors (mapping.md §0.9). A0 holds the strays. Values are
numbered in ascending order by an index k, so that a table measured from a board, which may be neither uniform nor
monotone in its codes, is searched like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Levels:
    """The values of m parameters. Parameter f takes the indices first_f ≤ k ≤ last_f; the value of index k is
    low_f + k·step_f, or `table[f, k]` where there is a table. `codes[f, k]` is the code of the device for it (None: k
    itself). A continuous parameter has low 0 and step 1, and its index is its value.
    """

    low: FloatArray
    step: FloatArray
    first: FloatArray
    last: FloatArray
    continuous: BoolArray
    table: FloatArray | None = None
    codes: IntArray | None = None

    @property
    def size(self) -> int:
        return int(self.low.size)

    @property
    def uneven(self) -> bool:
        """Whether the spacing of some table strays by more than a tenth, so that settings are no lattice."""
        if self.table is None or self.table.shape[1] < 3:
            return False
        gap = np.diff(self.table, axis=1)
        inside = np.arange(1, self.table.shape[1]) <= self.last[:, None]
        stray = np.abs(gap - self.step[:, None]) > 0.1 * self.step[:, None]
        return bool((inside & ~self.continuous[:, None] & stray).any())

    def value(self, k: FloatArray) -> FloatArray:
        """Values [..., m] of indices [..., m]."""
        plain = self.low + self.step * k
        if self.table is None:
            return plain
        at = np.where(self.continuous, 0, k).astype(np.int64)
        return np.where(self.continuous, plain, self.table[np.arange(self.size), at])

    def at(self, f: int, k: float) -> float:
        """The value of one parameter's index."""
        if self.table is None or self.continuous[f]:
            return float(self.low[f] + self.step[f] * k)
        return float(self.table[f, int(k)])

    def position(self, v: FloatArray) -> FloatArray:
        """Real indices [..., m] of values [..., m], by interpolation within a table; not clipped otherwise."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            plain = np.where(
                self.step > 0, (v - self.low) / np.where(self.step > 0, self.step, 1.0), self.first
            )
        if self.table is None:
            return np.asarray(plain)
        flat = np.atleast_2d(v)
        found = np.empty_like(flat)
        for f in range(self.size):
            last = int(self.last[f]) if not self.continuous[f] else 0
            row = self.table[f, : last + 1]
            found[:, f] = np.interp(flat[:, f], row, np.arange(last + 1.0))
        return np.where(self.continuous, plain, found.reshape(np.shape(v)))

    def legal(self, k: FloatArray) -> FloatArray:
        """The nearest legal indices of real ones."""
        return np.clip(np.where(self.continuous, k, np.rint(k)), self.first, self.last)

    def nearest(self, v: FloatArray) -> FloatArray:
        """The indices of the nearest legal values."""
        return self.legal(self.position(v))

    def subset(self, which: Any) -> Levels:
        """The levels of some of the parameters."""
        return Levels(
            self.low[which], self.step[which], self.first[which], self.last[which], self.continuous[which],
            None if self.table is None else self.table[which],
            None if self.codes is None else self.codes[which],
        )  # fmt: skip


def uniform(low: FloatArray, step: FloatArray, first: FloatArray, last: FloatArray) -> Levels:
    """Evenly spaced levels."""
    low = np.asarray(low, dtype=np.float64)
    return Levels(low, step, first, last, np.zeros(low.size, dtype=bool))


def unlimited(low: FloatArray, high: FloatArray) -> Levels:
    """Any value between two bounds."""
    m = low.size
    return Levels(np.zeros(m), np.ones(m), low, high, np.ones(m, dtype=bool))


def tabled(values: FloatArray, codes: IntArray, count: IntArray | None = None) -> Levels:
    """Levels [m, c] in any order with their codes [m, c]; `count` [m] of them count, by default all."""
    m, c = values.shape
    count = np.full(m, c) if count is None else count
    padded = np.where(np.arange(c) < count[:, None], values, np.inf)
    order = np.argsort(padded, axis=1, kind="stable")
    table = np.take_along_axis(padded, order, axis=1)
    last = (count - 1).astype(np.float64)
    top = table[np.arange(m), count - 1]
    table = np.where(np.isfinite(table), table, top[:, None])
    spread = np.maximum(top - table[:, 0], 0.0) / np.maximum(last, 1.0)
    zeros = np.zeros(m)
    return Levels(
        table[:, 0].copy(),
        spread,
        zeros,
        last,
        np.zeros(m, bool),
        table,
        np.take_along_axis(codes, order, axis=1),
    )


def stacked(parts: list[Levels]) -> Levels:
    """The parameters of several banks one after the other."""
    widths = [0 if p.table is None else p.table.shape[1] for p in parts]
    width = max(widths)
    table = codes = None
    if width:
        # One table makes all of them tables, so that a parameter has one way to be looked up.
        widths = [
            w or int(np.max(np.where(p.continuous, 0, p.last - p.first), initial=0)) + 1
            for p, w in zip(parts, widths)
        ]
        width = max(widths)
        parts = [_as_table(p, width) for p in parts]
        table = np.concatenate([p.table for p in parts if p.table is not None])
        codes = np.concatenate([p.codes for p in parts if p.codes is not None])
    join = {
        name: np.concatenate([getattr(p, name) for p in parts])
        for name in ("low", "step", "first", "last", "continuous")
    }
    return Levels(**join, table=table, codes=codes)


def _as_table(part: Levels, width: int) -> Levels:
    if part.table is not None and part.codes is not None:
        pad = width - part.table.shape[1]
        table = np.pad(part.table, ((0, 0), (0, pad)), mode="edge")
        codes = np.pad(part.codes, ((0, 0), (0, pad)), mode="edge")
        return Levels(part.low, part.step, part.first, part.last, part.continuous, table, codes)
    if part.continuous.all():
        empty = np.zeros((part.size, width))
        return Levels(
            part.low, part.step, part.first, part.last, part.continuous, empty, empty.astype(np.int64)
        )
    k = np.minimum(part.first[:, None] + np.arange(width), part.last[:, None])
    table = part.low[:, None] + part.step[:, None] * k
    first, last = np.zeros(part.size), part.last - part.first
    return Levels(table[:, 0].copy(), part.step, first, last, part.continuous, table, k.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Codebook:
    """The matrices that a board can be set to. `base` is A0 (None: zero)."""

    linear: ClassVar[bool] = True
    """Whether `dense` is linear in the values, as `descent` takes for granted."""

    n: int
    i: IntArray
    j: IntArray
    a: FloatArray
    b: FloatArray
    c: FloatArray
    levels: Levels
    base: sparse.csr_array | None = None

    @property
    def size(self) -> int:
        """The number of parameters m."""
        return int(self.i.size)

    @property
    def edges(self) -> IntArray:
        return np.stack([self.i[self.n :], self.j[self.n :]], axis=1)

    def diagonal(self, v: FloatArray) -> FloatArray:
        """The diagonal [n] of A(v)."""
        d = np.asarray(np.bincount(self.i, self.a * v, self.n) + np.bincount(self.j, self.c * v, self.n))
        return d if self.base is None else d + self.base.diagonal()

    def off_diagonal(self, v: FloatArray) -> FloatArray:
        """The entries [edges] of A(v) in the order of the edges."""
        off = (self.b * v)[self.n :]
        return off + self._base_off

    @property
    def _base_off(self) -> FloatArray:
        if self.base is None or self.size == self.n:
            return np.zeros(self.size - self.n)
        return np.asarray(self.base[self.i[self.n :], self.j[self.n :]]).ravel()

    def dense(self, v: FloatArray) -> FloatArray:
        """A(v) [..., n, n] for v [..., m]."""
        lead = v.shape[:-1]
        out = np.zeros((*lead, self.n, self.n))
        flat, rows = out.reshape(-1, self.n, self.n), v.reshape(-1, self.size)
        e = slice(self.n, None)
        off = (self.b * rows)[:, e]
        flat[:, self.i[e], self.j[e]] = off
        flat[:, self.j[e], self.i[e]] = off
        diagonal = rows[:, : self.n].copy()
        if self.a[e].any():
            incidence = np.zeros((self.size - self.n, self.n))
            k = np.arange(self.size - self.n)
            incidence[k, self.i[e]] = self.a[e]
            incidence[k, self.j[e]] = self.c[e]
            diagonal += rows[:, e] @ incidence
        flat[:, np.arange(self.n), np.arange(self.n)] = diagonal
        if self.base is not None:
            flat += self.base.toarray()
        return out

    def lean(self, u: FloatArray, matrix: FloatArray) -> FloatArray:
        """V [n, k] of a symmetric root U [n, k]: at the setting of this matrix the change dA of the capacitors changes
        UᵀAU by the symmetric part of Uᵀ dA V."""
        return u

    def sparse(self, v: FloatArray) -> sparse.csr_array:
        """A(v)."""
        e = slice(self.n, None)
        off, d = (self.b * v)[e], np.arange(self.n)
        diagonal = np.bincount(self.i, self.a * v, self.n) + np.bincount(self.j, self.c * v, self.n)
        rows = np.concatenate([self.i[e], self.j[e], d])
        cols = np.concatenate([self.j[e], self.i[e], d])
        data = np.concatenate([off, off, diagonal])
        matrix = sparse.csr_array(sparse.coo_array((data, (rows, cols)), shape=(self.n, self.n)))
        return matrix if self.base is None else sparse.csr_array(matrix + self.base)

    def solve(self, diagonal: FloatArray, off: FloatArray) -> FloatArray:
        """Values v [..., m] with A(v) of the given diagonal [..., n] and entries [..., edges]; legal or not."""
        e = slice(self.n, None)
        v = np.empty((*diagonal.shape[:-1], self.size))
        v[..., e] = (off - self._base_off) / self.b[e]
        ground = diagonal if self.base is None else diagonal - self.base.diagonal()
        if self.a[e].any():
            ground = ground.copy()
            flat, part = ground.reshape(-1, self.n), v[..., e].reshape(-1, self.size - self.n)
            for row, values in zip(flat, part):
                row -= np.bincount(self.i[e], self.a[e] * values, self.n)
                row -= np.bincount(self.j[e], self.c[e] * values, self.n)
            ground = flat.reshape(diagonal.shape)
        v[..., : self.n] = ground
        return v


def free(edges: IntArray, levels: Levels, n: int, base: sparse.csr_array | None = None) -> Codebook:
    """A device with diagonals of their own: C_pp = ground_p, C_pq = −coupling."""
    m = edges.shape[0]
    zero = np.zeros(n + m)
    a, b = zero.copy(), zero.copy()
    a[:n], b[n:] = 1.0, -1.0
    return _codebook(n, edges, a, b, zero, levels, base)


def springs(
    edges: IntArray,
    levels: Levels,
    n: int,
    sign: FloatArray | None = None,
    base: sparse.csr_array | None = None,
) -> Codebook:
    """Capacitors: a coupler of size v adds v (e_p − s e_q)(e_p − s e_q)ᵀ, s = `sign` [edges] = ±1 (default +1)."""
    m = edges.shape[0]
    a, b, c = np.ones(n + m), np.zeros(n + m), np.zeros(n + m)
    b[n:] = -1.0 if sign is None else -sign
    c[n:] = 1.0
    return _codebook(n, edges, a, b, c, levels, base)


def _codebook(
    n: int,
    edges: IntArray,
    a: FloatArray,
    b: FloatArray,
    c: FloatArray,
    levels: Levels,
    base: sparse.csr_array | None,
) -> Codebook:
    d = np.arange(n)
    edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    return Codebook(
        n, np.concatenate([d, edges[:, 0]]), np.concatenate([d, edges[:, 1]]), a, b, c, levels, base
    )
