"""`Linear`: the linear part of many affine forms at once, one row a form, one column a coordinate.

Two shapes of storage. *Slots*: every row reads the same small number of coordinates, `Σ_k coefficient_k[row]
· x[index_k[row]]`; what `x[i] − x[j]` over two million edges is. Otherwise a sparse matrix. Slots become a
matrix only when they must. The number of columns grows as variables are declared, so matrices are fitted to a
width when two meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.grammar.components import support

Coefficient = float | FloatArray
Slot = tuple[IntArray, Coefficient]

# More slots than this are cheaper as a sparse matrix.
MOST_SLOTS = 6


def fitted(matrix: sparse.csr_array, width: int) -> sparse.csr_array:
    """The same matrix with `width` columns, sharing its arrays."""
    if matrix.shape[1] == width:
        return matrix
    return sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], width))


def picked(c: Coefficient, rows: IntArray) -> Coefficient:
    return c if isinstance(c, float) else c[rows]


def spread(c: Coefficient, size: int) -> FloatArray:
    """A coefficient as an array of `size` entries."""
    return np.full(size, c) if isinstance(c, float) else c


def ranges(starts: Any, counts: Any) -> IntArray:
    """The concatenation of `arange(s, s + c)` over all pairs."""
    counts = np.asarray(counts, dtype=np.int64)
    total = int(counts.sum())
    ends = np.cumsum(counts)
    shift = np.repeat(np.asarray(starts, dtype=np.int64) - (ends - counts), counts)
    return np.asarray(np.arange(total, dtype=np.int64) + shift, dtype=np.int64)


class Linear:
    """See the module's docstring. `slots` is None when `matrix` holds the rows."""

    __slots__ = ("matrix", "size", "slots", "width")

    def __init__(
        self, size: int, width: int, slots: tuple[Slot, ...] | None, matrix: sparse.csr_array | None = None
    ) -> None:
        self.size = size
        self.width = width
        self.slots = slots
        self.matrix = matrix

    @staticmethod
    def zero(size: int) -> Linear:
        return Linear(size, 0, ())

    @staticmethod
    def coordinates(index: IntArray, width: int) -> Linear:
        """Each row reads one coordinate."""
        return Linear(index.size, width, ((index, 1.0),))

    @staticmethod
    def of(matrix: sparse.csr_array) -> Linear:
        return Linear(int(matrix.shape[0]), int(matrix.shape[1]), None, matrix)

    @property
    def is_zero(self) -> bool:
        return self.slots == () or (self.matrix is not None and self.matrix.nnz == 0)

    def csr(self, width: int | None = None) -> sparse.csr_array:
        """As a sparse matrix without duplicates; zeros may be stored."""
        width = self.width if width is None else width
        if self.matrix is not None:
            return fitted(self.matrix, width)
        assert self.slots is not None
        k = len(self.slots)
        if k == 0:
            return sparse.csr_array((self.size, width), dtype=np.float64)
        columns = np.empty((self.size, k), dtype=np.int64)
        data = np.empty((self.size, k))
        for position, (index, coefficient) in enumerate(self.slots):
            columns[:, position] = index
            data[:, position] = coefficient
        pointers = np.arange(0, self.size * k + 1, k, dtype=np.int64)
        matrix = sparse.csr_array((data.ravel(), columns.ravel(), pointers), shape=(self.size, width))
        if k > 1:
            matrix.sum_duplicates()
        return matrix

    def reads(self) -> list[IntArray]:
        """The coordinates that are read, perhaps more than once, in several arrays."""
        if self.matrix is not None:
            return [np.asarray(self.matrix.indices, dtype=np.int64)]
        assert self.slots is not None
        return [index for index, _ in self.slots]

    def support(self) -> IntArray:
        """The coordinates that are read, perhaps more than once."""
        return np.concatenate([np.empty(0, np.int64), *self.reads()])

    def take(self, rows: IntArray) -> Linear:
        if self.slots is not None:
            return Linear(rows.size, self.width, tuple((i[rows], picked(c, rows)) for i, c in self.slots))
        assert self.matrix is not None
        return Linear.of(sparse.csr_array(self.matrix[rows]))

    def scaled(self, c: Coefficient) -> Linear:
        if isinstance(c, float) and c == 1.0:
            return self
        if self.slots is not None:
            return Linear(self.size, self.width, tuple((i, d * c) for i, d in self.slots))
        assert self.matrix is not None
        factor = c if isinstance(c, float) else np.repeat(c, np.diff(self.matrix.indptr))
        data = self.matrix.data * factor
        return Linear.of(
            sparse.csr_array((data, self.matrix.indices, self.matrix.indptr), shape=self.matrix.shape)
        )

    def plus(self, other: Linear) -> Linear:
        if other.is_zero:
            return self
        if self.is_zero:
            return other
        width = max(self.width, other.width)
        if self.slots is not None and other.slots is not None:
            slots = merged(self.slots, other.slots)
            if len(slots) <= MOST_SLOTS:
                return Linear(self.size, width, slots)
        return Linear.of(sparse.csr_array(self.csr(width) + other.csr(width)))

    def gathered(self, rows: IntArray, size: int) -> Linear:
        """Row r of the result is the sum of the rows k with `rows[k] == r`."""
        if self.slots is not None:
            if not self.slots:
                return Linear(size, self.width, ())
            i = np.tile(rows, len(self.slots)) if len(self.slots) > 1 else rows
            j = np.concatenate([index for index, _ in self.slots])
            data = np.concatenate([spread(c, self.size) for _, c in self.slots])
        else:
            assert self.matrix is not None
            i = np.repeat(rows, np.diff(self.matrix.indptr))
            j, data = self.matrix.indices, self.matrix.data
        if size == 1:
            row = sparse.csr_array((data, j, np.array([0, j.size])), shape=(1, self.width))
            row.sum_duplicates()
            return Linear.of(row)
        return Linear.of(sparse.csr_array(sparse.coo_array((data, (i, j)), shape=(size, self.width))))

    def multiplied(self, left: Any) -> Linear:
        """`left @ self` for a constant matrix, dense or sparse."""
        if sparse.issparse(left):
            return Linear.of(sparse.csr_array(left @ self.csr()))
        left = np.asarray(left, dtype=np.float64)
        m = left.shape[0]
        if self.slots is not None and len(self.slots) == 1:
            index, c = self.slots[0]
            if not (isinstance(c, float) and c == 1.0):
                left = left * c
            if not distinct(index, self.width):
                return Linear.of(sparse.csr_array(sparse.csr_array(left) @ self.csr()))
            columns = index
            data = left
        else:
            matrix = self.csr()
            columns = support(matrix)
            data = left @ matrix[:, columns].toarray()
        k = columns.size
        return Linear.of(
            sparse.csr_array(
                (
                    np.ascontiguousarray(data).ravel(),
                    np.tile(columns, m),
                    np.arange(0, m * k + 1, max(k, 1))[: m + 1],
                )
                if k
                else (np.empty(0), np.empty(0, np.int64), np.zeros(m + 1, np.int64)),
                shape=(m, self.width),
            )
        )


