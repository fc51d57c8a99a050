"""Single arrays: vectors, dense arrays of any shape, indices with their runs shortened."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.ir.atoms import SHAPE
from spucc.ir.rows import Kind, print_rows, read_rows, to_words
from spucc.ir.tables import Column, Comments, fetch, member_of, read_table, write_table
from spucc.ir.text import COMMENTED, Reader, Writer, aligned, from_ranges, ranges


def all_zero(array: np.ndarray) -> bool:
    """Whether every bit is 0 (−0.0 is not)."""
    return not np.ascontiguousarray(array, dtype=np.float64).view(np.int64).any()


def sizes(src: Reader, key: str, words: Sequence[str], count: int) -> list[int]:
    """The sizes that stand in the head of an array."""
    if len(words) != count or not all(w.isdecimal() and w.isascii() and len(w) < 13 for w in words):
        src.fault("E0609", f"cannot read the size of `{key}`", help=f"{count} whole numbers are wanted")
    return [int(w) for w in words]


@dataclass(frozen=True)
class Vector:
    """A 1-D float array: `key = zeros n`, or a table of one column."""

    comments: Comments = lambda out, value: None

    def write(self, out: Writer, key: str, value: FloatArray) -> None:
        if all_zero(value):
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
            (n,) = sizes(src, key, rest, 1)
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
        if all_zero(value):
            out.line(f"{key} = zeros {shape}")
        elif out.limit is not None and value.size > out.limit:
            with out.block(f"{key} dense {shape} in {out.keep(key, value)}", key):
                pass
        else:
            with out.block(f"{key} dense {shape}", key):
                table = value.reshape(-1, value.shape[-1] if value.ndim else 1)
                if len(table) > COMMENTED:
                    out.lines.append(print_rows([(column, Kind.FLOAT) for column in table.T]))
                else:
                    for line in aligned([to_words(row, Kind.FLOAT) for row in table]):
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
            parts = read_rows(src, [str(k) for k in range(width)], [Kind.FLOAT] * width)
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
