"""What can be said of a board before anything is placed on it."""

from __future__ import annotations

import math
import sys

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.device import Device, Family

BRANCH = 10
"""On a board of eight times the model's size trees of so many cells find a place."""

COMPLETE = 3000
"""Up to so many cells a board with a coupler between every two is worth naming."""

TILE = 4
"""Components of so many cells find a place side by side on every lattice."""


def live_cells(device: Device) -> int:
    """How many cells work."""
    return sys.maxsize if device.topology.nodes is None else int(device.alive.sum())


def larger(n: int, device: Device) -> str:
    """A target of the device's family with n cells, in words; of its own kind where the kind has a size."""
    kind, side = device.topology.kind, math.isqrt(max(n - 1, 0)) + 1
    name = ""
    if device.family in (Family.RESISTIVE, Family.INDUCTIVE) and n <= COMPLETE:
        name = f"complete({n}){{family={device.family}}}"
    elif device.family is Family.CAPACITIVE:
        kind = kind if kind in ("grid", "king", "torus") else "king"
        shipped = next((s for s in (8, 32) if kind == "king" and side <= s), None)
        name = f"king-{shipped}x{shipped}" if shipped else f"{kind}({side},{side})"
    return f'a larger board, such as `--target "{name}"`' if name else "a larger board (`spucc targets`)"


def complete(device: Device) -> bool:
    """Whether every two working cells have a coupler."""
    n = live_cells(device)
    return device.topology.nodes is None or int(device.live_edges.sum()) == n * (n - 1) // 2


def could_embed(k: sparse.csr_array, device: Device) -> bool:
    """Whether the pattern of K has a chance of a place, with chains of cells for variables where it needs them.

    A board of N cells in a square has a treewidth of about √N (king twice that), and cells spent on chains grow
    with the model's own. The estimate is from the couplings' count alone; the verdict is `place`'s.
    """
    n = int(k.shape[0])
    if n > live_cells(device):
        return False
    couplers = (int(k.nnz) - n) // 2
    if complete(device) or couplers == 0:
        return True
    cells = live_cells(device)
    if not device.live_edges.any():
        return False
    own = 2.0 * int(device.live_edges.sum()) / max(cells, 1)
    mean_degree = 2.0 * couplers / n
    if mean_degree <= own:
        return True
    # A dense model of n variables needs chains of about n/own cells each.
    return bool(n * mean_degree / own * 1.5 <= cells)


def component_limit(device: Device, n: int) -> int:
    """How many cells a component of a model of n variables may have, to be all but sure of a place."""
    if complete(device):
        return sys.maxsize
    return BRANCH if n * 8 <= live_cells(device) else TILE


def could_hold(k: sparse.csr_array, device: Device) -> bool:
    """Whether the pattern of K is all but sure to find a place without chains: the board is complete, or K falls
    into components of at most four cells (paths on any lattice, any pattern where the cells of a square see each
    other); where there is room, also into small trees of low degree."""
    n = int(k.shape[0])
    if n > live_cells(device):
        return False
    if complete(device):
        return True
    count, label = csgraph.connected_components(k, directed=False)
    size = np.bincount(label, minlength=count)
    if size.max(initial=0) > component_limit(device, n):
        return False
    coo = sparse.coo_array(k)
    inside = np.bincount(label[coo.row[coo.row < coo.col]], minlength=count)
    degree = np.bincount(coo.row[coo.row != coo.col], minlength=n)
    if not device.live_edges.any():
        return not inside.any()
    tree = inside <= np.maximum(size - 1, 0)
    if device.topology.kind != "king":
        return bool(tree.all() and degree.max(initial=0) <= 2)
    if not (tree | (size <= TILE)).all() or degree.max(initial=0) > 4:
        return False
    # Squares of four side by side: a component of three wastes a cell of its square.
    return n + int((size == TILE - 1).sum()) <= live_cells(device)
