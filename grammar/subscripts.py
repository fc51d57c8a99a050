"""`x[i, 1:, None]`: the items of an index, evaluated."""

from __future__ import annotations

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar import tree
from spucc.grammar.broadcasting import batch_of, broadcast, const_flat, constant, full, numeric
from spucc.grammar.context import Context
from spucc.grammar.evaluate import evaluate
from spucc.grammar.indexing import Item, PointItem, SliceItem, indexed
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    SparseConst,
    Value,
    describe,
    number_of,
)


def index(ctx: Context, node: tree.Index) -> Value:
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
