"""Functions that work entry by entry, and reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Span, fail
from spucc.grammar.arguments import Arguments
from spucc.grammar.arithmetic import binary, calculated, summed
from spucc.grammar.broadcasting import as_poly, batch_of, broadcast, full, padded, quoted
from spucc.grammar.functions import builtin
from spucc.grammar.indexing import reshaped
from spucc.grammar.matmul import matmul
from spucc.grammar.poly import joined
from spucc.grammar.values import (
    Array,
    Const,
    Random,
    SparseConst,
    Value,
    check_size,
    number_of,
)

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "tanh": np.tanh, "floor": np.floor,
}  # fmt: skip


@builtin(" ".join(_ELEMENTWISE), "x")
def _elementwise(a: Arguments) -> Value:
    """Entry by entry."""
    x = a.numeric("x")
    if isinstance(x, Random):
        if x.poly.is_constant:
            x = Const(np.asarray(as_array(x)))
        else:
            fail(
                "E0401",
                f"`{a.name}` of the random variable {quoted(x.poly.names)}: the energy must be a polynomial",
                a.span,
                help="of degree at most 4 in the variables; constants may go through any function",
            )
    result = calculated(_ELEMENTWISE[a.name], f"the result of `{a.name}`", a.span, x.array)
    if a.name == "floor":
        result = result.astype(np.int64) if np.all(np.abs(result) < 2**62) else result
    return Const(result, x.batch)


def as_array(x: Random) -> Array:
    """The values of a random expression that reads no variable."""
    return np.broadcast_to(np.asarray(x.poly.affine.offset), (x.poly.size,)).reshape(full(x.batch, x.shape))


@builtin("where", "condition a b")
def _where(a: Arguments) -> Value:
    """`a` where the condition holds, else `b`."""
    c = a.const("condition")
    x, y = a.numeric("a"), a.numeric("b")
    shape = broadcast(broadcast(c.shape, x.shape, a.span), y.shape, a.span)
    batch = batch_of(c, x, y)
    mask = padded(c.array.astype(bool), c.batch, len(shape))
    if isinstance(x, Const) and isinstance(y, Const):
        left, right = (padded(v.array, v.batch, len(shape)) for v in (x, y))
        return Const(np.where(mask, left, right), batch)
    flat = np.broadcast_to(mask, full(batch, shape)).reshape(-1)
    p, q = as_poly(x, shape, batch), as_poly(y, shape, batch)
    rows: IntArray = np.arange(flat.size, dtype=np.int64)
    return Random(joined([p, q]).take(np.where(flat, rows, rows + flat.size)), shape, batch)


@builtin("sum mean prod min max", "x axis", 1)
def _reduce(a: Arguments) -> Value:
    """Over all entries, or along `axis=`."""
    value = a.values["x"]
    if isinstance(value, SparseConst) and a.name == "sum":
        return Const(np.asarray(value.matrix.sum(axis=a.axis(2) if a.has("axis") else None)))
    x = a.numeric("x")
    axes = a.axes(len(x.shape))
    count = number_of(tuple(x.shape[k] for k in axes))
    if isinstance(x, Random):
        if a.name in ("min", "max"):
            fail(
                "E0401",
                f"`{a.name}` of the random variable {quoted(x.poly.names)}: the energy must be a polynomial",
                a.span,
            )
        if a.name == "prod":
            return _product(x, axes, a.span)
        total = summed(x, axes)
        if a.name == "mean":
            if count == 0:
                fail("E0218", "`mean` of nothing", a.span)
            return Random(total.poly.scaled(1.0 / count), total.shape, total.batch)
        return total
    if count == 0 and a.name in ("mean", "min", "max"):
        fail("E0218", f"`{a.name}` of nothing", a.span)
    shift = 0 if x.batch is None else 1
    array = x.array.astype(np.int64) if x.array.dtype.kind == "b" else x.array
    if a.name in ("sum", "prod") and array.dtype.kind == "i" and array.size:
        top = float(np.abs(array.astype(np.float64)).max())
        if (top * count if a.name == "sum" else max(top, 2.0) ** min(count, 2000)) > 2.0**62:
            array = array.astype(np.float64)
    function = getattr(np, a.name)
    return Const(
        calculated(
            lambda v: function(v, axis=tuple(k + shift for k in axes)),
            f"the result of `{a.name}`",
            a.span,
            array,
        ),
        x.batch,
    )


def _product(x: Random, axes: tuple[int, ...], span: Span) -> Value:
    """The product along axes, factor by factor: its length is the degree, so it is short."""
    kept = [k for k in range(len(x.shape)) if k not in axes]
    count = number_of(tuple(x.shape[k] for k in axes))
    if count > 16:
        fail(
            "E0404",
            f"a product of {count} random factors from {quoted(x.poly.names)}",
            span,
            help="the degree may be at most 4 in the real variables",
        )
    positions: IntArray = np.arange(number_of(full(x.batch, x.shape)), dtype=np.int64).reshape(
        full(x.batch, x.shape)
    )
    lead = 0 if x.batch is None else 1
    left = tuple(x.shape[k] for k in kept)
    order = [*range(lead), *(k + lead for k in kept), *(k + lead for k in axes)]
    moved = positions.transpose(order).reshape(-1, count)
    if count == 0:
        return Const(np.ones(full(x.batch, left)), x.batch)
    result = x.poly.take(np.ascontiguousarray(moved[:, 0]))
    for k in range(1, count):
        result = result.times(x.poly.take(np.ascontiguousarray(moved[:, k])))
    return Random(result, left, x.batch)


@builtin("cumsum", "x axis", 1)
def _cumsum(a: Arguments) -> Value:
    """Running sums."""
    x = a.numeric("x")
    axis = a.axis(len(x.shape)) if a.has("axis") else None
    if axis is None:
        x, axis = reshaped(x, (number_of(x.shape),)), 0
    if isinstance(x, Const):
        array = x.array.astype(np.int64) if x.array.dtype.kind == "b" else x.array
        shift = 0 if x.batch is None else 1
        return Const(
            calculated(lambda v: np.cumsum(v, axis=axis + shift), "the result of `cumsum`", a.span, array),
            x.batch,
        )
    if len(x.shape) != 1:
        fail("E0206", "`cumsum` of random variables takes a vector", a.span)
    n = x.shape[0]
    check_size((n, n), a.span, x.batch)
    lower = Const(np.tri(n))
    return matmul(lower, x, a.span)


@builtin("dot", "a b")
def _dot(a: Arguments) -> Value:
    """The product of two vectors, or `@`."""
    return matmul(a.values["a"], a.values["b"], a.span)


@builtin("outer", "a b")
def _outer(a: Arguments) -> Value:
    """All products of entries of two vectors."""
    x, y = (reshaped(v, (number_of(v.shape),)) for v in (a.numeric("a"), a.numeric("b")))
    return binary("*", reshaped(x, (x.shape[0], 1)), reshaped(y, (1, y.shape[0])), a.span)
