"""Cholesky of a large sparse matrix by fronts: draws x = L⁻ᵀ z and solves, every level of the tree at once.

Each node t of the dissection tree has a dense front over its own variables S and its boundary B, those later
variables that elimination couples it to (Duff & Reid 1983). Fronts of about the same size are stacked, so
that LAPACK and BLAS see batches and Python a few operations a level. With F = [[F_SS, ·], [F_BS, F_BB]], F_SS
= G Gᵀ:

    V = F_BS G⁻ᵀ,   the parent receives F_BB − V Vᵀ;   x_S = G⁻ᵀ (z_S − Vᵀ x_B)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import fail
from spucc.targets.dissection import Tree, dissect

# Elements of fronts that are stacked: what a second-level cache holds.
_STACK = 2**18


@dataclass(frozen=True, eq=False)
class _Level:
    """The fronts of one level: own variables `start … start + size − 1`, boundary `later[first[t]:first[t +
    1]]`, and where the front of each node stands in the level's buffer: `base`, its order `side`, its padded
    own size `pad`."""

    start: IntArray
    size: IntArray
    first: IntArray
    later: IntArray
    base: IntArray
    side: IntArray
    pad: IntArray
    groups: tuple[tuple[IntArray, int, int], ...]
    room: int


@dataclass(frozen=True, eq=False)
class _Group:
    """Stacked fronts of one size: variables `own` [g, s] and `later` [g, b] (n where padded), `inverse` G⁻¹
    [g, s, s] and `below` V [g, b, s]."""

    own: IntArray
    later: IntArray
    inverse: NDArray[Any]
    below: NDArray[Any]


class SparseFactor:
    """The factor of a sparse symmetric positive definite matrix; see `spucc.targets.gaussian.Factor`.

    Raises:
        SpuccError: E0721 where the matrix is not positive definite; E0724 where the factor would not fit
        `limit` bytes.
    """

    tile = 16

    def __init__(self, matrix: sparse.csr_array, dtype: Any = np.float64, limit: float = 8e9) -> None:
        self.n = int(matrix.shape[0])
        tree = dissect(matrix)
        self._order = tree.order
        i, j, values, diagonal = _lower(matrix, tree.order)
        levels = _symbolic(self.n, tree, i, j)
        self.size = sum(g.size * (s * s + b * s) for level in levels for g, s, b in level.groups)
        work = max(level.room for level in levels)
        if 8 * (self.size + work) > limit:
            fail(
                "E0724",
                f"factoring this model needs {8 * (self.size + work) / 1e9:.0f} GB of memory",
                help="its couplings are too tangled for a direct method; condition on a part of it",
            )
        self._groups, self.logdet = _numeric(self.n, levels, i, j, values, diagonal)
        if np.dtype(dtype) != np.float64:
            self._product = [_cast(g, dtype) for g in self._groups]
        else:
            self._product = self._groups

    def colour(self, z: NDArray[Any]) -> NDArray[Any]:
        out = np.empty_like(z)
        for start in range(0, z.shape[0], self.tile):
            rows = z[start : start + self.tile]
            x: NDArray[Any] = np.zeros((self.n + 1, rows.shape[0]), dtype=z.dtype)
            x[:-1] = rows.T
            _backward(self._product, x)
            back = np.empty((self.n, rows.shape[0]), dtype=z.dtype)
            back[self._order] = x[:-1]
            out[start : start + self.tile] = back.T
        return out

    def solve(self, b: FloatArray) -> FloatArray:
        columns = b[:, None] if b.ndim == 1 else b
        out = np.empty(columns.shape)
        for start in range(0, columns.shape[1], self.tile):
            part = columns[:, start : start + self.tile]
            x: FloatArray = np.zeros((self.n + 1, part.shape[1]))
            x[:-1] = part[self._order]
            _forward(self._groups, x)
            _backward(self._groups, x)
            out[self._order, start : start + self.tile] = x[:-1]
        return out[:, 0] if b.ndim == 1 else out


def _cast(group: _Group, dtype: Any) -> _Group:
    return _Group(group.own, group.later, group.inverse.astype(dtype), group.below.astype(dtype))


def _lower(matrix: sparse.csr_array, order: IntArray) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """Entries (i, j), i < j, of the reordered matrix by the order of elimination of i, and its diagonal."""
    n = order.size
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    rows = np.repeat(place, np.diff(matrix.indptr))
    cols = place[matrix.indices]
    upper = rows < cols
    return rows[upper], cols[upper], matrix.data[upper], np.asarray(matrix.diagonal())[order]


def _symbolic(n: int, tree: Tree, i: IntArray, j: IntArray) -> list[_Level]:
    """Boundaries and buffers of all levels, the deepest first."""
    levels: list[_Level] = []
    below: _Level | None = None
    for starts in reversed(tree.starts):
        nodes = starts.size - 1
        mine = (i >= starts[0]) & (i < starts[-1])
        owner = np.searchsorted(starts, i[mine], side="right") - 1
        outside = j[mine] >= starts[owner + 1]
        keys = [owner[outside] * n + j[mine][outside]]
        if below is not None:
            parent = np.repeat(np.arange(below.size.size) // 4, np.diff(below.first))
            up = below.later >= starts[parent + 1]
            keys.append(parent[up] * n + below.later[up])
        key = np.sort(np.concatenate(keys))
        key = key[np.diff(key, prepend=-1) > 0]
        first = np.searchsorted(key, np.arange(nodes + 1) * n)
        size = np.diff(starts)
        below = _stack(starts[:-1], size, first, key % n)
        levels.append(below)
    return levels


def _stack(start: IntArray, size: IntArray, first: IntArray, later: IntArray) -> _Level:
    """Group the fronts of a level by padded size and lay them out one after the other."""
    pad, edge = _padded(size), _padded(np.diff(first))
    kinds, kind = np.unique(pad * (edge.max(initial=0) + 1) + edge, return_inverse=True)
    base, side = np.zeros(size.size, dtype=np.int64), pad + edge + 1
    groups: list[tuple[IntArray, int, int]] = []
    room = 0
    for k in range(kinds.size):
        nodes = np.flatnonzero(kind == k)
        s, b = int(pad[nodes[0]]), int(edge[nodes[0]])
        base[nodes] = room + np.arange(nodes.size) * (s + b + 1) ** 2
        room += nodes.size * (s + b + 1) ** 2
        some = max(1, _STACK // (s + b + 1) ** 2)
        groups.extend((nodes[at : at + some], s, b) for at in range(0, nodes.size, some))
    return _Level(start, size, first, later, base, side, pad, tuple(groups), room)


def _padded(size: IntArray) -> IntArray:
    """Sizes rounded up to one of some four steps an octave."""
    step = 1 << np.maximum(np.log2(np.maximum(size, 1)).astype(np.int64) - 2, 2)
    return np.asarray((size + step - 1) // step * step)


def _place(level: _Level, n: int, node: IntArray, variable: IntArray) -> IntArray:
    """Row of a variable in the front of a node; the front's last, empty row for the variable n."""
    own = variable < level.start[node] + level.size[node]
    count = np.diff(level.first)
    key = np.repeat(np.arange(count.size), count) * (n + 1) + level.later
    found = np.searchsorted(key, node * (n + 1) + variable) - level.first[node] + level.pad[node]
    row = np.where(own, variable - level.start[node], found)
    return np.where(variable == n, level.side[node] - 1, row)


