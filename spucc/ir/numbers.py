"""Arrays and sparse matrices: rows of a table with a name to each, or members of the container where they are long."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.ir.atoms import SHAPE
from spucc.ir.text import COMMENTED, Reader, Writer, aligned, from_ranges, ranges
from spucc.stages import Role

Comments = Callable[[Writer, Any], "Sequence[str] | None"]


class Kind(Enum):
    """What the numbers of a column are."""

    FLOAT = "float"
    INT = "int"
    CODE = "code"
    """Integer codes, or the values themselves on a continuous bank: the column's head says which."""
    ROLE = "role"


_ROLES = {int(r): r.name.lower() for r in Role}
_ROLE_CODES = {name: code for code, name in _ROLES.items()}


def to_words(array: np.ndarray, kind: Kind) -> list[str]:
    """The entries of a 1-D array, exactly."""
    values = array.tolist()
    if kind is Kind.ROLE:
        return [_ROLES.get(v, str(v)) for v in values]
    return list(map(repr, values))


def from_words(words: Sequence[str], kind: Kind) -> np.ndarray:
    """The 1-D array of `to_words`. Raises ValueError or OverflowError for words that are no such numbers."""
    if kind is Kind.ROLE:
        return np.array([_ROLE_CODES[w] if w in _ROLE_CODES else int(w) for w in words], dtype=np.int64)
    if kind is Kind.INT:
        return np.array(list(map(int, words)), dtype=np.int64)
    return np.array(list(map(float, words)), dtype=np.float64)


