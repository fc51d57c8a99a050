"""Values as numbers, and the common shape of two of them: NumPy's broadcasting, inside loops too."""

from __future__ import annotations

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Label, Span, fail
from spucc.grammar.linear import Coefficient
from spucc.grammar.poly import LARGEST_EXPANSION, Poly
from spucc.grammar.values import (
    Array,
    Batch,
    CannotBatchError,
    Const,
    Edges,
    Poison,
    PoisonedError,
    Random,
    Range,
    SparseConst,
    Value,
    check_size,
    describe,
    number_of,
    show_shape,
)

Numeric = Const | Random


def quoted(names: frozenset[str], limit: int = 3) -> str:
    """Variable names for a message: `x`, `y` and 4 more."""
    ordered = sorted(names)
    shown = ", ".join(f"`{n}`" for n in ordered[:limit])
    return shown if len(ordered) <= limit else f"{shown} and {len(ordered) - limit} more"


def numeric(value: Value, span: Span, what: str = "a number or an array of numbers") -> Numeric:
    """The value as something to calculate with."""
    match value:
        case Const() | Random():
            return value
        case SparseConst():
            check_size(value.shape, span)
            return Const(value.matrix.toarray(), None, value.facts)
        case Edges():
            return Const(np.stack([value.graph.i, value.graph.j], axis=1))
        case Range():
            return range_array(value, span)
        case Poison():
            raise PoisonedError
        case _:
            fail("E0206", f"expected {what}, found a {describe(value)}", span)


def range_array(value: Range, span: Span) -> Const:
    """`range(…)` written out as an array."""
    counts = value.counts()
    if value.batch is None:
        check_size((int(counts[0]),), span)
        first = int(value.start.reshape(-1)[0])
        return Const(first + value.step * np.arange(int(counts[0]), dtype=np.int64))
    if counts.size and counts.min() != counts.max():
        raise CannotBatchError("a range of a different length in each turn", span)
    turns = value.batch.size
    start = np.broadcast_to(value.start, (turns,))
    count = int(counts[0]) if counts.size else 0
    check_size((count,), span, value.batch)
    return Const(start[:, None] + value.step * np.arange(count), value.batch)


def constant(value: Value, span: Span, role: str) -> Const:
    """The value as a constant array; `role` says in the message what must be constant."""
    found = numeric(value, span)
    if isinstance(found, Random):
        fail(
            "E0210",
            f"{role} must be a constant, but depends on the random variable {quoted(found.poly.names)}",
            span,
            help="only data, `let` constants and loop indices are known when the program is compiled",
        )
    return found


def batch_of(*values: Value) -> Batch | None:
    return next((v.batch for v in values if v.batch is not None), None)


def full(batch: Batch | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if batch is None else (batch.size, *shape)


def broadcast(
    a: tuple[int, ...], b: tuple[int, ...], span: Span, labels: tuple[Label, ...] = ()
) -> tuple[int, ...]:
    """NumPy's common shape of two shapes."""
    if a == b:
        return a
    rank = max(len(a), len(b))
    result = []
    for m, n in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b):
        if m != n and 1 not in (m, n):
            fail(
                "E0203",
                f"shapes {show_shape(a)} and {show_shape(b)} do not fit together",
                span,
                labels=labels,
                help="axes are matched from the last; each pair must be equal, or one of them 1 (`x[:, "
                "None]`)",
            )
        result.append(n if m == 1 else m)
    return tuple(result)


def padded(array: Array, batch: Batch | None, rank: int) -> Array:
    """A batched array with its visible rank raised to `rank`, so that NumPy's broadcasting does the rest."""
    if batch is None or array.ndim - 1 >= rank:
        return array
    return array.reshape(array.shape[0], *(1,) * (rank + 1 - array.ndim), *array.shape[1:])


def const_flat(c: Const, shape: tuple[int, ...], batch: Batch | None) -> Coefficient:
    """A constant as a coefficient for the entries of (batch, *shape): a float where one number serves all."""
    if c.array.size == 1 and c.batch is None:
        return float(c.array.reshape(-1)[0])
    array = padded(c.array, c.batch, len(shape))
    return np.ascontiguousarray(np.broadcast_to(array, full(batch, shape)), dtype=np.float64).reshape(-1)


def expanded(r: Random, shape: tuple[int, ...], batch: Batch | None) -> Poly:
    """The polynomials of a random value broadcast to (batch, *shape)."""
    if r.shape == shape and r.batch is batch:
        return r.poly
    size = number_of(full(batch, shape))
    if number_of(full(r.batch, r.shape)) == size:
        return r.poly
    if size > LARGEST_EXPANSION:
        check_size(shape, None, batch)
    rows: IntArray = np.arange(r.poly.size, dtype=np.int64).reshape(full(r.batch, r.shape))
    spread_rows = np.broadcast_to(padded(rows, r.batch, len(shape)), full(batch, shape))
    return r.poly.take(np.ascontiguousarray(spread_rows).reshape(-1))


def as_poly(v: Numeric, shape: tuple[int, ...], batch: Batch | None) -> Poly:
    if isinstance(v, Random):
        return expanded(v, shape, batch)
    return Poly.constant(const_flat(v, shape, batch), number_of(full(batch, shape)))