def _numeric(
    n: int, levels: list[_Level], i: IntArray, j: IntArray, values: FloatArray, diagonal: FloatArray
) -> tuple[list[_Group], float]:
    """Factor level after level, the deepest first. The fronts of the deepest, by far the most memory, receive nothing, so
    that they are made a stack at a time."""
    groups: list[_Group] = []
    logdet = 0.0
    buffer: FloatArray | None = None
    for depth, level in enumerate(levels):
        above = levels[depth + 1] if depth + 1 < len(levels) else None
        target = None
        if above is not None:
            at, value = _entries(n, above, i, j, values, diagonal)
            target = np.zeros(above.room)
            target[at] = value
        if buffer is None:
            at, value = _entries(n, level, i, j, values, diagonal)
        for nodes, s, b in level.groups:
            side = s + b + 1
            low = int(level.base[nodes[0]])
            high = low + nodes.size * side**2
            if buffer is None:
                front, mine = np.zeros(high - low), (low <= at) & (at < high)
                front[at[mine] - low] = value[mine]
            else:
                front = buffer[low:high]
            group, update, log = _eliminate(n, level, nodes, front.reshape(nodes.size, side, side), s, b)
            logdet += log
            groups.append(group)
            if above is not None and target is not None and b:
                parent = nodes // 4
                row = _place(above, n, np.repeat(parent, b), group.later.ravel()).reshape(nodes.size, b)
                left = above.base[parent][:, None] + row * above.side[parent][:, None]
                flat = left[:, :, None] + row[:, None, :]
                np.add.at(target, flat.ravel(), update.ravel())
        buffer = target
    return groups, logdet


