"""Functions that rearrange arrays: reshape, transpose, concat, stack."""

from __future__ import annotations

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.arguments import Arguments
from spucc.grammar.array_making import dimensions
from spucc.grammar.broadcasting import as_poly, batch_of, full, numeric
from spucc.grammar.functions import builtin
from spucc.grammar.indexing import PointItem, SliceItem, indexed, reshaped, transposed
from spucc.grammar.literals import stacked
from spucc.grammar.poly import joined
from spucc.grammar.values import (
    Const,
    Group,
    Random,
    SparseConst,
    Value,
    check_size,
    describe,
    number_of,
    show_shape,
)


@builtin("len", "x")
def _len(a: Arguments) -> Value:
    """The length of the first axis."""
    shape = a.values["x"].shape
    if not shape:
        fail("E0206", f"`len` takes an array, found {describe(a.values['x'])}", a.span)
    return Const(np.asarray(shape[0], dtype=np.int64))


@builtin("shape", "x axis", 1)
def _shape(a: Arguments) -> Value:
    """The lengths of all axes, or of one."""
    shape = np.asarray(a.values["x"].shape, dtype=np.int64)
    return Const(shape[a.axis(shape.size)] if a.has("axis") else shape)


@builtin("transpose", "x")
def _transpose(a: Arguments) -> Value:
    """The axes reversed."""
    value = a.values["x"]
    if isinstance(value, SparseConst):
        return SparseConst(value.matrix.T.tocsr())
    return transposed(a.numeric("x"))


@builtin("reshape", "x *shape")
def _reshape(a: Arguments) -> Value:
    """The same entries in another shape; one dimension may be −1."""
    x = a.numeric("x")
    shape = list(dimensions(a, "*shape"))
    total = number_of(x.shape)
    if shape.count(-1) == 1:
        rest = number_of(tuple(n for n in shape if n != -1))
        shape[shape.index(-1)] = total // rest if rest > 0 else 0
    if number_of(tuple(shape)) != total or any(n < 0 for n in shape):
        fail(
            "E0203",
            f"{show_shape(x.shape)} has {total} entries and cannot have the shape {show_shape(tuple(shape))}",
            a.span,
        )
    return reshaped(x, tuple(shape))


def _listed(a: Arguments, key: str) -> list[Const | Random]:
    """The arrays given to `concat` or `stack`: as arguments, as a tuple or as `[a, b]`."""
    value = a.values[key]
    assert isinstance(value, Group)
    items = value.items
    if len(items) == 1 and isinstance(items[0], Group):
        items = items[0].items
    elif len(items) == 1 and isinstance(items[0], Const | Random) and items[0].shape:
        whole = items[0]
        every = SliceItem(None, None, 1, a.span)
        rest = [every] * (len(whole.shape) - 1)
        items = tuple(
            indexed(whole, [PointItem(Const(np.asarray(k)), a.span), *rest], "the array", a.span)
            for k in range(min(whole.shape[0], 1000))
        )
    if not items:
        fail("E0205", f"`{a.name}` needs at least one array", a.span)
    return [numeric(v, a.span) for v in items]


@builtin("concat", "*arrays axis", 0)
def _concat(a: Arguments) -> Value:
    """Arrays one after the other along `axis=`."""
    parts = _listed(a, "*arrays")
    parts = [reshaped(p, (1,)) if p.shape == () else p for p in parts]
    rank = len(parts[0].shape)
    axis = a.axis(rank)
    for p in parts:
        if len(p.shape) != rank or any(
            m != n for k, (m, n) in enumerate(zip(p.shape, parts[0].shape)) if k != axis
        ):
            fail(
                "E0203",
                f"`concat` cannot put {show_shape(parts[0].shape)} and {show_shape(p.shape)} together along "
                f"axis {axis}",
                a.span,
            )
    batch = batch_of(*parts)
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    check_size(tuple(shape), a.span, batch)
    lead = 0 if batch is None else 1
    if all(isinstance(p, Const) for p in parts):
        arrays = [np.broadcast_to(p.array, full(batch, p.shape)) for p in parts if isinstance(p, Const)]
        return Const(np.concatenate(arrays, axis=axis + lead), batch)
    positions = []
    start = 0
    for p in parts:
        whole = full(batch, p.shape)
        positions.append(np.arange(start, start + number_of(whole), dtype=np.int64).reshape(whole))
        start += number_of(whole)
    poly = joined([as_poly(p, p.shape, batch) for p in parts])
    if axis + lead:
        poly = poly.take(np.concatenate(positions, axis=axis + lead).reshape(-1))
    return Random(poly, tuple(shape), batch)


@builtin("stack", "*arrays axis", 0)
def _stack(a: Arguments) -> Value:
    """Arrays of one shape along a new axis."""
    parts = _listed(a, "*arrays")
    for p in parts:
        if p.shape != parts[0].shape:
            fail(
                "E0203",
                f"`stack` needs one shape, found {show_shape(parts[0].shape)} and {show_shape(p.shape)}",
                a.span,
            )
    return stacked(parts, a.axis(len(parts[0].shape) + 1))
