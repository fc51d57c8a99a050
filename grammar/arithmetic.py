"""Operators on values: `+ - * / **`, comparisons, sums over axes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Label, Span, fail
from spucc.grammar.broadcasting import (
    Numeric,
    as_poly,
    batch_of,
    broadcast,
    expanded,
    full,
    numeric,
    padded,
    quoted,
)
from spucc.grammar.values import (
    Array,
    Batch,
    Const,
    Random,
    SparseConst,
    Text,
    Value,
    check_size,
    number_of,
)


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