def _entries(
    n: int, level: _Level, i: IntArray, j: IntArray, values: FloatArray, diagonal: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Where in the buffer of a level the matrix's own entries stand, and what they are."""
    begin, end = int(level.start[0]), int(level.start[-1] + level.size[-1])
    mine = (i >= begin) & (i < end)
    owner = np.repeat(np.arange(level.size.size), level.size)
    node = owner[i[mine] - begin]
    row = _place(level, n, node, j[mine])
    below = level.base[node] + row * level.side[node] + i[mine] - level.start[node]
    k = np.arange(begin, end) - level.start[owner]
    on = level.base[owner] + k * (level.side[owner] + 1)
    return np.concatenate([below, on]), np.concatenate([values[mine], diagonal[begin:end]])


def _eliminate(
    n: int, level: _Level, nodes: IntArray, front: FloatArray, s: int, b: int
) -> tuple[_Group, FloatArray, float]:
    """Eliminate the own variables of a stack of fronts."""
    inside = np.arange(s) < level.size[nodes][:, None]
    own = np.where(inside, level.start[nodes][:, None] + np.arange(s), n)
    count = level.first[nodes + 1] - level.first[nodes]
    at = np.minimum(level.first[nodes][:, None] + np.arange(b), max(level.later.size - 1, 0))
    real = np.arange(b) < count[:, None]
    later = np.where(real, level.later[at], n) if b else np.zeros((nodes.size, 0), dtype=np.int64)
    k = np.arange(s)
    front[:, k, k] += ~inside
    try:
        lower = np.asarray(np.linalg.cholesky(front[:, :s, :s]), dtype=np.float64)
    except np.linalg.LinAlgError:
        lower = np.full((1, 1, 1), np.nan)
    if not np.isfinite(lower).all():
        fail(
            "E0721",
            "the configuration makes a network without a stable law: its matrix is not positive definite",
            help="the codes ask for more coupling than the ground components carry; compile again",
        )
    inverse = _inverses(lower)
    below = front[:, s : s + b, :s] @ inverse.swapaxes(1, 2)
    update = front[:, s : s + b, s : s + b] - below @ below.swapaxes(1, 2)
    logdet = 2.0 * float(np.log(lower[:, k, k]).sum())
    return _Group(own, later, inverse, below), update, logdet


def _inverses(lower: FloatArray) -> FloatArray:
    """Inverses of stacked lower triangles [g, s, s]: [[A, 0], [C, D]]⁻¹ = [[A⁻¹, 0], [−D⁻¹ C A⁻¹, D⁻¹]]."""
    s = lower.shape[1]
    if s > 96 or lower.shape[0] == 1:
        return np.stack([linalg.lapack.dtrtri(one, lower=1)[0] for one in lower]) if s else lower
    if s <= 12:
        return np.asarray(np.linalg.inv(lower))
    h = s // 2
    out = np.zeros_like(lower)
    out[:, :h, :h] = _inverses(lower[:, :h, :h])
    out[:, h:, h:] = _inverses(lower[:, h:, h:])
    out[:, h:, :h] = -(out[:, h:, h:] @ (lower[:, h:, :h] @ out[:, :h, :h]))
    return out


def _backward(groups: list[_Group], x: NDArray[Any]) -> None:
    """Lᵀ x = z in place, from the root to the leaves. x [n + 1, m], its last row 0."""
    for g in reversed(groups):
        z = x[g.own]
        if g.later.shape[1]:
            z -= g.below.swapaxes(1, 2) @ x[g.later]
        x[g.own] = g.inverse.swapaxes(1, 2) @ z
        x[-1] = 0.0


def _forward(groups: list[_Group], x: FloatArray) -> None:
    """L y = b in place, from the leaves to the root."""
    for g in groups:
        y = g.inverse @ x[g.own]
        x[g.own] = y
        if g.later.shape[1]:
            np.subtract.at(x, g.later.ravel(), (g.below @ y).reshape(-1, x.shape[1]))
        x[-1] = 0.0
