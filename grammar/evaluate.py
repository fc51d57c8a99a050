"""Expressions to values."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, cast

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Label, Span, SpuccError, fail
from spucc.grammar import tree
from spucc.grammar.arithmetic import (
    COMPARISONS,
    batch_of,
    binary,
    broadcast,
    const_flat,
    constant,
    expanded,
    full,
    negated,
    numeric,
)
from spucc.grammar.context import Collector, Context
from spucc.grammar.indexing import Item, PointItem, SliceItem, indexed, reshaped, transposed
from spucc.grammar.linear import ranges
from spucc.grammar.matmul import matmul
from spucc.grammar.poly import joined
from spucc.grammar.values import (
    LARGEST_LOOP,
    Batch,
    CannotBatchError,
    Const,
    Edges,
    Group,
    Random,
    Range,
    SparseConst,
    Text,
    Value,
    describe,
    number_of,
)


def evaluate(ctx: Context, node: tree.Expr) -> Value:
    """The value of an expression in the current scope and loop."""
    ctx.step(node)
    return _BY_NODE[type(node)](ctx, node)


def evaluate_all(ctx: Context, nodes: tuple[tree.Expr, ...]) -> list[Value]:
    """Several expressions; the errors of all are raised together."""
    if len(nodes) == 1:
        return [evaluate(ctx, nodes[0])]
    values: list[Value] = []
    collector = Collector()
    for node in nodes:
        value = collector.attempt(evaluate, ctx, node)
        if value is not None:
            values.append(value)
    collector.done()
    return values


def located(error: SpuccError, span: Span) -> SpuccError:
    """The same error, pointing at `span` where it pointed nowhere."""
    from dataclasses import replace

    return SpuccError([d if d.span is not None else replace(d, span=span) for d in error.diagnostics])


def _number(_: Context, node: tree.Number) -> Value:
    if isinstance(node.value, int):
        if abs(node.value) >= 2**63:
            return Const(np.asarray(float(node.value)))
        return Const(np.asarray(node.value, dtype=np.int64))
    if not isfinite(node.value):
        fail("E0218", f"`{node.text}` is too large for a number", node.span)
    return Const(np.asarray(node.value))


def _string(_: Context, node: tree.String) -> Value:
    return Text(node.value)


def _boolean(_: Context, node: tree.Boolean) -> Value:
    return Const(np.asarray(node.value))


def _none(_: Context, node: tree.NoneLiteral) -> Value:
    fail("E0206", "`None` stands only inside an index, for a new axis: `x[:, None]`", node.span)


def _name(ctx: Context, node: tree.Name) -> Value:
    return ctx.lookup(node)


def _array(ctx: Context, node: tree.Array) -> Value:
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
    poly = joined([_entries(v, shape, batch) for v in values])
    whole = (len(values), *full(batch, shape))
    positions: IntArray = np.arange(poly.size, dtype=np.int64).reshape(whole)
    moved = np.moveaxis(positions, 0, axis + lead)
    out = (*shape[:axis], len(values), *shape[axis:])
    return Random(poly.take(np.ascontiguousarray(moved).reshape(-1)), out, batch)


def _entries(v: Const | Random, shape: tuple[int, ...], batch: Batch | None) -> Any:
    from spucc.grammar.arithmetic import as_poly

    return as_poly(v, shape, batch)


def _tuple(ctx: Context, node: tree.Tuple) -> Value:
    values = evaluate_all(ctx, node.items)
    return Group(tuple(values), batch_of(*values))


def _unary(ctx: Context, node: tree.Unary) -> Value:
    value = evaluate(ctx, node.operand)
    if node.op == "not":
        truth = truths(value, node.operand.span)
        return Const(~truth.array, truth.batch)
    if node.op == "-":
        return negated(value, node.span)
    return value if isinstance(value, SparseConst) else numeric(value, node.span)


def _binary(ctx: Context, node: tree.Binary) -> Value:
    """A chain `a + b + …` is walked from its innermost operand, so that its length does not cost stack."""
    chain: list[tree.Binary] = []
    inner: tree.Expr = node
    while isinstance(inner, tree.Binary) and inner.op not in ("and", "or"):
        chain.append(inner)
        inner = inner.left
    if not chain:
        return _logical(ctx, node)
    collector = Collector()
    value = collector.attempt(evaluate, ctx, inner)
    for step in reversed(chain):
        right = collector.attempt(evaluate, ctx, step.right)
        if value is not None:
            value = None if right is None else collector.attempt(_apply, step, value, right)
    collector.done()
    assert value is not None
    return value


def _apply(node: tree.Binary, left: Value, right: Value) -> Value:
    try:
        return _applied(node, left, right)
    except SpuccError as error:
        raise located(error, node.span) from None


def _applied(node: tree.Binary, left: Value, right: Value) -> Value:
    if node.op == "@":
        return matmul(left, right, node.span)
    labels: tuple[Label, ...] = ()
    if left.shape != right.shape and node.op not in COMPARISONS:
        labels = (Label(node.left.span, describe(left)), Label(node.right.span, describe(right)))
    return binary(node.op, left, right, node.span, labels)


def truths(value: Value, span: Span) -> Const:
    """A constant as truth values."""
    c = constant(value, span, "a condition")
    return Const(c.array.astype(bool), c.batch)


def _logical(ctx: Context, node: tree.Binary) -> Value:
    """`and`, `or`: the right side is looked at only where the left does not decide."""
    left = truths(evaluate(ctx, node.left), node.left.span)
    decided = ~left.array if node.op == "and" else left.array
    if left.shape != ():
        right = truths(evaluate(ctx, node.right), node.right.span)
        operator = np.logical_and if node.op == "and" else np.logical_or
        broadcast(left.shape, right.shape, node.span)
        return Const(np.asarray(operator(left.array, right.array)), batch_of(left, right))
    if left.batch is None:
        return left if bool(decided) else truths(evaluate(ctx, node.right), node.right.span)
    return _branches(ctx, decided, left, None, node.right, node.span)


def _branches(
    ctx: Context, mask: Any, first: Value | None, a: tree.Expr | None, b: tree.Expr, span: Span
) -> Value:
    """Where `mask`, the value `first` or of `a`; elsewhere the value of `b`. Each is evaluated only where it
    is used."""
    assert ctx.batch is not None
    outer = ctx.batch
    parts: list[tuple[IntArray, Const | Random]] = []
    for chosen, node in ((mask, a), (~mask, b)):
        rows: IntArray = np.flatnonzero(chosen).astype(np.int64)
        if rows.size == 0:
            continue
        if node is None:
            assert isinstance(first, Const)
            parts.append((rows, Const(first.array[rows], Batch(rows.size, outer, rows))))
            continue
        branch = Batch(rows.size, outer, rows)
        with ctx.inside(branch):
            parts.append((rows, numeric(evaluate(ctx, node), node.span)))
    if not parts:
        return Const(np.zeros((0,)), outer)
    shape = parts[0][1].shape
    for _, value in parts:
        shape = broadcast(shape, value.shape, span)
    order = np.empty(outer.size, dtype=np.int64)
    order[np.concatenate([rows for rows, _ in parts])] = np.arange(outer.size)
    if all(isinstance(v, Const) for _, v in parts):
        arrays = [
            np.broadcast_to(v.array.reshape(full(v.batch, v.shape)), (rows.size, *shape))
            for rows, v in parts
            if isinstance(v, Const)
        ]
        return Const(np.concatenate(arrays)[order], outer)
    pieces = []
    for rows, v in parts:
        branch = v.batch if v.batch is not None else Batch(rows.size, outer, rows)
        pieces.append(_entries(v, shape, branch))
    width = number_of(shape)
    positions = (order[:, None] * width + np.arange(width)).ravel()
    return Random(joined(pieces).take(positions), shape, outer)


def _if_else(ctx: Context, node: tree.IfElse) -> Value:
    condition = truths(evaluate(ctx, node.condition), node.condition.span)
    if condition.shape != ():
        fail(
            "E0206",
            f"a condition must be one truth value, found {describe(condition)}",
            node.condition.span,
            help="`where(condition, a, b)` chooses entry by entry",
        )
    if condition.batch is None:
        return evaluate(ctx, node.then if bool(condition.array) else node.otherwise)
    return _branches(ctx, condition.array, None, node.then, node.otherwise, node.span)


def _attribute(ctx: Context, node: tree.Attribute) -> Value:
    value = evaluate(ctx, node.value)
    if node.name != "T":
        fail("E0209", f"unknown attribute `.{node.name}`", node.span, help="only `.T`, the transpose, exists")
    if isinstance(value, SparseConst):
        return SparseConst(value.matrix.T.tocsr(), None, value.facts)
    return transposed(numeric(value, node.span))


def _index(ctx: Context, node: tree.Index) -> Value:
    value = evaluate(ctx, node.value)
    name = f"`{node.value.id}`" if isinstance(node.value, tree.Name) else "this expression"
    items: list[Item] = [_item(ctx, item) for item in node.items]
    if isinstance(value, SparseConst):
        found = _sparse_index(value, items)
        if found is not None:
            return found
    return indexed(numeric(value, node.value.span, "something to index"), items, name, node.span)


def _sparse_index(value: SparseConst, items: list[Item]) -> Value | None:
    """Entries of a sparse matrix at arrays of rows and columns, without writing the matrix out."""
    points = [i for i in items if isinstance(i, PointItem) and i.index.array.dtype.kind in "iu"]
    if len(items) != 2 or len(points) != 2:
        return None
    i, j = (p.index for p in points)
    n, m = value.shape
    for p, size in ((i.array, n), (j.array, m)):
        if p.size and (p.min() < 0 or p.max() >= size):
            return None
    batch = batch_of(i, j)
    shape = broadcast(i.shape, j.shape, points[0].span)
    rows, columns = (const_flat(c, shape, batch) for c in (i, j))
    size = number_of(full(batch, shape))
    r, c = (np.full(size, v) if isinstance(v, float) else v for v in (rows, columns))
    entries = np.asarray(value.matrix[r.astype(np.int64), c.astype(np.int64)]).reshape(full(batch, shape))
    return Const(entries, batch)


def _item(ctx: Context, item: tree.Expr | tree.Slice) -> Item:
    if isinstance(item, tree.NoneLiteral):
        return None
    if isinstance(item, tree.Slice):
        start, stop = (
            None if e is None else _whole(ctx, e, "the end of a slice") for e in (item.start, item.stop)
        )
        step = 1 if item.step is None else whole_number(ctx, item.step, "the step of a slice")
        if step == 0:
            fail("E0208", "the step of a slice cannot be 0", item.span)
        return SliceItem(start, stop, step, item.span)
    index = constant(evaluate(ctx, item), item.span, "an index")
    if index.array.dtype.kind == "b":
        if index.batch is not None or len(index.shape) != 1:
            fail("E0208", "an index of truth values must be one array outside of loops", item.span)
        index = Const(np.flatnonzero(index.array).astype(np.int64))
    if index.array.size == 0:
        index = Const(index.array.astype(np.int64), index.batch)
    return PointItem(index, item.span)


def _whole(ctx: Context, node: tree.Expr, role: str) -> Const:
    """An integer that may vary over the loop."""
    c = constant(evaluate(ctx, node), node.span, role)
    if c.shape != () or c.array.dtype.kind not in "iu":
        fail("E0208", f"{role} must be an integer, found {describe(c)}", node.span)
    return c


def whole_number(ctx: Context, node: tree.Expr, role: str) -> int:
    """An integer that is the same in all turns of the loop."""
    c = _whole(ctx, node, role)
    if c.batch is not None:
        raise CannotBatchError(f"{role} that varies over the loop", node.span)
    return int(c.array)


def _call(ctx: Context, node: tree.Call) -> Value:
    from spucc.grammar.functions import call

    return call(ctx, node)


# --- loops ---


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
    if total > LARGEST_LOOP:
        fail(
            "E0217",
            f"a loop of {total:,.0f} turns is too large",
            span,
            help=f"at most {LARGEST_LOOP:,} turns",
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


def _comprehension(ctx: Context, node: tree.Comprehension) -> Value:
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
            from spucc.grammar.arithmetic import quoted

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


_BY_NODE: dict[type, Callable[[Context, Any], Value]] = {
    tree.Number: _number,
    tree.String: _string,
    tree.Boolean: _boolean,
    tree.NoneLiteral: _none,
    tree.Name: _name,
    tree.Array: _array,
    tree.Tuple: _tuple,
    tree.Unary: _unary,
    tree.Binary: _binary,
    tree.IfElse: _if_else,
    tree.Call: _call,
    tree.Comprehension: _comprehension,
    tree.Index: _index,
    tree.Attribute: _attribute,
}

__all__ = ["evaluate", "evaluate_all", "reshaped", "stacked", "truths", "turns", "whole_number"]
