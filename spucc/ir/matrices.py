"""Sparse matrices in the shortest form that holds their bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import canonical
from spucc.ir.rows import Kind
from spucc.ir.tables import Column, member_of, read_table, write_table
from spucc.ir.text import COMMENTED, Reader, Writer
from spucc.ir.vectors import Dense, read_ranges, sizes, written_ranges

_TRIPLES = (Column("i", Kind.INT), Column("j", Kind.INT), Column("value"))


def exactly_symmetric(matrix: sparse.csr_array) -> bool:
    """Whether pattern and bits of a canonical matrix are those of its transpose."""
    if matrix.shape[0] != matrix.shape[1]:
        return False
    other = matrix.T.tocsr()
    other.sort_indices()
    return bool(
        np.array_equal(matrix.indptr, other.indptr)
        and np.array_equal(matrix.indices, other.indices)
        and matrix.data.tobytes() == other.data.tobytes()
    )


@dataclass(frozen=True)
class Sparse:
    """A sparse matrix in the shortest of these forms: `= zero r c`, `= identity n`, `= select r c columns…` (one entry 1 a
    row), or a block `diagonal n`, `symmetric n` (upper triangle), `general r c`."""

    names: Callable[[Writer], Sequence[str] | None] = lambda out: None
    """Names of the columns, for comments."""
    by_row: bool = False
    """Whether comments name the row instead, after the read-back that the matrix is part of."""

    def write(self, out: Writer, key: str, value: sparse.csr_array) -> None:
        matrix = canonical(value)
        rows, columns = matrix.shape
        data = np.asarray(matrix.data, dtype=np.float64)
        if matrix.nnz == 0:
            out.line(f"{key} = zero {rows} {columns}")
            return
        if matrix.nnz == rows and np.array_equal(matrix.indptr, np.arange(rows + 1)):
            if (data == 1.0).all():
                self._write_select(out, key, matrix)
                return
            if rows == columns and np.array_equal(matrix.indices, np.arange(rows)):
                table = [(Column("value"), data)]
                write_table(
                    out, f"{key} diagonal {rows}", key, table, lambda: self._labels(out, np.arange(rows))
                )
                return
        triples = sparse.coo_array(matrix)
        i, j = triples.row.astype(np.int64), triples.col.astype(np.int64)
        head = f"general {rows} {columns}"
        if exactly_symmetric(matrix):
            upper = i <= j
            i, j, data = i[upper], j[upper], data[upper]
            head = f"symmetric {rows}"
        table = list(zip(_TRIPLES, (i, j, data)))
        write_table(out, f"{key} {head}", key, table, lambda: self._pairs(out, i, j, rows == columns))

    def _write_select(self, out: Writer, key: str, matrix: sparse.csr_array) -> None:
        rows, columns = matrix.shape
        index = matrix.indices.astype(np.int64)
        labels = self._labels(out, np.arange(rows) if self.by_row else index)
        if rows == columns and np.array_equal(index, np.arange(rows)):
            out.line(f"{key} = identity {rows}")
        else:
            out.line(f"{key} = select {rows} {columns} {written_ranges(out, key, index)}" + said(out, labels))

    def _labels(self, out: Writer, index: np.ndarray) -> list[str] | None:
        names = out.labels if self.by_row else self.names(out)
        if names is None or index.size > COMMENTED or index.max(initial=-1) >= len(names):
            return None
        return [names[k] for k in index.tolist()]

    def _pairs(self, out: Writer, i: np.ndarray, j: np.ndarray, square: bool) -> list[str] | None:
        if self.by_row:
            return self._labels(out, i)
        right = self._labels(out, j)
        left = self._labels(out, i) if square else None
        if right is None:
            return None
        if left is None:
            return right
        return [a if a == b else f"{a} {b}" for a, b in zip(left, right)]

    def read(self, src: Reader, key: str) -> sparse.csr_array:
        src.expect(key)
        if not src.peek().endswith("{"):
            return self._short(src, key, src.entry(key).split())
        head = src.here()
        words, member = member_of(src.open(key))
        kind, rest = (words[0], words[1:]) if words else ("", [])
        if kind == "diagonal":
            (n,) = sizes(src, key, rest, 1)
            data = read_table(src, member, [Column("value")])["value"]
            if data.size != n:
                src.goto(head, 0)
                src.fault("E0614", f"`{key}` has {data.size} diagonal entries, but its head says {n}")
            return sparse.csr_array((data.copy(), np.arange(n), np.arange(n + 1)), shape=(n, n))
        if kind not in ("symmetric", "general"):
            src.fault(
                "E0618", f"cannot read which kind of matrix `{key}` is", help="diagonal, symmetric or general"
            )
        given = sizes(src, key, rest, 1 if kind == "symmetric" else 2)
        rows, columns = given[0], given[-1]
        src.claim(rows)
        table = read_table(src, member, _TRIPLES)
        i, j, value = table["i"], table["j"], table["value"]
        inside = bool((i >= 0).all() and (j >= 0).all() and (i < rows).all() and (j < columns).all())
        upper = kind == "general" or bool((i <= j).all())
        ahead = (np.diff(i) > 0) | ((np.diff(i) == 0) & (np.diff(j) > 0))
        if not (inside and upper and ahead.all()):
            src.goto(head, 0)
            triangle = " of the upper triangle" if kind == "symmetric" else ""
            src.fault(
                "E0614",
                f"the entries of `{key}` have to be sorted, distinct and within {rows}x{columns}{triangle}",
            )
        if kind == "symmetric":
            off = i != j
            i, j, value = (
                np.concatenate([i, j[off]]),
                np.concatenate([j, i[off]]),
                np.concatenate([value, value[off]]),
            )
        matrix = sparse.csr_array(sparse.coo_array((value, (i, j)), shape=(rows, columns)))
        matrix.sort_indices()
        return matrix

    def _short(self, src: Reader, key: str, words: list[str]) -> sparse.csr_array:
        kind, rest = (words[0], words[1:]) if words else ("", [])
        if kind == "zero":
            rows, columns = sizes(src, key, rest, 2)
            src.claim(rows)
            return sparse.csr_array((rows, columns), dtype=np.float64)
        if kind == "identity":
            (rows,) = sizes(src, key, rest, 1)
            src.claim(3 * rows)
            index, columns = np.arange(rows), rows
        elif kind == "select":
            rows, columns = sizes(src, key, rest[:2], 2)
            index = read_ranges(src, key, rest[2:])
            src.claim(2 * rows)
        else:
            src.fault(
                "E0618", f"cannot read `{key}`", help="write zero, identity or select and sizes, or a block"
            )
        if index.size != rows or (rows and not 0 <= index.min() <= index.max() < columns):
            src.fault("E0614", f"`{key}` has to select {rows} columns below {columns}")
        return sparse.csr_array((np.ones(rows), index, np.arange(rows + 1)), shape=(rows, columns))


def said(out: Writer, labels: Sequence[str] | None, most: int = 8) -> str:
    """Names as the comment at the end of a line."""
    if not labels:
        return ""
    return "   # " + " ".join(labels[:most]) + (" …" if len(labels) > most else "")


@dataclass(frozen=True)
class SparseOrDense:
    """A matrix that is one or the other."""

    def write(self, out: Writer, key: str, value: Any) -> None:
        (Dense() if isinstance(value, np.ndarray) else Sparse()).write(out, key, value)

    def read(self, src: Reader, key: str) -> Any:
        words = src.peek().replace("=", " ").split()
        return (Dense() if words[1:2] in (["dense"], ["zeros"]) else Sparse()).read(src, key)
