"""Tables: arrays of one length as columns with a name to each, or members of the container where they are long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spucc.arrays import frozen
from spucc.ir.rows import Kind, print_rows, read_rows, to_words
from spucc.ir.text import COMMENTED, Reader, Writer, aligned

Comments = Callable[[Writer, Any], "Sequence[str] | None"]


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
    with out.block(head, name):
        if len(parts[0][1]) > COMMENTED:
            out.line(" ".join(heads))
            out.lines.append(print_rows([(part, kind) for _, part, kind in parts]))
            return
        lines = aligned([heads, *zip(*(to_words(part, kind) for _, part, kind in parts))])
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
    arrays = read_rows(src, heads, kinds)
    return {
        c.field: frozen(c.join([arrays[k] for k in found]), arrays[found[0]].dtype)
        for c in columns
        if (found := claims[c.field])
    }


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
