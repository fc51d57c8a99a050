"""Functions that make arrays: zeros, ranges, identities, sparse matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spucc.diagnostics import Span, fail
from spucc.grammar.arguments import Arguments
from spucc.grammar.arithmetic import binary
from spucc.grammar.broadcasting import constant
from spucc.grammar.functions import builtin
from spucc.grammar.indexing import PointItem, indexed, reshaped
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    Group,
    Random,
    SparseConst,
    Value,
    check_size,
    describe,
)


def dimensions(a: Arguments, key: str) -> tuple[int, ...]:
    """A shape given as integers, as a tuple or as an array."""
    value = a.values[key]
    items = value.items if isinstance(value, Group) else (value,)
    if len(items) == 1 and isinstance(items[0], Group):
        items = items[0].items
    sizes: list[int] = []
    for item in items:
        c = constant(item, a.spans[key], "a shape")
        if c.batch is not None:
            raise CannotBatchError(f"`{a.name}` with a shape that varies over the loop", a.span)
        if c.array.dtype.kind not in "iu" or len(c.shape) > 1:
            fail("E0211", f"a shape is made of integers, found {describe(c)}", a.spans[key])
        sizes += [int(n) for n in c.array.reshape(-1)]
    return tuple(sizes)


def checked_shape(sizes: Sequence[int], span: Span) -> tuple[int, ...]:
    for n in sizes:
        if n < 0:
            fail("E0211", f"a dimension cannot be negative, found {n}", span)
    check_size(tuple(sizes), span)
    return tuple(sizes)


@builtin("zeros ones", "*shape", 0)
def _filled(a: Arguments) -> Value:
    """An array of zeros or ones."""
    shape = checked_shape(dimensions(a, "*shape"), a.span)
    return Const(np.zeros(shape) if a.name == "zeros" else np.ones(shape))


@builtin("full", "shape value")
def _full(a: Arguments) -> Value:
    """An array with the same number everywhere."""
    shape = checked_shape(dimensions(a, "shape"), a.span)
    value = a.numeric("value")
    if isinstance(value, Random) or value.shape or value.batch is not None:
        ones = Const(np.ones(shape))
        return binary("*", value, ones, a.span)
    return Const(np.full(shape, value.array))


@builtin("eye", "n m", 1)
def _eye(a: Arguments) -> Value:
    """The identity matrix."""
    n, m = checked_shape((a.whole("n"), a.whole("m") if a.has("m") else a.whole("n")), a.span)
    return Const(np.eye(n, m))


@builtin("diag", "x")
def _diag(a: Arguments) -> Value:
    """A vector as a diagonal matrix, or the diagonal of a matrix."""
    value = a.values["x"]
    if isinstance(value, SparseConst):
        return Const(np.asarray(value.matrix.diagonal()))
    x = a.numeric("x")
    if len(x.shape) == 2:
        k = Const(np.arange(min(x.shape), dtype=np.int64))
        return indexed(x, [PointItem(k, a.span), PointItem(k, a.span)], "the matrix", a.span)
    if len(x.shape) != 1:
        fail("E0203", f"`diag` takes a vector or a matrix, found {describe(x)}", a.span)
    n = x.shape[0]
    check_size((n, n), a.span, x.batch)
    return binary("*", Const(np.eye(n)), reshaped(x, (1, n)), a.span)


@builtin("linspace", "start stop n")
def _linspace(a: Arguments) -> Value:
    """n numbers from start to stop, both included."""
    n = a.whole("n")
    checked_shape((n,), a.span)
    return Const(np.linspace(a.number("start"), a.number("stop"), n))


@builtin("arange", "start stop step", 1)
def _arange(a: Arguments) -> Value:
    """`arange(n)`, `arange(start, stop, step)`"""
    ends = [a.fixed(k) for k in ("start", "stop", "step") if a.has(k)]
    for e in ends:
        if e.shape != ():
            fail("E0206", "`arange` takes single numbers", a.span)
    numbers = [e.array.item() for e in ends]
    start, stop = (0, numbers[0]) if len(numbers) == 1 else numbers[:2]
    step = numbers[2] if len(numbers) == 3 else 1
    if step == 0:
        fail("E0211", "the step of `arange` cannot be 0", a.span)
    count = max(0.0, np.ceil((stop - start) / step))
    if not count <= 1e18:
        fail("E0217", "an `arange` without end", a.span)
    check_size((int(count),), a.span)
    return Const(np.arange(start, stop, step))


@builtin("sparse", "rows cols values n m")
def _sparse(a: Arguments) -> Value:
    """A sparse matrix from its entries; entries at the same place are added."""
    from scipy import sparse

    rows, cols, values = (a.fixed(k) for k in ("rows", "cols", "values"))
    n, m = a.whole("n"), a.whole("m")
    if n < 0 or m < 0 or max(n, m) > 2**31:
        fail("E0211", f"a sparse matrix cannot have the shape [{n}, {m}]", a.span)
    data = np.broadcast_to(values.array, np.broadcast_shapes(rows.shape, values.shape)).astype(np.float64)
    for key, c, size in (("rows", rows, n), ("cols", cols, m)):
        if c.array.dtype.kind not in "iu" and c.array.size:
            fail("E0208", f"the argument `{key}` of `sparse` must be integers", a.spans[key])
        if len(c.shape) != 1 or c.shape != data.shape:
            fail("E0203", "`rows`, `cols` and `values` of `sparse` must be vectors of one length", a.span)
        if c.array.size and (c.array.min() < 0 or c.array.max() >= size):
            at = int(np.flatnonzero((c.array < 0) | (c.array >= size))[0])
            fail(
                "E0207",
                f"`{key}[{at}]` of `sparse` is {int(c.array[at])}, outside 0 … {size - 1}",
                a.spans[key],
            )
    index = (rows.array.astype(np.int64), cols.array.astype(np.int64))
    return SparseConst(sparse.csr_array(sparse.coo_array((data, index), shape=(n, m))))
