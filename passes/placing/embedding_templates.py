"""Embeddings by construction, for boards whose lattice is known: in milliseconds where a search takes minutes.

- Crossing bars (chimera, pegasus). Every vertical line of cells crosses every horizontal one. A variable of a clique gets one
  line of each kind, cut to an L: pair i < j meets where j's vertical bar crosses i's horizontal one (Choi 2011, for chimera;
  Boothby, King, Roy 2016). Of a bipartite model one side gets vertical lines, the other horizontal ones.
- Swap network (king's graph). Two diagonals cross there without sharing a cell. n wires run side by side through n rows; in
  alternate rounds neighbours change places by such crossings. After n rounds each wire has met every other one, and
  the first and the last round need no crossing because neighbouring rows are joined: n × (n − 1) cells for a clique.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import IntArray
from spucc.device import Device
from spucc.passes.placing.chains import Chains, is_embedding, trim

_WINDOWS = 24
"""How many positions of a template are tried on a board with dead parts."""


def template(model: sparse.csr_array, device: Device, board: sparse.csr_array) -> Chains | None:
    """A trimmed embedding of `model` by construction, or None where no template fits."""
    kind = device.topology.kind
    if kind == "king":
        return _first_valid(_swap_networks(model, device), model, board)
    if kind in ("chimera", "pegasus"):
        return _first_valid(_crossing_bars(model, device), model, board)
    return None


def _first_valid(
    candidates: Iterator[Chains], model: sparse.csr_array, board: sparse.csr_array
) -> Chains | None:
    for chains in candidates:
        if is_embedding(chains, model, board):
            return trim(chains, model, board)
    return None


# --- crossing bars --------------------------------------------------------------------------------------------------------


def _lines(device: Device) -> tuple[IntArray, IntArray]:
    """The cells of the vertical and of the horizontal lines, [lines, bars]; every bar has couplers."""
    spec = device.spec.topology
    if device.topology.kind == "chimera":
        rows, cols, t = spec.rows or 0, spec.cols or 0, spec.shore
        number = np.arange(rows * cols * 2 * t).reshape(rows, cols, 2, t)
        vertical = number[:, :, 0].transpose(1, 2, 0).reshape(cols * t, rows)
        horizontal = number[:, :, 1].transpose(0, 2, 1).reshape(rows * t, cols)
        return vertical, horizontal
    m = spec.rows or 0
    bars = np.arange(24 * m * (m - 1)).reshape(2, 12 * m, m - 1)
    degree = device.topology.degree[bars].min(axis=2)
    return bars[0][np.flatnonzero(degree[0])], bars[1][np.flatnonzero(degree[1])]


def _crossings(device: Device, vertical: IntArray, horizontal: IntArray) -> tuple[IntArray, IntArray]:
    """[vertical lines, horizontal lines]: which bar of each takes part where two lines cross (−1: they do not)."""
    shape = (vertical.shape[0], horizontal.shape[0])
    line = np.full((2, device.topology.nodes or 0), -1, dtype=np.int64)
    bar = np.zeros(device.topology.nodes or 0, dtype=np.int64)
    for u, table in enumerate((vertical, horizontal)):
        line[u, table] = np.arange(table.shape[0])[:, None]
        bar[table] = np.arange(table.shape[1])
    i, j = device.topology.edges.T
    v, h = np.where(line[0, i] >= 0, i, j), np.where(line[0, i] >= 0, j, i)
    across = (line[0, v] >= 0) & (line[1, h] >= 0)
    v, h = v[across], h[across]
    on_v, on_h = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    on_v[line[0, v], line[1, h]] = bar[v]
    on_h[line[0, v], line[1, h]] = bar[h]
    return on_v, on_h


def _crossing_bars(model: sparse.csr_array, device: Device) -> Iterator[Chains]:
    """Bipartite layouts first, as their chains are half as long, then cliques; each at several places."""
    import networkx as nx

    n = model.shape[0]
    vertical, horizontal = _lines(device)
    on_v, on_h = _crossings(device, vertical, horizontal)
    graph = nx.from_scipy_sparse_array(model)
    if nx.is_bipartite(graph):
        colour = nx.algorithms.bipartite.color(graph)
        left = np.array([k for k in range(n) if colour[k] == 0], dtype=np.int64)
        right = np.array([k for k in range(n) if colour[k] == 1], dtype=np.int64)
        for a, b in ((left, right), (right, left)):
            for x, y in _windows(a.size, b.size, on_v):
                chains: Chains = [[] for _ in range(n)]
                for k, i in zip(a, x):
                    chains[k] = _span(vertical[i], on_v[i, y])
                for k, j in zip(b, y):
                    chains[k] = _span(horizontal[j], on_h[x, j])
                yield chains
    for x, y in _windows(n, n, on_v, triangle=True):
        yield [
            _span(vertical[x[k]], on_v[x[k], y[: k + 1]]) + _span(horizontal[y[k]], on_h[x[k:], y[k]])
            for k in range(n)
        ]


def _windows(a: int, b: int, on_v: IntArray, triangle: bool = False) -> Iterator[tuple[IntArray, IntArray]]:
    """Runs of a vertical and b horizontal lines that all cross, from the corner inwards; with `triangle` only the i-th
    vertical and the j-th horizontal line for j ≤ i need to."""
    rooms = on_v.shape[0] - a, on_v.shape[1] - b
    if min(rooms) < 0:
        return
    starts = sorted(
        ((i, j) for i in range(rooms[0] + 1) for j in range(rooms[1] + 1)), key=lambda s: (s[0] + s[1], s)
    )
    needed = np.tri(a, b, dtype=bool) if triangle else np.ones((a, b), dtype=bool)
    found = 0
    for i, j in starts:
        if (on_v[i : i + a, j : j + b] >= 0)[needed].all():
            yield np.arange(i, i + a), np.arange(j, j + b)
            found += 1
            if found == _WINDOWS:
                return


def _span(line: IntArray, bars: IntArray) -> list[int]:
    """The bars of a line from the first to the last that is needed."""
    return [int(c) for c in line[bars.min() : bars.max() + 1]] if bars.size else [int(line[0])]


# --- swap network ---------------------------------------------------------------------------------------------------------


def _swap_networks(model: sparse.csr_array, device: Device) -> Iterator[Chains]:
    """The narrowest network among a few orders of the wires, at several places, upright and turned."""
    n = model.shape[0]
    rows, cols = device.spec.topology.rows or 0, device.spec.topology.cols or 0
    if n > max(rows, cols) or n == 0:
        return
    rounds = min((_rounds(model, order) for order in _orders(model)), key=lambda r: len(r))
    wires = np.stack(rounds)  # [columns, n]: which wire is in each row
    width = wires.shape[0]
    row_of = np.argsort(wires, axis=1)  # [columns, n]: in which row each wire is
    places = 0
    for height, breadth, turned in ((rows, cols, False), (cols, rows, True)):
        for shift in range(max(height - n, breadth - width) + 1):
            for down, right in sorted(
                {(min(shift, height - n), min(shift, breadth - width)), (0, shift), (shift, 0)}
            ):
                if (
                    down < 0
                    or right < 0
                    or down + n > height
                    or right + width > breadth
                    or places >= _WINDOWS
                ):
                    continue
                places += 1
                r, c = row_of + down, np.arange(width)[:, None] + right
                cell = c * cols + r if turned else r * cols + c
                yield [cell[:, k].tolist() for k in range(n)]


def _orders(model: sparse.csr_array) -> Iterator[IntArray]:
    """Orders in which coupled wires are near each other: as given, and by bandwidth (reverse Cuthill–McKee)."""
    yield np.arange(model.shape[0])
    yield np.asarray(csgraph.reverse_cuthill_mckee(model, symmetric_mode=True), dtype=np.int64)


def _rounds(model: sparse.csr_array, order: IntArray) -> list[IntArray]:
    """The order of the wires in each column until every coupled pair has been side by side; shorter of both parities."""
    best: list[IntArray] = []
    dense = model.toarray() != 0
    for parity in (0, 1):
        missing = dense.copy()
        wires, columns = order.copy(), []
        while True:
            columns.append(wires.copy())
            missing[wires[:-1], wires[1:]] = missing[wires[1:], wires[:-1]] = False
            # A wire that moves away also touches, diagonally, the wire two rows off that follows it.
            if len(columns) > 1:
                before, now = columns[-2], columns[-1]
                missing[before[:-1], now[1:]] = missing[now[1:], before[:-1]] = False
                missing[before[1:], now[:-1]] = missing[now[:-1], before[1:]] = False
            if not missing.any():
                break
            start = (parity + len(columns)) % 2
            last = start + 2 * ((wires.size - start) // 2)
            pairs = wires[start:last].reshape(-1, 2)
            wires[start:last] = pairs[:, ::-1].ravel()
        if not best or len(columns) < len(best):
            best = columns
    return best
