"""The turns of a loop as one array, and sums over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Span, fail
from spucc.grammar import tree
from spucc.grammar.broadcasting import expanded, numeric
from spucc.grammar.context import Context
from spucc.grammar.evaluate import evaluate, truths
from spucc.grammar.indexing import PointItem, SliceItem, indexed
from spucc.grammar.linear import ranges
from spucc.grammar.values import (
    LARGEST_LOOP,
    Batch,
    Const,
    Edges,
    Random,
    Range,
    Value,
    at_most,
    describe,
    number_of,
)


def turns(
    ctx: Context, iterable: tree.Expr, targets: tuple[str, ...], span: Span
) -> tuple[Batch, list[Value]]:
    """The batch of a loop's turns inside the current one, and the values of its targets."""
    if isinstance(iterable, tree.Call) and iterable.function.id == "range":
        from spucc.grammar.functions import range_call

        value: Value = range_call(ctx, iterable)
    else:
        value = evaluate(ctx, iterable)
    outer = ctx.batch
    turns_outside = 1 if outer is None else outer.size
    if isinstance(value, Range):
        counts = np.broadcast_to(value.counts(), (turns_outside,))
        total = float(counts.astype(np.float64).sum())
        _check_turns(total, iterable.span)
        parent = np.repeat(np.arange(turns_outside, dtype=np.int64), counts)
        start = np.broadcast_to(value.start, (turns_outside,))
        batch = Batch(int(total), outer, parent)
        steps = ranges(np.zeros(turns_outside, np.int64), counts)
        columns: list[Value] = [Const(start[parent] + value.step * steps, batch)]
    else:
        batch, columns = _array_turns(ctx, value, iterable, len(targets))
    if len(columns) != len(targets):
        fail(
            "E0213",
            f"each turn gives {len(columns)} value{'s' if len(columns) != 1 else ''}, the loop names "
            f"{len(targets)}",
            span,
        )
    return batch, columns


def _check_turns(total: float, span: Span) -> None:
    most = at_most(LARGEST_LOOP)
    if total > most:
        fail(
            "E0217",
            f"a loop of {total:,.0f} turns is too large",
            span,
            help=f"at most {most:,} turns",
        )


def _array_turns(ctx: Context, value: Value, iterable: tree.Expr, wanted: int) -> tuple[Batch, list[Value]]:
    outer = ctx.batch
    outside = 1 if outer is None else outer.size
    if isinstance(value, Edges):
        g = value.graph
        arrays = [g.i, g.j, g.w] if wanted == 3 else [g.i, g.j]
        rows: Const | Random = Const(arrays[0])
        entries: list[Const | Random] = [Const(a) for a in arrays]
    else:
        rows = numeric(value, iterable.span, "something to loop over")
        if not rows.shape:
            fail(
                "E0213",
                f"a loop runs over a range, an array or edges, not over {describe(rows)}",
                iterable.span,
                help="`range(n)` counts from 0 to n − 1",
            )
        entries = [rows]
        if wanted > 1 and len(rows.shape) == 2:
            every = SliceItem(None, None, 1, iterable.span)
            entries = [
                indexed(
                    rows, [every, PointItem(Const(np.asarray(k)), iterable.span)], "the array", iterable.span
                )
                for k in range(min(rows.shape[1], 64))
            ]
    n = rows.shape[0]
    _check_turns(float(n) * outside, iterable.span)
    parent = np.repeat(np.arange(outside, dtype=np.int64), n)
    batch = Batch(outside * n, outer, parent)
    columns: list[Value] = []
    for e in entries:
        inner = e.shape[1:]
        if e.batch is not None:
            columns.append(_rebatched(e, inner, batch))
        elif isinstance(e, Const):
            array = e.array if outside == 1 else np.tile(e.array, (outside, *(1,) * len(inner)))
            columns.append(Const(array, batch))
        else:
            flat = np.tile(np.arange(e.poly.size, dtype=np.int64), outside)
            columns.append(Random(e.poly if outside == 1 else e.poly.take(flat), inner, batch))
    return batch, columns


