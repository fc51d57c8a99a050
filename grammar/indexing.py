"""Indexing and reshaping, NumPy's rules: slices, integers, index arrays, `None`; batched over a loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Span, fail
from spucc.grammar.broadcasting import Numeric, batch_of, full
from spucc.grammar.values import (
    Batch,
    CannotBatchError,
    Const,
    Random,
    check_size,
    number_of,
    show_shape,
)


@dataclass(frozen=True, eq=False, slots=True)
class SliceItem:
    """A slice whose ends may vary over the loop."""

    start: Const | None
    stop: Const | None
    step: int
    span: Span


@dataclass(frozen=True, eq=False, slots=True)
class PointItem:
    """An integer or an array of integers."""

    index: Const
    span: Span


Item = SliceItem | PointItem | None


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """What one item adds to the flat position: (batch, *dims) and whether it is an index in NumPy's advanced
    sense."""

    offset: IntArray
    rank: int
    batched: bool
    advanced: bool


def taken(value: Numeric, flat: IntArray, shape: tuple[int, ...], batch: Batch | None) -> Numeric:
    """The entries at flat positions, as (batch, *shape)."""
    if isinstance(value, Const):
        return Const(value.array.reshape(-1)[flat].reshape(full(batch, shape)), batch)
    return Random(value.poly.take(flat.reshape(-1)), shape, batch)


def reshaped(value: Numeric, shape: tuple[int, ...]) -> Numeric:
    if value.shape == shape:
        return value
    if isinstance(value, Const):
        return Const(value.array.reshape(full(value.batch, shape)), value.batch)
    return Random(value.poly, shape, value.batch)


def transposed(value: Numeric) -> Numeric:
    if len(value.shape) < 2:
        return value
    if isinstance(value, Const):
        axes = tuple(range(value.array.ndim))
        order = axes[::-1] if value.batch is None else (0, *axes[:0:-1])
        return Const(value.array.transpose(order), value.batch, value.facts)
    whole = full(value.batch, value.shape)
    positions: IntArray = np.arange(number_of(whole), dtype=np.int64).reshape(whole)
    axes = tuple(range(len(whole)))
    order = axes[::-1] if value.batch is None else (0, *axes[:0:-1])
    return taken(value, positions.transpose(order).reshape(-1), value.shape[::-1], value.batch)


def indexed(value: Numeric, items: list[Item], name: str, span: Span) -> Numeric:
    """`value[items]`"""
    used = sum(item is not None for item in items)
    if used > len(value.shape):
        fail(
            "E0208",
            f"{used} indices for {name}, which has {len(value.shape)} axes (shape {show_shape(value.shape)})",
            span,
        )
    batch = batch_of(value, *(i.index for i in items if isinstance(i, PointItem)), *_slice_ends(items))
    parts = _parts(value.shape, items, name, span, batch)
    flat, shape = _combined(parts, batch)
    check_size(shape, span, batch)
    if value.batch is not None:
        lead: IntArray = np.arange(value.batch.size, dtype=np.int64) * number_of(value.shape)
        flat = flat + lead.reshape((-1, *(1,) * len(shape)))
    flat = np.broadcast_to(flat, full(batch, shape))
    return taken(value, np.ascontiguousarray(flat), shape, batch)


def _slice_ends(items: list[Item]) -> list[Const]:
    ends = [e for i in items if isinstance(i, SliceItem) for e in (i.start, i.stop)]
    return [e for e in ends if e is not None]


def _parts(
    shape: tuple[int, ...], items: list[Item], name: str, span: Span, batch: Batch | None
) -> list[_Part]:
    used = sum(item is not None for item in items)
    rest: list[Item] = [SliceItem(None, None, 1, span)] * (len(shape) - used)
    strides = [number_of(shape[k + 1 :]) for k in range(len(shape))]
    parts = []
    axis = 0
    for item in [*items, *rest]:
        if item is None:
            parts.append(_Part(np.zeros(1, dtype=np.int64), 1, False, False))
            continue
        if isinstance(item, SliceItem):
            parts.append(_slice_part(item, shape[axis], strides[axis], batch))
        else:
            found, stride = _checked(item, shape[axis], axis, len(shape), name), strides[axis]
            offset = found if stride == 1 else found * stride
            parts.append(_Part(offset, len(item.index.shape), item.index.batch is not None, True))
        axis += 1
    return parts


def _checked(item: PointItem, n: int, axis: int, rank: int, name: str) -> IntArray:
    """Indices counted from 0, negative ones from the end; outside the axis is an error."""
    index = item.index.array
    if index.dtype.kind not in "iu":
        kind = "truth values" if index.dtype.kind == "b" else "real numbers"
        fail("E0208", f"an index into {name} must be an integer, found {kind}", item.span)
    index = index.astype(np.int64, copy=False)
    if index.size == 0:
        return index
    low, high = int(index.min()), int(index.max())
    if low < -n or high >= n:
        bad = high if high >= n else low
        where = f" along axis {axis}" if rank > 1 else ""
        turn = ""
        if item.index.batch is not None:
            at = int(np.argmax((index < -n) | (index >= n)) // max(number_of(item.index.shape), 1))
            turn = f" (first in turn {at} of the loop)"
        entries = f"{n} entr{'y' if n == 1 else 'ies'}"
        fail(
            "E0207",
            f"index {bad} is out of range for {name}, which has {entries}{where}{turn}",
            item.span,
            help=f"indices run from 0 to {n - 1}" if n else "",
        )
    return index if low >= 0 else np.where(index < 0, index + n, index)


def _slice_part(item: SliceItem, n: int, stride: int, batch: Batch | None) -> _Part:
    ends = [e for e in (item.start, item.stop) if e is not None]
    if all(e.batch is None for e in ends):
        low, high = (None if e is None else int(e.array) for e in (item.start, item.stop))
        start, stop, step = slice(low, high, item.step).indices(n)
        return _Part(np.arange(start, stop, step, dtype=np.int64) * stride, 1, False, False)
    assert batch is not None
    turns = batch.size
    step = item.step
    default = (0, n) if step > 0 else (n - 1, -1)
    bounds = []
    for end, fallback in zip((item.start, item.stop), default):
        if end is None:
            bounds.append(np.full(turns, fallback, dtype=np.int64))
            continue
        at = np.broadcast_to(end.array, (turns,)).astype(np.int64)
        at = np.where(at < 0, at + n, at)
        bounds.append(np.clip(at, 0, n) if step > 0 else np.clip(at, -1, n - 1))
    counts = np.maximum((bounds[1] - bounds[0] + step - (1 if step > 0 else -1)) // step, 0)
    if counts.size and counts.min() != counts.max():
        raise CannotBatchError("a slice of a different length in each turn", item.span)
    length = int(counts[0]) if counts.size else 0
    check_size((length,), item.span, batch)
    return _Part((bounds[0][:, None] + step * np.arange(length)) * stride, 1, True, False)


def _combined(parts: list[_Part], batch: Batch | None) -> tuple[IntArray, tuple[int, ...]]:
    """The flat positions and the shape of the result."""
    arrays = any(p.advanced and p.rank > 0 for p in parts)
    chosen = [k for k, p in enumerate(parts) if p.advanced] if arrays else []
    group = (
        np.broadcast_shapes(
            *((parts[k].offset.shape[1:] if parts[k].batched else parts[k].offset.shape) for k in chosen)
        )
        if chosen
        else ()
    )
    together = not chosen or chosen == list(range(chosen[0], chosen[-1] + 1))
    shape: list[int] = [] if together else list(group)
    begin: dict[int, int] = {}
    group_at = 0
    for k, p in enumerate(parts):
        if k in chosen:
            if together and k == chosen[0]:
                group_at = len(shape)
                shape += list(group)
        elif p.rank:
            begin[k] = len(shape)
            shape.append(p.offset.shape[-1])
    rank = len(shape)
    flat: IntArray | None = None
    for k, p in enumerate(parts):
        lead = p.offset.shape[:1] if p.batched else ()
        dims = p.offset.shape[1:] if p.batched else p.offset.shape
        end = group_at + len(group) if k in chosen else begin.get(k, -1) + 1
        tail = rank - end if dims else 0
        front = rank - tail - len(dims) if dims else rank
        offset = np.asarray(p.offset).reshape((*lead, *(1,) * front, *dims, *(1,) * tail))
        flat = offset if flat is None else flat + offset
    return np.zeros((), dtype=np.int64) if flat is None else flat, tuple(shape)