def merged(a: tuple[Slot, ...], b: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Slots of a sum; slots that read the very same index array are one slot."""
    slots = list(a)
    for index, c in b:
        for position, (known, d) in enumerate(slots):
            if known is index:
                slots[position] = (index, d + c)
                break
        else:
            slots.append((index, c))
    return tuple(slots)


def distinct(index: IntArray, width: int) -> bool:
    """Whether no coordinate occurs twice."""
    if index.size > width:
        return False
    seen = np.zeros(width, dtype=bool)
    seen[index] = True
    return int(np.count_nonzero(seen)) == index.size


def stacked(parts: Sequence[Linear]) -> Linear:
    """The rows of all parts one after the other."""
    width = max((p.width for p in parts), default=0)
    size = sum(p.size for p in parts)
    counts = {len(p.slots) for p in parts if p.slots is not None}
    if all(p.slots is not None for p in parts) and len(counts) == 1:
        slots: list[Slot] = []
        for k in range(counts.pop()):
            chosen = [(p.slots[k], p.size) for p in parts if p.slots is not None]
            index = np.concatenate([slot[0] for slot, _ in chosen])
            values = {slot[1] for slot, _ in chosen if isinstance(slot[1], float)}
            same = len(values) == 1 and all(isinstance(slot[1], float) for slot, _ in chosen)
            c: Coefficient = values.pop() if same else np.concatenate([spread(s[1], n) for s, n in chosen])
            slots.append((index, c))
        return Linear(size, width, tuple(slots))
    matrix = sparse.vstack([p.csr(width) for p in parts], format="csr")
    return Linear.of(sparse.csr_array(matrix))
