"""Placements without chains: what can be seen at once, then the exact search."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import IntArray
from spucc.device import Device
from spucc.passes.placing.subgraph_search import find_monomorphism

_LARGEST_MODEL = 1_500
_LARGEST_BOARD = 4_096
_WIDTHS = 24
_SHIFTS = 400


def find_native(
    model: sparse.csr_array, pairs: IntArray, device: Device, board: sparse.csr_array
) -> tuple[IntArray | None, bool]:
    """A cell for each variable such that every pair has a working coupler, and whether the answer is proved.

    `model` is the graph of `pairs`, `board` the device's live graph.
    """
    n = model.shape[0]
    live = np.flatnonzero(device.alive)
    for cells in _obvious(n, pairs, device, live):
        if _fits(cells, pairs, device):
            return cells, True
    if n > _LARGEST_MODEL:
        return None, False
    if board.shape[0] <= _LARGEST_BOARD:
        return find_monomorphism(model, board, live)
    part = _around_middle(board, device, live)
    found, _ = find_monomorphism(model, sparse.csr_array(board[part][:, part]), np.arange(part.size))
    return (None, False) if found is None else (part[found], True)


def _fits(cells: IntArray, pairs: IntArray, device: Device) -> bool:
    if not device.alive[cells].all():
        return False
    ids = device.coupler_ids(cells[pairs]) if pairs.size else np.zeros(0, dtype=np.int64)
    return bool((ids >= 0).all() and device.live_edges[ids].all())


def _obvious(n: int, pairs: IntArray, device: Device, live: IntArray) -> Iterator[IntArray]:
    """The first working cells, and the model read as a lattice, row by row, at several places of a lattice board."""
    yield live[:n]
    spec = device.spec.topology
    rows, cols = spec.rows, spec.cols
    if device.topology.kind not in ("grid", "king", "torus", "offset") or rows is None or cols is None:
        return
    gaps, count = (
        np.unique(pairs[:, 1] - pairs[:, 0], return_counts=True)
        if pairs.size
        else (np.array([n]), np.ones(1))
    )
    common = gaps[np.argsort(-count, kind="stable")][:_WIDTHS]
    widths = [int(w) for w in dict.fromkeys([*common, *(common - 1), *(common + 1), n]) if w >= 1]
    intact = device.alive.all() and device.live_edges.all()
    for width in widths:
        r, c = np.divmod(np.arange(n), width)
        if width > n or not _steps_fit(r, c, pairs, device):
            continue
        for down, right in ((r, c), (c, r)):
            room = rows - 1 - int(down.max(initial=0)), cols - 1 - int(right.max(initial=0))
            if min(room) < 0:
                continue
            shifts = (
                [(0, 0)]
                if intact
                else [(a, b) for a in range(room[0] + 1) for b in range(room[1] + 1)][:_SHIFTS]
            )
            for a, b in shifts:
                yield (down + a) * cols + right + b


def _steps_fit(r: IntArray, c: IntArray, pairs: IntArray, device: Device) -> bool:
    """Whether all pairs are short steps of a lattice; longer ones only where the board has them."""
    if device.topology.kind in ("torus", "offset") or not pairs.size:
        return True
    i, j = pairs.T
    return bool((np.abs(r[i] - r[j]) <= 1).all() and (np.abs(c[i] - c[j]) <= 1).all())


def _around_middle(board: sparse.csr_array, device: Device, live: IntArray) -> IntArray:
    """The working cells nearest the middle of the drawing, as many as the search takes."""
    place = device.topology.position[live]
    distance = np.abs(place - (place.max(axis=0) + place.min(axis=0)) / 2).max(axis=1)
    near = live[np.lexsort((live, distance))[:_LARGEST_BOARD]]
    _, part = csgraph.connected_components(board[near][:, near], directed=False)
    return np.sort(near[part == np.bincount(part).argmax()])
