"""Closest settings where levels are spaced unevenly: one component after the other, each of the few levels nearest to what
those before it left to be desired.

A table measured from a board is no lattice, so nothing can be reduced; what can be chosen is the order. The decoder keeps the
best `width` partial settings (the M-algorithm of Anderson and Mohan 1984) and never leaves the ranges, so that what a range
cuts off is made good by the components that follow.
"""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.passes.quantizing.codebook import Levels

_NEAR = 2
"""Levels that are tried on each side of the wanted value."""


def even_order(gram: FloatArray) -> IntArray:
    """The order [m] of columns with Gram matrix [m, m] in which the least height of the triangular factor is largest: from the
    last to the first each time the one that is farthest from the span of all that are left (Foschini 1996)."""
    m = gram.shape[0]
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(gram), 1e-300))
    inverse = np.linalg.inv(gram * np.outer(scale, scale) + 1e-13 * np.eye(m)) * np.outer(scale, scale)
    left = np.arange(m)
    order = np.empty(m, dtype=np.int64)
    for place in range(m - 1, -1, -1):
        at = int(np.argmin(np.diagonal(inverse)))
        order[place] = left[at]
        rest = np.arange(left.size) != at
        pivot = inverse[rest, at]
        inverse = inverse[np.ix_(rest, rest)] - np.outer(pivot, pivot) / inverse[at, at]
        left = left[rest]
    return order


def nearest_settings(
    triangle: FloatArray, order: IntArray, wanted: FloatArray, levels: Levels, width: int
) -> FloatArray:
    """Legal indices [N, width, m] whose values v are near `wanted` [N, m] in ‖R(v − wanted)‖, best first as far as the decoder
    saw. R [m, m] is upper triangular for the components in `order`."""
    assert levels.table is not None
    m, count = wanted.shape[1], wanted.shape[0]
    offset = np.zeros((m, count, 1))
    choice = np.zeros((m, count, 1))
    cost = np.zeros((count, 1))
    rows = triangle / np.diagonal(triangle)[:, None]
    for place in range(m - 1, -1, -1):
        f = int(order[place])
        last = int(levels.last[f])
        row = levels.table[f, : last + 1]
        target = wanted[:, f][:, None]
        centre = target - np.tensordot(rows[place, place + 1 :], offset[place + 1 :], axes=1)
        above = np.searchsorted(row, centre)
        options = above[..., None] + np.arange(-_NEAR, _NEAR)
        legal = (options >= 0) & (options <= last)
        if last < 2 * _NEAR:
            options = np.broadcast_to(np.arange(last + 1), (*centre.shape, last + 1))
            legal = np.ones(options.shape, dtype=bool)
        value = row[np.clip(options, 0, last)]
        weight = cost[..., None] + (triangle[place, place] * (value - centre[..., None])) ** 2
        flat = np.where(legal, weight, np.inf).reshape(count, -1)
        keep = min(width, flat.shape[1])
        best = np.argpartition(flat, keep - 1, axis=1)[:, :keep] if keep < flat.shape[1] else np.broadcast_to(
            np.arange(keep), (count, keep)
        )  # fmt: skip
        parent = np.broadcast_to(best // options.shape[-1], (m, count, keep))
        cost = np.take_along_axis(flat, best, axis=1)
        offset = np.take_along_axis(offset, parent, axis=2)
        choice = np.take_along_axis(choice, parent, axis=2)
        picked = np.take_along_axis(np.clip(options, 0, last).reshape(count, -1), best, axis=1)
        offset[place], choice[place] = row[picked] - target, picked
    rank = np.argsort(cost, axis=1, kind="stable")
    choice = np.take_along_axis(choice, np.broadcast_to(rank, (m, *rank.shape)), axis=2)
    found = np.empty_like(choice)
    found[order] = choice
    return np.ascontiguousarray(found.transpose(1, 2, 0))
