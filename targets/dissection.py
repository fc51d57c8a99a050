"""Nested dissection: an order of elimination that keeps the factor of a sparse matrix small.

The graph is drawn first: breadth-first distances from a few far-apart nodes are coordinates, their principal
axes a drawing. Parts are then halved along their longest axis, all parts of one depth at once, and the nodes
on the smaller side of a cut that touch the other are its separator (George 1973; the drawing is pivot MDS,
Brandes & Pich 2007). Two halvings make one level of the tree, so that there are half as many levels to
assemble.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray, IntArray

# Nodes of a part that is not cut any more: small enough for a lean factor, large enough for LAPACK.
LEAF = 40
_LANDMARKS = 5
_AXES = 3


@dataclass(frozen=True, eq=False)
class Tree:
    """`order` [n]: the old number of the k-th variable to be eliminated. Level 0 is the root, level l has 4^l
    nodes, and node t of level l eliminates the variables `starts[l][t] … starts[l][t + 1] − 1` after all of
    its children 4t … 4t+3 of level l + 1 are done."""

    order: IntArray
    starts: tuple[IntArray, ...]

    @property
    def levels(self) -> int:
        return len(self.starts)


def dissect(matrix: sparse.csr_array, leaf: int = LEAF) -> Tree:
    """The tree of a matrix with a symmetric pattern [n, n]."""
    n = int(matrix.shape[0])
    degree = np.diff(matrix.indptr)
    # What touches everything (a shared mean, a hyperparameter) would make the drawing a point: it goes last.
    hub = degree > max(64, 16 * int(np.median(degree)))
    if hub.any():
        keep = np.flatnonzero(~hub)
        rest = sparse.csr_array(matrix[keep][:, keep])
    else:
        keep, rest = np.arange(n), matrix
    position = drawing(rest)
    depth = max(0, int(np.ceil(np.log2(max(keep.size, 1) / leaf))))
    depth += depth % 2
    level, code = _halve(rest, position, depth)
    levels = depth // 2 + 1
    all_level, all_code = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    all_level[keep], all_code[keep] = level, code
    order = np.lexsort((all_code, -all_level))
    sizes = [np.bincount(all_code[all_level == k], minlength=4**k) for k in range(levels)]
    starts, at = [], n
    for size in sizes:
        at -= int(size.sum())
        starts.append(at + np.concatenate([[0], np.cumsum(size)]))
    return Tree(order, tuple(starts))


def drawing(matrix: sparse.csr_array) -> FloatArray:
    """Coordinates [axes, n] of the nodes of a graph: principal axes of distances from far-apart nodes."""
    n = int(matrix.shape[0])
    if n < 2:
        return np.zeros((1, n))
    graph = sparse.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)
    distances: list[FloatArray] = []
    nearest = _distances(graph, 0)
    for _ in range(min(_LANDMARKS, n)):
        distances.append(_distances(graph, int(np.argmax(nearest))))
        nearest = distances[0] if len(distances) == 1 else np.minimum(nearest, distances[-1])
    d = np.stack(distances)
    d -= d.mean(axis=1, keepdims=True)
    axes = np.linalg.eigh(d @ d.T)[1]
    return np.asarray(axes[:, ::-1][:, :_AXES].T @ d)


def _distances(graph: sparse.csr_array, source: int) -> FloatArray:
    """Numbers of steps [n] from a node; nodes that it does not reach are one component after the other,
    beyond it."""
    n = int(graph.shape[0])
    order, before = csgraph.breadth_first_order(graph, source, directed=True)
    place = np.zeros(n, dtype=np.int64)
    place[order] = np.arange(order.size)
    # Depths by pointer doubling along the predecessors: log₂(depth) steps.
    jump = place[np.maximum(before[order], 0)]
    jump[0] = 0
    steps = np.ones(order.size)
    steps[0] = 0.0
    while jump.any():
        steps += steps[jump]
        jump = jump[jump]
    out = np.empty(n)
    if order.size < n:
        _, label = csgraph.connected_components(graph, directed=False)
        out[:] = (steps[-1] + 1.0) * (2.0 + label)
    out[order] = steps
    return out


def _halve(matrix: sparse.csr_array, position: FloatArray, depth: int) -> tuple[IntArray, IntArray]:
    """Level and number of the tree's node for every variable."""
    n = int(matrix.shape[0])
    low = np.repeat(np.arange(n), np.diff(matrix.indptr))
    upper = matrix.indices > low
    i, j = low[upper], matrix.indices[upper].astype(np.int64)
    level = np.full(n, depth // 2)
    code = np.zeros(n, dtype=np.int64)
    # The nodes that are in no separator yet, part after part, and the sizes of the parts.
    active, size = np.arange(n), np.array([n])
    for cut in range(depth):
        parts = 1 << cut
        active = active[_sorted_along(position.take(active, axis=1), size)]
        part = np.repeat(np.arange(parts), size)
        half = np.arange(active.size) >= np.repeat(np.cumsum(size) - size // 2, size)
        side = np.zeros(n, dtype=bool)
        side[active] = half
        crossing = side[i] != side[j]
        ends = np.stack([i[crossing], j[crossing]])
        first = np.where(side[ends[0]], ends[1], ends[0])
        second = np.where(side[ends[0]], ends[0], ends[1])
        touched = np.zeros((2, n), dtype=bool)
        touched[0, first], touched[1, second] = True, True
        count = [np.bincount(code[touched[s]], minlength=parts) for s in (0, 1)]
        smaller = (count[1] < count[0])[part]
        cutting = np.where(smaller, touched[1].take(active), touched[0].take(active))
        separator = np.zeros(n, dtype=bool)
        separator[active] = cutting
        level[separator] = cut // 2
        # The node of an odd cut is the one of the even cut above it.
        code[separator] >>= cut % 2
        active, part = active[~cutting], (2 * part + half)[~cutting]
        code[active] = part
        size = np.bincount(part, minlength=2 * parts)
        inside = ~(crossing | separator[i] | separator[j])
        i, j = i[inside], j[inside]
    return level, code


def _sorted_along(position: FloatArray, size: IntArray) -> IntArray:
    """An order [m] of nodes at `position` [axes, m], part after part of `size` nodes, that sorts each part along its longest
    axis."""
    m, parts = position.shape[1], size.size
    if m == 0:
        return np.arange(0)
    first = np.minimum(np.cumsum(size) - size, m - 1)
    share = 1.0 / np.maximum(size, 1)
    mean = np.add.reduceat(position, first, axis=1) * share
    spread = np.add.reduceat(position * position, first, axis=1) * share - mean * mean
    axis = np.repeat(np.argmax(spread, axis=0), size)
    k = np.arange(m)
    # A little of the next axis keeps a cut through a row of equal values straight.
    value = position[axis, k] + 1e-3 * position[(axis + 1) % len(position), k]
    value -= value.min()
    bits = max(m, 1).bit_length()
    room = min(62 - bits - parts.bit_length(), 40)
    scaled = (value * ((2.0**room - 1) / max(value.max(), 1e-300))).astype(np.int64)
    key = (((np.repeat(np.arange(parts), size) << room) | scaled) << bits) | k
    key.sort()
    return np.asarray(key & ((1 << bits) - 1))
