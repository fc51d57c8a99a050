"""Operators on values: broadcasting, `+ - * / **`, comparisons, sums over axes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import Label, Span, fail
from spucc.grammar.linear import Coefficient
from spucc.grammar.poly import LARGEST_EXPANSION, Poly
from spucc.grammar.values import (
    Array,
    Batch,
    Const,
    Edges,
    Poison,
    PoisonedError,
    Random,
    Range,
    SparseConst,
    Text,
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
    from spucc.grammar.values import CannotBatchError

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


def _flag_nonfinite(result: Array, inputs: tuple[Array, ...], what: str, span: Span) -> None:
    if result.dtype.kind != "f":
        return
    total = float(np.sum(result)) if result.size < 1 << 16 else float("nan")
    if np.isfinite(total):
        return
    finite = np.isfinite(result)
    if finite.all():
        return
    if np.isnan(result).any() or all(np.isfinite(a).all() for a in inputs if a.dtype.kind == "f"):
        at = int(np.flatnonzero(~finite.ravel())[0])
        place = "" if result.ndim == 0 else f" (first at entry {at} of {result.size})"
        fail("E0218", f"{what} is not a finite number{place}", span)


def calculated(function: Callable[..., Any], what: str, span: Span, *inputs: Array) -> Array:
    """A NumPy function applied with its failures turned into an error."""
    with np.errstate(all="ignore"):
        result = np.asarray(function(*inputs))
    _flag_nonfinite(result, inputs, what, span)
    return result


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


def _safe_integers(op: str, a: Array, b: Array) -> tuple[Array, Array]:
    """Integers as floats where the result might not fit in 64 bits; booleans as integers."""
    a, b = (v.astype(np.int64) if v.dtype.kind == "b" else v for v in (a, b))
    if op in "+-*" and a.dtype.kind == "i" and b.dtype.kind == "i" and a.size and b.size:
        top = [max(abs(int(v.max())), abs(int(v.min()))) for v in (a, b)]
        if (top[0] * top[1] if op == "*" else top[0] + top[1]) >= 2**62:
            return a.astype(np.float64), b.astype(np.float64)
    return a, b


def binary(op: str, a: Value, b: Value, span: Span, labels: tuple[Label, ...] = ()) -> Value:
    """`a op b` for every operator that works entry by entry."""
    if isinstance(a, Const) and isinstance(b, Const) and a.array.ndim == b.array.ndim == 0:
        single = _single(op, a.array.item(), b.array.item())
        if single is not None:
            return single
    if isinstance(a, Text) and isinstance(b, Text) and op in ("==", "!="):
        return Const(np.asarray((a.value == b.value) == (op == "==")))
    if isinstance(a, SparseConst) or isinstance(b, SparseConst):
        found = _sparse_binary(op, a, b)
        if found is not None:
            return found
    x, y = numeric(a, span), numeric(b, span)
    if op == "**":
        return power(x, y, span)
    shape = broadcast(x.shape, y.shape, span, labels)
    batch = batch_of(x, y)
    check_size(shape, span, batch)
    if isinstance(x, Const) and isinstance(y, Const):
        left, right = (padded(v.array, v.batch, len(shape)) for v in (x, y))
        if op in "+-*/":
            left, right = _safe_integers(op, left, right)
        what = f"the result of `{op}`" if op != "/" or np.all(right) else "a division by zero"
        return Const(calculated(_FUNCTIONS[op], what, span, left, right), batch)
    if op in COMPARISONS:
        names = frozenset[str]().union(*(v.poly.names for v in (x, y) if isinstance(v, Random)))
        fail(
            "E0403",
            f"`{op}` compares the random variable {quoted(names)}, whose value is not known when the "
            "program is compiled",
            span,
            help="only constants can be compared; a hard wall can be approximated by an energy that "
            "rises steeply",
        )
    if op == "/":
        if isinstance(y, Random):
            fail(
                "E0402",
                f"division by the random variable {quoted(y.poly.names)}: the energy must stay a polynomial",
                span,
                help="multiply both sides out, or declare the reciprocal as the variable",
            )
        y = Const(calculated(np.true_divide, "a division by zero", span, np.asarray(1.0), y.array), y.batch)
        op = "*"
    p, q = as_poly(x, shape, batch), as_poly(y, shape, batch)
    poly = p.times(q) if op == "*" else p.plus(q if op == "+" else q.scaled(-1.0))
    return Random(poly, shape, batch)


def _single(op: str, x: Any, y: Any) -> Const | None:
    """`x op y` of two numbers, without the forty times longer way that arrays take; None where that has more to say."""
    function = _OPERATORS.get(op)
    if function is None or type(x) is bool or type(y) is bool or (op == "/" and y == 0):
        return None
    result = function(x, y)
    if isinstance(result, bool):
        return Const(np.asarray(result))
    if type(x) is type(y) is int and (abs(x) + abs(y) >= 2**53 or abs(result) >= 2**53):
        return None
    return Const(np.asarray(result)) if isfinite(result) else None


def _sparse_binary(op: str, a: Value, b: Value) -> Value | None:
    """Operators that keep a sparse matrix sparse, or None."""
    if isinstance(a, SparseConst) and isinstance(b, SparseConst):
        if a.shape == b.shape and op in "+-":
            return SparseConst((a.matrix + b.matrix if op == "+" else a.matrix - b.matrix).tocsr())
        if a.shape == b.shape and op == "*":
            return SparseConst(a.matrix.multiply(b.matrix).tocsr())
    for s, c, reverse in ((a, b, False), (b, a, True)):
        if isinstance(s, SparseConst) and isinstance(c, Const) and c.batch is None and c.array.size == 1:
            factor = float(c.array.reshape(-1)[0])
            if op == "*":
                return SparseConst((s.matrix * factor).tocsr())
            if op == "/" and not reverse and factor != 0.0:
                return SparseConst((s.matrix / factor).tocsr())
    return None


def power(x: Numeric, y: Numeric, span: Span) -> Value:
    """`x ** y`; a random base takes exponents 0, 1, 2, 3, 4."""
    if isinstance(y, Random):
        fail(
            "E0401",
            f"the exponent depends on the random variable {quoted(y.poly.names)}",
            span,
            help="the energy must be a polynomial: exponents are the constants 0 to 4",
        )
    if isinstance(x, Const):
        shape = broadcast(x.shape, y.shape, span)
        left, right = (padded(v.array, v.batch, len(shape)) for v in (x, y))
        whole = left.dtype.kind in "iub" and right.dtype.kind in "iub" and bool(np.all(right >= 0))
        if whole:
            with np.errstate(all="ignore"):
                large = np.any(np.abs(left.astype(np.float64)) ** right >= 2.0**62)
            if not large:
                return Const(np.asarray(left.astype(np.int64) ** right.astype(np.int64)), batch_of(x, y))
        operands = (left.astype(np.float64), right.astype(np.float64))
        return Const(calculated(np.power, "the result of `**`", span, *operands), batch_of(x, y))
    exponents = y.array.reshape(-1)
    n = int(exponents[0]) if exponents.size and exponents[0] < 2**31 else -1
    if n < 0 or (exponents != n).any():
        fail(
            "E0401",
            f"the random variable {quoted(x.poly.names)} is raised to a power that is not one of 0, 1, 2, "
            "3, 4",
            span,
            help="the energy must be a polynomial of degree at most 4",
        )
    shape = broadcast(x.shape, y.shape, span)
    base = expanded(x, shape, x.batch)
    if n > 8:
        fail("E0404", f"{quoted(x.poly.names)} raised to the power {n}: the degree may be at most 4", span)
    if n == 0:
        return Const(np.ones(full(x.batch, shape)), x.batch)
    result = base
    if n >= 2:
        result = base.times(base)
        for _ in range(n - 2):
            result = result.times(base)
    return Random(result, shape, x.batch)


def negated(value: Value, span: Span) -> Value:
    if isinstance(value, SparseConst):
        return SparseConst((-value.matrix).tocsr())
    v = numeric(value, span)
    if isinstance(v, Random):
        return Random(v.poly.scaled(-1.0), v.shape, v.batch)
    array = v.array.astype(np.int64) if v.array.dtype.kind == "b" else v.array
    return Const(np.negative(array), v.batch)


def reduced_rows(
    shape: tuple[int, ...], axes: tuple[int, ...], batch: Batch | None
) -> tuple[IntArray, tuple[int, ...]]:
    """Where each entry of (batch, *shape) goes when `axes` are summed away, and the shape that is left."""
    whole = full(batch, shape)
    lead = 0 if batch is None else 1
    gone = {a + lead for a in axes}
    kept = tuple(1 if k in gone else n for k, n in enumerate(whole))
    target: IntArray = np.arange(number_of(kept), dtype=np.int64).reshape(kept)
    rows = np.ascontiguousarray(np.broadcast_to(target, whole)).reshape(-1)
    return rows, tuple(n for k, n in enumerate(shape) if k not in axes)


def summed(r: Random, axes: tuple[int, ...]) -> Random:
    """The sum of a random array over some of its axes."""
    rows, left = reduced_rows(r.shape, axes, r.batch)
    return Random(r.poly.gathered(rows, number_of(full(r.batch, left))), left, r.batch)


def float_array(v: Const) -> FloatArray:
    return np.asarray(v.array, dtype=np.float64)
