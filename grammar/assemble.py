"""The energy multiplied out: effects to constant, linear part, quadratic part, blocks and higher
monomials."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.energy import Block, Domain, Monomials, Quadratic, Variable
from spucc.grammar.components import once_each, support
from spucc.grammar.context import Added, AddedBlock
from spucc.grammar.linear import Linear, ranges, spread
from spucc.grammar.poly import Affine, Term, check_expansion
from spucc.grammar.values import LARGEST_ARRAY

# A quadratic part at least this dense on what it touches, and at least this wide, becomes a dense block.
BLOCK_DENSITY = 0.5
BLOCK_WIDTH = 48
# Products of summands that a product of sums is multiplied out to one by one.
MOST_COMBINATIONS = 256
# Monomials of one statement that are worth reducing by themselves.
MANY = 10_000


class Accumulator:
    """E = constant + linear·x + Σ value · x_i x_j + ½ Σ blocks + Σ monomials."""

    def __init__(self, variables: tuple[Variable, ...], n: int) -> None:
        self.n = n
        self.constant = 0.0
        self.linear = np.zeros(n)
        self.diagonal = np.zeros(n)  # value · x_i²
        self.entries: list[tuple[IntArray, IntArray, float | FloatArray]] = []
        self.blocks: list[Block] = []
        self.monomials: list[tuple[IntArray, FloatArray]] = []
        self.products: dict[int, list[tuple[IntArray, FloatArray]]] = {}  # not yet reduced, by factors
        self.spin = np.zeros(n, dtype=bool)
        self.bit = np.zeros(n, dtype=bool)
        for v in variables:
            if v.domain is not Domain.REAL:
                (self.spin if v.domain is Domain.SPIN else self.bit)[v.start : v.stop] = True
        self.discrete = bool(self.spin.any() or self.bit.any())

    def add(self, effect: Added | AddedBlock) -> None:
        """Add the sum of all entries of a polynomial, or a block. Raises E0217 where it stands for too many products."""
        if isinstance(effect, AddedBlock):
            self.add_block(effect)
            return
        self.add_affine(effect.poly.affine)
        for term in effect.poly.terms:
            self.add_term(term)

    def add_affine(self, a: Affine, weight: float | FloatArray = 1.0) -> None:
        """Σ weight · (linear·x + offset)"""
        self.constant += float(np.sum(spread_product(a.offset, weight, a.size)))
        if a.linear.slots is not None:
            for index, c in a.linear.slots:
                self._count(self.linear, index, c * weight)
        elif a.linear.matrix is not None:
            m = a.linear.matrix
            data = m.data if isinstance(weight, float) else m.data * np.repeat(weight, np.diff(m.indptr))
            factor = weight if isinstance(weight, float) else 1.0
            self._count(self.linear, np.asarray(m.indices, np.int64), data * factor)

    def _count(self, target: FloatArray, index: IntArray, value: float | FloatArray) -> None:
        if index.size < 64:
            np.add.at(target, index, value)
        elif isinstance(value, float):
            target += np.bincount(index, minlength=self.n) * value
        else:
            target += np.bincount(index, weights=value, minlength=self.n)

    def add_term(self, term: Term) -> None:
        if term.size == 0:
            return
        factors = [f for f in term.factors if not f.linear.is_zero]
        weight = term.weight
        for f in term.factors:
            if f.linear.is_zero:
                weight = weight * f.offset
        if not factors:
            self.constant += float(np.sum(np.broadcast_to(np.asarray(weight), (term.size,))))
        elif len(factors) == 1:
            self.add_affine(factors[0], weight)
        elif len(factors) == 2:
            self.add_pair(factors[0], factors[1], weight)
        else:
            self.expand(factors, weight)

    def add_pair(self, a: Affine, b: Affine, weight: float | FloatArray) -> None:
        """Σ weight · a · b"""
        if np.any(a.offset):
            self.add_affine(Affine(b.linear, 0.0, b.names), weight * a.offset)
        if np.any(b.offset):
            self.add_affine(Affine(a.linear, 0.0, a.names), weight * b.offset)
            if np.any(a.offset):
                self.constant += float(
                    np.sum(np.broadcast_to(np.asarray(weight * a.offset * b.offset), (a.size,)))
                )
        if a.linear.slots is not None and b.linear.slots is not None:
            self._add_slots(a.linear, b.linear, a is b, weight)
        else:
            self._add_matrices(a.linear, b.linear, weight)

    def _add_slots(self, a: Linear, b: Linear, square: bool, weight: float | FloatArray) -> None:
        assert a.slots is not None and b.slots is not None
        for k, (i, c) in enumerate(a.slots):
            for m, (j, d) in enumerate(b.slots):
                if square and m < k:
                    continue
                value = weight * c * d
                if i is j:
                    self._count(self.diagonal, i, value)
                else:
                    self.entries.append((i, j, 2.0 * value if square and m > k else value))

    def _add_matrices(self, a: Linear, b: Linear, weight: float | FloatArray) -> None:
        left, right = a.csr(self.n), b.csr(self.n)
        columns_a = support(left)
        columns_b = columns_a if a is b else support(right)
        area = columns_a.size * columns_b.size
        each = np.diff(left.indptr).astype(np.float64) @ np.diff(right.indptr)
        if area > LARGEST_ARRAY or each > LARGEST_ARRAY:
            check_expansion(int(min(area, each)))
        dense_a = left.nnz > 0.25 * left.shape[0] * columns_a.size
        dense_b = right.nnz > 0.25 * right.shape[0] * columns_b.size
        w = spread(weight, left.shape[0])[:, None]
        if dense_a and dense_b and area:
            da = left[:, columns_a].toarray()
            db = da if a is b else right[:, columns_b].toarray()
            self._add_dense(columns_a, columns_b, (da * w).T @ db)
            return
        product = sparse.csr_array(left.T @ right.multiply(w))
        if area and product.nnz > BLOCK_DENSITY * area and min(columns_a.size, columns_b.size) >= BLOCK_WIDTH:
            self._add_dense(columns_a, columns_b, product[columns_a][:, columns_b].toarray())
            return
        coo = product.tocoo()
        self.entries.append(
            (np.asarray(coo.coords[0], np.int64), np.asarray(coo.coords[1], np.int64), coo.data)
        )

    def _add_dense(self, rows: IntArray, cols: IntArray, matrix: FloatArray) -> None:
        """Σ matrix[k, m] · x[rows[k]] · x[cols[m]]"""
        if min(rows.size, cols.size) < BLOCK_WIDTH:
            i, j = np.repeat(rows, cols.size), np.tile(cols, rows.size)
            self.entries.append((i, j, np.ascontiguousarray(matrix).ravel()))
        elif rows.size == cols.size and np.array_equal(rows, cols):
            self.add_block(AddedBlock(rows, None, matrix + matrix.T, None))  # type: ignore[arg-type]
        elif np.intersect1d(rows, cols).size:
            both = np.union1d(rows, cols)
            whole = np.zeros((both.size, both.size))
            whole[np.ix_(np.searchsorted(both, rows), np.searchsorted(both, cols))] = matrix
            self.add_block(AddedBlock(both, None, whole + whole.T, None))  # type: ignore[arg-type]
        else:
            self.add_block(AddedBlock(rows, cols, matrix, None))  # type: ignore[arg-type]

    def add_block(self, effect: AddedBlock) -> None:
        matrix = effect.matrix
        if effect.cols is None:
            chosen = effect.rows
            if self.discrete and (self.spin[chosen] | self.bit[chosen]).any():
                matrix = self._without_diagonal(chosen, matrix)
            self.blocks.append(Block(frozen(chosen, np.int64), frozen(chosen, np.int64), frozen(matrix)))
        else:
            self.blocks.append(
                Block(frozen(effect.rows, np.int64), frozen(effect.cols, np.int64), frozen(matrix))
            )

    def _without_diagonal(self, at: IntArray, matrix: FloatArray) -> FloatArray:
        """Squares of spins are 1 and of bits themselves: their diagonal moves to the constant and the linear
        part."""
        diagonal = np.diagonal(matrix)
        discrete = self.spin[at] | self.bit[at]
        if not np.any(diagonal[discrete]):
            return matrix
        self.constant += 0.5 * float(diagonal[self.spin[at]].sum())
        np.add.at(self.linear, at[self.bit[at]], 0.5 * diagonal[self.bit[at]])
        changed = matrix.copy()
        np.fill_diagonal(changed, np.where(discrete, 0.0, diagonal))
        return changed

    def expand(self, factors: list[Affine], weight: float | FloatArray) -> None:
        """Σ weight · Π factors, multiplied out: a product of rows of sparse matrices for every entry."""
        size = factors[0].size
        summands = [_summands(f, self.n) for f in factors]
        count = prod(len(s) for s in summands)
        if 0 < count <= MOST_COMBINATIONS:
            check_expansion(size * count)
            for combination in product(*summands):
                index = np.empty((size, len(factors)), dtype=np.int64)
                value = weight
                for k, (at, c) in enumerate(combination):
                    index[:, k] = at
                    value = value * c
                self._keep(index, spread(value, size))
            return
        matrices = [_with_constant(f, self.n) for f in factors]
        counts = np.ones(size)
        for m in matrices:
            counts = counts * np.diff(m.indptr)
        check_expansion(int(min(counts.sum(), 1e18)))
        row = np.arange(size, dtype=np.int64)
        value = spread(weight, size)
        index = np.empty((size, 0), dtype=np.int64)
        for m in matrices:
            starts, lengths = m.indptr[:-1][row].astype(np.int64), np.diff(m.indptr)[row]
            at = ranges(starts, lengths)
            source = np.repeat(np.arange(row.size), lengths)
            row = row[source]
            value = value[source] * m.data[at]
            index = np.concatenate([index[source], np.asarray(m.indices[at], np.int64)[:, None]], axis=1)
        self._keep(index, value)

    def _keep(self, index: IntArray, value: FloatArray) -> None:
        """Monomials, reduced at once where they are many, else later together."""
        if value.size > MANY:
            self.add_monomials(index, value)
        else:
            self.products.setdefault(index.shape[1], []).append((index, value))

    def _reduce_kept(self) -> None:
        for pairs in self.products.values():
            index, value = zip(*pairs)
            self.add_monomials(np.concatenate(index), np.concatenate(value))
        self.products.clear()

    def add_monomials(self, index: IntArray, value: FloatArray) -> None:
        """Monomials whose coordinate n stands for 1; powers of spins and bits are reduced."""
        n = self.n
        index = np.sort(index, axis=1)
        if self.discrete:
            spin, bit = np.append(self.spin, False), np.append(self.bit, False)
            for k in range(index.shape[1] - 1):
                same = index[:, k] == index[:, k + 1]
                at_spin = same & spin[index[:, k]]
                index[same & bit[index[:, k]], k] = n
                index[at_spin, k] = n
                index[at_spin, k + 1] = n
            index = np.sort(index, axis=1)
        degree = (index < n).sum(axis=1)
        for d in np.unique(degree):
            chosen = degree == d
            rows, values = index[chosen, :d], value[chosen]
            if d == 0:
                self.constant += float(values.sum())
            elif d == 1:
                self._count(self.linear, rows[:, 0], values)
            elif d == 2:
                self.entries.append((rows[:, 0], rows[:, 1], values))
            else:
                self.monomials.append((rows, values))

    # --- the result
    # --------------------------------------------------------------------------------------------------

    def quadratic(self) -> Quadratic:
        self._reduce_kept()
        n = self.n
        count = sum(i.size for i, _, _ in self.entries)
        ends = np.empty((2, count + n), dtype=np.int32 if n < 2**31 else np.int64)
        value = np.empty(count + n)
        low, high = ends
        at = 0
        while self.entries:
            i, j, v = self.entries.pop()
            part = slice(at, at + i.size)
            np.minimum(i, j, out=low[part], casting="same_kind")
            np.maximum(i, j, out=high[part], casting="same_kind")
            value[part] = v
            at += i.size
        if (on := np.flatnonzero(low[:count] == high[:count])).size:
            self._count(self.diagonal, low[on], value[on])
            value[on] = 0.0
        if self.discrete:
            self.constant += float(self.diagonal[self.spin].sum())
            self.linear[self.bit] += self.diagonal[self.bit]
            self.diagonal[self.spin | self.bit] = 0.0
        on = np.flatnonzero(self.diagonal)
        at = count + on.size
        ends[:, count:at] = on
        value[count:at] = self.diagonal[on]
        half = sparse.csr_array(sparse.coo_array((value[:at], (low[:at], high[:at])), shape=(n, n)))
        del ends, low, high, value
        whole = sparse.csr_array(half + half.T)
        whole.eliminate_zeros()
        whole.sort_indices()
        for array in (whole.data, whole.indices, whole.indptr):
            array.flags.writeable = False
        return Quadratic(whole, tuple(self.blocks))

    def higher(self) -> tuple[Monomials, ...]:
        """Monomials of degree ≥ 3, like ones merged, in order."""
        self._reduce_kept()
        by_degree: dict[int, list[tuple[IntArray, FloatArray]]] = {}
        for rows, values in self.monomials:
            by_degree.setdefault(rows.shape[1], []).append((rows, values))
        result = []
        for degree in sorted(by_degree):
            rows = np.concatenate([r for r, _ in by_degree[degree]])
            values = np.concatenate([v for _, v in by_degree[degree]])
            order = np.lexsort(rows.T[::-1])
            rows, values = rows[order], values[order]
            first = np.append(True, (rows[1:] != rows[:-1]).any(axis=1))
            starts = np.flatnonzero(first)
            total = np.add.reduceat(values, starts)
            keep = total != 0.0
            if keep.any():
                result.append(Monomials(frozen(rows[starts][keep], np.int64), frozen(total[keep])))
        return tuple(result)


def spread_product(a: float | FloatArray, b: float | FloatArray, size: int) -> Any:
    """a · b for `size` entries, whichever of them are single numbers."""
    product = a * b
    return product * size if isinstance(product, float) else product


def _summands(f: Affine, n: int) -> list[tuple[IntArray | int, float | FloatArray]]:
    """Coordinates and coefficients that an affine form adds up, coordinate n for the offset; none of a form without slots."""
    if f.linear.slots is None:
        return []
    constant: list[tuple[IntArray | int, float | FloatArray]] = [(n, f.offset)] if np.any(f.offset) else []
    return [*f.linear.slots, *constant]


def _with_constant(f: Affine, n: int) -> sparse.csr_array:
    """The rows of an affine form with its offset as coordinate n."""
    matrix = f.linear.csr(n + 1)
    if np.any(f.offset):
        offset = spread(f.offset, f.size)
        rows = np.flatnonzero(offset)
        extra = sparse.coo_array((offset[rows], (rows, np.full(rows.size, n))), shape=(f.size, n + 1))
        matrix = sparse.csr_array(matrix + extra)
    return matrix


def touched(effect: Added | AddedBlock, n: int) -> IntArray:
    """The coordinates that an effect reads, in order."""
    if isinstance(effect, AddedBlock):
        read = [effect.rows] if effect.cols is None else [effect.rows, effect.cols]
    else:
        forms = [effect.poly.affine, *{id(f): f for t in effect.poly.terms for f in t.factors}.values()]
        read = [index for form in forms for index in form.linear.reads()]
    return once_each(read[0] if len(read) == 1 else np.concatenate([np.empty(0, np.int64), *read]), n)