def _rebatched(e: Const | Random, inner: tuple[int, ...], batch: Batch) -> Value:
    """(outer, n, *inner) read as (outer · n, *inner)."""
    if isinstance(e, Const):
        return Const(e.array.reshape(batch.size, *inner), batch)
    return Random(e.poly, inner, batch)


def comprehension(ctx: Context, node: tree.Comprehension) -> Value:
    if node.function.id not in ("sum", "prod", "min", "max", "mean"):
        fail(
            "E0204",
            f"`{node.function.id}` does not take `… for … in …`",
            node.function.span,
            help="sum, prod, mean, min and max do",
        )
    batch, columns = turns(ctx, node.iterable, node.targets, node.span)
    outer = ctx.batch
    with ctx.inside(batch):
        for name, value in zip(node.targets, columns):
            ctx.declare(tree.Name(node.span, name), value)
        if node.condition is not None:
            condition = truths(evaluate(ctx, node.condition), node.condition.span)
            mask = np.broadcast_to(condition.array, (batch.size,))
            rows: IntArray = np.flatnonzero(mask).astype(np.int64)
            chosen = Batch(rows.size, batch, rows)
            with ctx.inside(chosen):
                body = numeric(evaluate(ctx, node.body), node.body.span)
            owner = batch.index[rows]
        else:
            body = numeric(evaluate(ctx, node.body), node.body.span)
            owner = batch.index
    inside = ctx.batch
    assert inside is outer
    size = 1 if outer is None else outer.size
    return _collected(node, body, owner, size, outer)


def _collected(
    node: tree.Comprehension, body: Const | Random, owner: IntArray, size: int, outer: Batch | None
) -> Value:
    """Reduce the turns to the turns of the loop around them."""
    shape = body.shape
    width = number_of(shape)
    if isinstance(body, Random):
        if node.function.id not in ("sum", "mean"):
            from spucc.grammar.broadcasting import quoted

            fail(
                "E0401",
                f"`{node.function.id}` of the random variable {quoted(body.poly.names)}",
                node.span,
                help="the energy must be a polynomial of degree at most 4",
            )
        poly = (
            expanded(body, shape, body.batch)
            if body.batch is not None
            else body.poly.take(np.tile(np.arange(width), owner.size))
        )
        rows = (owner[:, None] * width + np.arange(width)).ravel()
        poly = poly.gathered(rows, size * width)
        if node.function.id == "mean":
            counts = np.maximum(np.bincount(owner, minlength=size), 1)
            poly = poly.scaled(np.repeat(1.0 / counts, width))
        return Random(poly, shape, outer)
    array = np.broadcast_to(body.array, (owner.size, *shape)) if body.batch is None else body.array
    result = _reduce_constants(node, array, owner, size)
    return Const(result if outer is not None else result[0], outer)


def _reduce_constants(node: tree.Comprehension, array: Any, owner: IntArray, size: int) -> Any:
    name = node.function.id
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    counts = np.bincount(owner, minlength=size)
    if name in ("min", "max", "mean") and (counts == 0).any():
        fail("E0218", f"`{name}` of nothing", node.span)
    shape = (size, *array.shape[1:])
    if name in ("sum", "mean"):
        result = np.zeros(shape, dtype=array.dtype if name == "sum" else np.float64)
        np.add.at(result, owner, array)
        return result if name == "sum" else result / counts.reshape(-1, *(1,) * (array.ndim - 1))
    if name == "prod":
        result = np.ones(shape, dtype=np.float64)
        with np.errstate(all="ignore"):
            np.multiply.at(result, owner, array)
        if not np.isfinite(result).all():
            fail("E0218", "the result of `prod` is not a finite number", node.span)
        if array.dtype.kind == "i" and np.abs(result).max(initial=0) < 2.0**53:
            result = result.astype(np.int64)
        return result
    starts = np.cumsum(counts) - counts
    return (np.minimum if name == "min" else np.maximum).reduceat(array, starts, axis=0)
