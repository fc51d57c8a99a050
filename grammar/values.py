"""What an expression can be worth: constants, random expressions, graphs, text; and the hidden axis of a
loop.

A loop body is evaluated once, with its index as an array along a hidden *batch* axis. A value that varies
over the loop carries its `Batch` and one more leading axis than the program sees; a value that does not
carries None. Every value that meets another in an operation has either no batch or the current one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import Span, fail
from spucc.grammar.poly import Poly

Array = NDArray[Any]

# Nothing that a program asks for may have more elements than this; the check comes before the memory is
# taken.
LARGEST_ARRAY = 16_000_000
LARGEST_LOOP = 8_000_000
# … unless a file holds so many already; and no file may have more.
LARGEST_DATUM = 100_000_000
_given: ContextVar[int] = ContextVar("given", default=0)


@contextmanager
def own_sizes() -> Iterator[None]:
    """An elaboration, whose largest datum is its own."""
    token = _given.set(0)
    try:
        yield
    finally:
        _given.reset(token)


def allow(numbers: int) -> None:
    """What is computed may be as large as a datum given."""
    _given.set(max(_given.get(), numbers))


def at_most(limit: int) -> int:
    """The larger of a limit and of the largest datum given."""
    return max(limit, _given.get())


class CannotBatchError(Exception):
    """An operation whose result has a different shape in each turn of a loop; the loop then runs turn by
    turn."""

    def __init__(self, reason: str, span: Span | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.span = span


class PoisonedError(Exception):
    """Something depends on a name whose declaration already failed: say nothing more about it."""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """The turns of a loop (or of a branch of it). `index[k]` is the turn of `parent` that turn k belongs to;
    it never decreases."""

    size: int
    parent: Batch | None
    index: IntArray


@dataclass(frozen=True, eq=False, slots=True)
class Const:
    """A number or an array of numbers known when the program is compiled.

    `facts` remembers what was verified about a datum (`symmetric`, `spd`), so that nothing is verified twice.
    """

    array: Array
    batch: Batch | None = None
    facts: frozenset[str] = frozenset()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape if self.batch is None else self.array.shape[1:]

    @property
    def kind(self) -> str:
        return {"b": "bool", "i": "int", "u": "int"}.get(self.array.dtype.kind, "real")


@dataclass(frozen=True, eq=False, slots=True)
class SparseConst:
    """A constant sparse matrix."""

    matrix: sparse.csr_array
    batch: Batch | None = None
    facts: frozenset[str] = frozenset()

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.matrix.shape[0]), int(self.matrix.shape[1]))


@dataclass(frozen=True, eq=False, slots=True)
class Random:
    """A polynomial of the random variables for each entry; the poly's entries run over (batch, *shape),
    row-major."""

    poly: Poly
    shape: tuple[int, ...]
    batch: Batch | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Text:
    value: str
    batch: Batch | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """Nodes 0 … n − 1 and weighted edges, each once."""

    n: int
    i: IntArray
    j: IntArray
    w: FloatArray
    batch: Batch | None = None
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Edges:
    """`edges(G)`: to loop over, to index, or to read as an array [m, 2]."""

    graph: Graph
    batch: Batch | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.graph.i.size, 2)


@dataclass(frozen=True, eq=False, slots=True)
class Range:
    """`range(a, b, step)`, whose ends may vary over the loop around it."""

    start: Array
    stop: Array
    step: int
    batch: Batch | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (int(self.counts().sum()),)

    def counts(self) -> IntArray:
        """How many turns for each turn of the loop around it."""
        ends = self.stop - self.start
        up = (ends + self.step - 1) // self.step if self.step > 0 else (-ends - self.step - 1) // -self.step
        return np.asarray(np.maximum(np.atleast_1d(up), 0), dtype=np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """A tuple `(a, b)`."""

    items: tuple[Value, ...]
    batch: Batch | None = None
    shape: tuple[int, ...] = field(default=())


@dataclass(frozen=True, eq=False, slots=True)
class Poison:
    """The value of a name whose declaration failed."""

    batch: Batch | None = None
    shape: tuple[int, ...] = ()


Value = Const | SparseConst | Random | Text | Graph | Edges | Range | Group | Poison


def describe(value: Value) -> str:
    """A value's type in words, for messages: `int`, `real[3, 4]`, `graph`."""
    match value:
        case Const():
            name = value.kind
        case Random() | SparseConst():
            name = "real"
        case Text():
            return "string"
        case Graph():
            return "graph"
        case Group():
            return "tuple"
        case _:
            name = "int"
    return name + show_shape(value.shape) if value.shape else name


def show_shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(n) for n in shape) + "]"


def number_of(shape: tuple[int, ...]) -> int:
    """The number of elements, as a Python integer that cannot overflow."""
    size = 1
    for n in shape:
        size *= int(n)
    return size


def check_size(shape: tuple[int, ...], span: Span | None, batch: Batch | None = None) -> None:
    """Refuse an array that is too large before any memory is taken for it."""
    turns = 1 if batch is None else batch.size
    most = at_most(LARGEST_ARRAY)
    if number_of(shape) * turns > most:
        size = " × ".join(f"{n:,}" for n in shape)
        times = f" in each of {turns:,} turns of the loop" if turns > 1 else ""
        fail(
            "E0217",
            f"an array of {size} elements{times} is too large",
            span,
            help=f"at most {most:,} elements; a sparse matrix (`sparse`, `laplacian`) may have more",
        )


def parent_rows(batch: Batch, ancestor: Batch | None) -> IntArray:
    """For each turn of `batch` the turn of `ancestor` that it belongs to."""
    rows = batch.index
    above = batch.parent
    while above is not ancestor:
        assert above is not None
        rows = above.index[rows]
        above = above.parent
    return rows


def repeat_rows(rows: IntArray, width: int) -> IntArray:
    """Flat positions of whole rows of `width` entries."""
    if width == 1:
        return rows
    return np.asarray((rows[:, None] * width + np.arange(width)).ravel(), dtype=np.int64)


def lift(value: Value, batch: Batch | None) -> Value:
    """The value as seen from inside `batch`, a loop inside the one where it was computed."""
    if value.batch is None or value.batch is batch or batch is None:
        return value
    match value:
        case Const():
            return Const(value.array[parent_rows(batch, value.batch)], batch, value.facts)
        case Random():
            rows = repeat_rows(parent_rows(batch, value.batch), number_of(value.shape))
            return Random(value.poly.take(rows), value.shape, batch)
        case Group():
            return Group(tuple(lift(v, batch) for v in value.items), batch)
        case Range():
            rows = parent_rows(batch, value.batch)
            start, stop = (np.broadcast_to(a, (value.batch.size,))[rows] for a in (value.start, value.stop))
            return Range(start, stop, value.step, batch)
        case _:
            return value