@dataclass(frozen=True)
class Column:
    """A field of a table. A 2-D array takes several columns: those called `names` along its second axis, or, `stacked`
    along one axis, as many as there are, numbered `field.0`, `field.1`, … (no number if there is one)."""

    field: str
    kind: Kind = Kind.FLOAT
    names: tuple[str, ...] = ()
    stacked: int | None = None
    optional: bool = False

    def split(self, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Heads and 1-D parts."""
        if self.names:
            return [(name, array[:, k]) for k, name in enumerate(self.names)]
        mark = self.mark(array)
        if self.stacked is None:
            return [(self.field + mark, array)]
        count = array.shape[self.stacked]
        parts = [array[k] if self.stacked == 0 else array[:, k] for k in range(count)]
        if count == 1:
            return [(self.field + mark, parts[0])]
        return [(f"{self.field}.{k}{mark}", part) for k, part in enumerate(parts)]

    def mark(self, array: np.ndarray) -> str:
        """What the head says of codes that are values or integers."""
        if self.kind is not Kind.CODE:
            return ""
        return ":code" if np.issubdtype(array.dtype, np.integer) else ":value"

    def kind_of(self, head: str) -> Kind:
        if self.kind is not Kind.CODE:
            return self.kind
        return Kind.INT if head.endswith(":code") else Kind.FLOAT

    def claims(self, head: str, whole: bool) -> bool:
        """Whether a column with this head is part of the field; `whole`: is the field, in a table of members."""
        if whole:
            return head in (self.field, f"{self.field}:code", f"{self.field}:value")
        if self.names:
            return head in self.names
        name, _, mark = head.partition(":")
        if (self.kind is Kind.CODE) != (mark in ("code", "value")) or (mark and self.kind is not Kind.CODE):
            return False
        base, dot, number = name.partition(".")
        return base == self.field and (not dot or (self.stacked is not None and number.isdecimal()))

    def join(self, parts: list[np.ndarray]) -> np.ndarray:
        if self.names:
            return np.stack(parts, axis=1)
        return parts[0] if self.stacked is None else np.stack(parts, axis=self.stacked)


# --- tables ---------------------------------------------------------------------------------------------------------


def write_table(
    out: Writer,
    head: str,
    name: str,
    columns: Sequence[tuple[Column, np.ndarray]],
    comments: Callable[[], Sequence[str] | None] = lambda: None,
) -> None:
    """A block of columns of one length, or one that names the members of the container that hold them."""
    if out.limit is not None and max(array.size for _, array in columns) > out.limit:
        with out.block(f"{head} in {out.member(name)}", name):
            for column, array in columns:
                out.keep(column.field, array)
            line = " ".join(column.field + column.mark(array) for column, array in columns)
            first, array = columns[0]
            out.line(f"{line}   # {array.shape[1 if first.stacked == 0 else 0]} rows")
        return
    parts = [(h, part, column.kind) for column, array in columns for h, part in column.split(array)]
    heads = [h for h, _, _ in parts]
    words = [to_words(part, kind) for _, part, kind in parts]
    with out.block(head, name):
        if len(words[0]) > COMMENTED:
            out.line(" ".join(heads))
            out.lines.extend(map(" ".join, zip(*words)))
            return
        lines = aligned([heads, *zip(*words)])
        notes = comments() or ()
        if len(notes) != len(lines) - 1:
            notes = [""] * (len(lines) - 1)
        width = max(map(len, lines))
        out.line(lines[0])
        for line, note in zip(lines[1:], notes):
            out.line(f"{line:<{width}}   # {note}" if note else line)


def read_table(src: Reader, member: str, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """The fields of a table whose block has just been opened; an optional column that is absent is absent here too."""
    heads = src.peek().split() or src.ended("the columns of a table")
    claims = {c.field: [k for k, h in enumerate(heads) if c.claims(h, bool(member))] for c in columns}
    for k, head in enumerate(heads):
        if head in heads[:k] or not any(k in found for found in claims.values()):
            src.fault("E0610", f"`{head[:40]}` is no column of this table, or stands there twice")
    for column in columns:
        count = len(claims[column.field])
        if (count == 0 and not column.optional) or (
            count and not member and column.names and count < len(column.names)
        ):
            names = " ".join(column.names) if not member else column.field
            src.fault(
                "E0610",
                f"the column `{names or column.field}` is missing",
                help=f"found: {' '.join(heads)[:80]}",
            )
    if member:
        if any(len(found) > 1 for found in claims.values()):
            src.fault("E0610", "a column stands twice in this table")
        src.take()
        return _members(src, member, [(c, heads[claims[c.field][0]]) for c in columns if claims[c.field]])
    src.take()
    kinds = [next(c for c in columns if k in claims[c.field]).kind_of(h) for k, h in enumerate(heads)]
    arrays = _rows(src, heads, kinds)
    return {
        c.field: frozen(c.join([arrays[k] for k in found]), arrays[found[0]].dtype)
        for c in columns
        if (found := claims[c.field])
    }


def _rows(src: Reader, heads: Sequence[str], kinds: Sequence[Kind]) -> list[np.ndarray]:
    """The columns of the rows up to the end of the block."""
    first = src.mark()
    body = src.body()
    lines = body.split("\n")
    words = body.split()
    filled = sum(1 for line in lines if line and not line.isspace())
    if filled * len(heads) == len(words) and body.isascii() and "_" not in body:
        try:
            return [from_words(words[k :: len(heads)], kind) for k, kind in enumerate(kinds)]
        except (ValueError, OverflowError):
            pass
    for k, line in enumerate(lines):
        _judge(src, first, k, line.split(), heads, kinds)
    src.fault("E0609", "the rows of this table cannot be read")


def _judge(
    src: Reader, first: tuple[int, int], k: int, row: list[str], heads: Sequence[str], kinds: Sequence[Kind]
) -> None:
    """Raise the fault of row `k`, if it has one."""
    if row and len(row) != len(heads):
        src.goto(first, k)
        src.fault(
            "E0609",
            f"this row has {len(row)} words, but there are {len(heads)} columns",
            help=" ".join(heads)[:80],
        )
    for head, kind, word in zip(heads, kinds, row):
        try:
            from_words([word], kind)
            if word.isascii() and "_" not in word:
                continue
        except (ValueError, OverflowError):
            pass
        src.goto(first, k)
        src.fault("E0618", f"`{head[:40]}` cannot be `{word[:60]}`", help=f"a {kind.value} is wanted")


def _members(src: Reader, member: str, columns: Sequence[tuple[Column, str]]) -> dict[str, np.ndarray]:
    """The columns that stand in the container."""
    found: dict[str, np.ndarray] = {}
    rows: set[int] = set()
    for column, head in columns:
        ndim = 2 if column.names or column.stacked is not None else 1
        array = fetch(src, f"{member}.{column.field}", column.kind_of(head), ndim)
        if column.names and array.shape[1] != len(column.names):
            src.fault(
                "E0613",
                f"the array `{member}.{column.field}` has {array.shape[1]} columns, not {len(column.names)}",
            )
        rows.add(array.shape[1 if column.stacked == 0 else 0])
        found[column.field] = array
    if len(rows) > 1:
        src.fault(
            "E0613", f"the arrays of `{member}` disagree in length: {', '.join(map(str, sorted(rows)))}"
        )
    src.close()
    return found


def fetch(src: Reader, name: str, kind: Kind, ndim: int) -> np.ndarray:
    """An array of the container as float64 or int64. E0613 if it is of another kind."""
    array = src.array(name)
    dtype = np.float64 if kind is Kind.FLOAT else np.int64
    if array.ndim != ndim or (array.dtype.kind == "f") != (dtype is np.float64):
        src.fault(
            "E0613",
            f"the array `{name}` is {array.dtype} {list(array.shape)}; {ndim}-dimensional {kind.value} is wanted",
        )
    src.claim(array.size)
    return frozen(array, dtype)


def member_of(words: list[str]) -> tuple[list[str], str]:
    """Splits `… in NAME` off the words of a head."""
    return (words[:-2], words[-1]) if len(words) >= 2 and words[-2] == "in" else (words, "")


@dataclass(frozen=True)
class Table:
    """An item of a record: several array fields of one length as the columns of one table."""

    key: str
    columns: tuple[Column, ...]
    comments: Comments = lambda out, owner: None

    @property
    def carries(self) -> tuple[str, ...]:
        return tuple(c.field for c in self.columns)

    def write_to(self, out: Writer, owner: Any) -> None:
        present = [(c, getattr(owner, c.field)) for c in self.columns if getattr(owner, c.field) is not None]
        write_table(out, self.key, self.key, present, lambda: self.comments(out, owner))

    def read_into(self, src: Reader, got: dict[str, Any]) -> None:
        words, member = member_of(src.open(self.key))
        if words:
            src.fault("E0609", f"nothing belongs between `{self.key}` and the brace")
        got.update({c.field: None for c in self.columns if c.optional})
        got.update(read_table(src, member, self.columns))


# --- single arrays --------------------------------------------------------------------------------------------------


def _zero(array: np.ndarray) -> bool:
    """Whether every bit is 0 (−0.0 is not)."""
    return not np.ascontiguousarray(array, dtype=np.float64).view(np.int64).any()


def _sizes(src: Reader, key: str, words: Sequence[str], count: int) -> list[int]:
    """The sizes that stand in the head of an array."""
    if len(words) != count or not all(w.isdecimal() and w.isascii() and len(w) < 13 for w in words):
        src.fault("E0609", f"cannot read the size of `{key}`", help=f"{count} whole numbers are wanted")
    return [int(w) for w in words]


@dataclass(frozen=True)
class Vector:
    """A 1-D float array: `key = zeros n`, or a table of one column."""

    comments: Comments = lambda out, value: None

    def write(self, out: Writer, key: str, value: FloatArray) -> None:
        if _zero(value):
            out.line(f"{key} = zeros {value.size}")
        else:
            write_table(out, key, key, [(Column("value"), value)], lambda: self.comments(out, value))

    def read(self, src: Reader, key: str) -> FloatArray:
        src.expect(key)
        if not src.peek().endswith("{"):
            word, *rest = src.entry(key).split() or [""]
            if word != "zeros":
                src.fault(
                    "E0618", f"`{key}` cannot be `{word[:40]}`", help="write zeros and a size, or a block"
                )
            (n,) = _sizes(src, key, rest, 1)
            src.claim(n)
            return frozen(np.zeros(n))
        words, member = member_of(src.open(key))
        if words:
            src.fault("E0609", f"nothing belongs between `{key}` and the brace")
        return read_table(src, member, [Column("value")])["value"]


@dataclass(frozen=True)
class Dense:
    """A float array of any shape: `key = zeros 2x3`, or a block `key dense 2x3` of rows along its last axis."""

    ndim: int | None = None

    def write(self, out: Writer, key: str, value: FloatArray) -> None:
        shape = SHAPE.format(value.shape)
        if _zero(value):
            out.line(f"{key} = zeros {shape}")
        elif out.limit is not None and value.size > out.limit:
            with out.block(f"{key} dense {shape} in {out.keep(key, value)}", key):
                pass
        else:
            with out.block(f"{key} dense {shape}", key):
                words, width = to_words(value.ravel(), Kind.FLOAT), value.shape[-1] if value.ndim else 1
                table = [words[k : k + width] for k in range(0, len(words), width)]
                for line in aligned(table) if len(table) <= COMMENTED else map(" ".join, table):
                    out.line(line)

    def read(self, src: Reader, key: str) -> FloatArray:
        src.expect(key)
        if not src.peek().endswith("{"):
            word, *rest = src.entry(key).split() or [""]
            if word != "zeros":
                src.fault(
                    "E0618", f"`{key}` cannot be `{word[:40]}`", help="write zeros and a shape, or a block"
                )
            shape = self._shape(src, key, rest)
            src.claim(math.prod(shape))
            return constant(np.zeros(shape))
        head = src.here()
        words, member = member_of(src.open(key))
        if words[:1] != ["dense"]:
            src.fault("E0609", f"cannot read `{key}`", help="write `dense` and a shape such as 3x4")
        shape = self._shape(src, key, words[1:])
        if member:
            array = fetch(src, member, Kind.FLOAT, len(shape))
            src.close()
        else:
            width = shape[-1] if shape else 1
            src.claim(width)
            parts = _rows(src, [str(k) for k in range(width)], [Kind.FLOAT] * width)
            array = np.stack(parts, axis=1) if parts else np.zeros((0, 0))
            if array.size == math.prod(shape):
                array = array.reshape(shape)
        if array.shape != shape:
            src.goto(head, 0)
            src.fault("E0613", f"`{key}` has {array.size} entries, but its head says {SHAPE.format(shape)}")
        return constant(array)

    def _shape(self, src: Reader, key: str, words: Sequence[str]) -> tuple[int, ...]:
        shape = SHAPE.of(src, key, " ".join(words))
        if self.ndim is not None and len(shape) != self.ndim:
            src.fault("E0618", f"`{key}` has to have {self.ndim} dimensions, not {len(shape)}")
        return shape


def constant(array: np.ndarray) -> np.ndarray:
    """The array, read-only; scalars stay scalars."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class Indices:
    """A 1-D array of whole numbers, runs shortened: `key = 0..3 7`."""

    comments: Callable[[Writer, IntArray], str] = lambda out, value: ""

    def write(self, out: Writer, key: str, value: IntArray) -> None:
        out.line(f"{key} = {written_ranges(out, key, value)}".rstrip() + self.comments(out, value))

    def read(self, src: Reader, key: str) -> IntArray:
        return read_ranges(src, key, src.entry(key).split())


def written_ranges(out: Writer, key: str, value: IntArray) -> str:
    words = ranges(value)
    if out.limit is not None and len(words) > out.limit:
        return f"in {out.keep(key, value)}"
    return " ".join(words)


def read_ranges(src: Reader, key: str, words: list[str]) -> IntArray:
    rest, member = member_of(words)
    if member and not rest:
        return fetch(src, member, Kind.INT, 1)
    try:
        return frozen(from_ranges(words, src.claim), np.int64)
    except ValueError as error:
        src.fault("E0618", f"`{key}`: {error}")


# --- sparse matrices ------------------------------------------------------------------------------------------------

_TRIPLES = (Column("i", Kind.INT), Column("j", Kind.INT), Column("value"))


def canonical(matrix: sparse.csr_array) -> sparse.csr_array:
    """The same matrix with sorted columns and no entry twice; not a copy where it is so already."""
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()
    matrix.sum_duplicates()
    return matrix


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
            (n,) = _sizes(src, key, rest, 1)
            data = read_table(src, member, [Column("value")])["value"]
            if data.size != n:
                src.goto(head, 0)
                src.fault("E0614", f"`{key}` has {data.size} diagonal entries, but its head says {n}")
            return sparse.csr_array((data.copy(), np.arange(n), np.arange(n + 1)), shape=(n, n))
        if kind not in ("symmetric", "general"):
            src.fault(
                "E0618", f"cannot read which kind of matrix `{key}` is", help="diagonal, symmetric or general"
            )
        sizes = _sizes(src, key, rest, 1 if kind == "symmetric" else 2)
        rows, columns = sizes[0], sizes[-1]
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
            rows, columns = _sizes(src, key, rest, 2)
            src.claim(rows)
            return sparse.csr_array((rows, columns), dtype=np.float64)
        if kind == "identity":
            (rows,) = _sizes(src, key, rest, 1)
            src.claim(3 * rows)
            index, columns = np.arange(rows), rows
        elif kind == "select":
            rows, columns = _sizes(src, key, rest[:2], 2)
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

    sparse: Sparse = Sparse()
    dense: Dense = Dense()

    def write(self, out: Writer, key: str, value: Any) -> None:
        (self.dense if isinstance(value, np.ndarray) else self.sparse).write(out, key, value)

    def read(self, src: Reader, key: str) -> Any:
        words = src.peek().replace("=", " ").split()
        return (self.dense if words[1:2] in (["dense"], ["zeros"]) else self.sparse).read(src, key)
