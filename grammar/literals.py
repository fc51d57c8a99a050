"""Literals, names, arrays and tuples to values."""

from __future__ import annotations

from math import isfinite
from typing import cast

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import fail
from spucc.grammar import tree
from spucc.grammar.broadcasting import as_poly, batch_of, full, numeric
from spucc.grammar.context import Context
from spucc.grammar.evaluate import evaluate_all
from spucc.grammar.poly import joined
from spucc.grammar.values import (
    Const,
    Group,
    Random,
    Text,
    Value,
    describe,
)


def number(_: Context, node: tree.Number) -> Value:
    if isinstance(node.value, int):
        if abs(node.value) >= 2**63:
            return Const(np.asarray(float(node.value)))
        return Const(np.asarray(node.value, dtype=np.int64))
    if not isfinite(node.value):
        fail("E0218", f"`{node.text}` is too large for a number", node.span)
    return Const(np.asarray(node.value))


def string(_: Context, node: tree.String) -> Value:
    return Text(node.value)


def boolean(_: Context, node: tree.Boolean) -> Value:
    return Const(np.asarray(node.value))


def none(_: Context, node: tree.NoneLiteral) -> Value:
    fail("E0206", "`None` stands only inside an index, for a new axis: `x[:, None]`", node.span)


def name(ctx: Context, node: tree.Name) -> Value:
    return ctx.lookup(node)


def array(ctx: Context, node: tree.Array) -> Value:
    if not node.items:
        return Const(np.zeros(0))
    if all(type(item) is tree.Number for item in node.items):
        listed = _numbers(cast(tuple[tree.Number, ...], node.items))
        if listed is not None:
            return listed
    values = [numeric(v, n.span) for v, n in zip(evaluate_all(ctx, node.items), node.items)]
    shape = values[0].shape
    for value, item in zip(values, node.items):
        if value.shape != shape:
            fail(
                "E0203",
                f"the entries of an array must have one shape; found {describe(values[0])} and "
                f"{describe(value)}",
                item.span,
            )
    return stacked(values, 0)


def _numbers(items: tuple[tree.Number, ...]) -> Const | None:
    """An array of written numbers without a value for each; None where one of them needs a word of its own."""
    array = np.asarray([item.value for item in items])
    if array.dtype.kind == "i" or (array.dtype.kind == "f" and np.isfinite(array).all()):
        return Const(array)
    return None


def stacked(values: list[Const | Random], axis: int) -> Const | Random:
    """Values of one shape along a new axis."""
    batch = batch_of(*values)
    shape = values[0].shape
    lead = 0 if batch is None else 1
    if all(isinstance(v, Const) for v in values):
        arrays = [np.broadcast_to(v.array, full(batch, shape)) for v in values if isinstance(v, Const)]
        return Const(np.stack(arrays, axis=axis + lead), batch)
    poly = joined([as_poly(v, shape, batch) for v in values])
    whole = (len(values), *full(batch, shape))
    positions: IntArray = np.arange(poly.size, dtype=np.int64).reshape(whole)
    moved = np.moveaxis(positions, 0, axis + lead)
    out = (*shape[:axis], len(values), *shape[axis:])
    return Random(poly.take(np.ascontiguousarray(moved).reshape(-1)), out, batch)


def tuple_(ctx: Context, node: tree.Tuple) -> Value:
    values = evaluate_all(ctx, node.items)
    return Group(tuple(values), batch_of(*values))
