"""Where cells stand on a drawing of a board."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.report.layout import LARGEST, lattice, places


def free_places(n: int, edges: IntArray) -> FloatArray:
    """Places for the cells of a device that has none of its own: as the couplings ask."""
    return places(n, edges) if n <= LARGEST else lattice(n)


def folded(position: FloatArray) -> FloatArray:
    """The places of a device drawn as a few long columns, each of them laid in rows as a block; others as they are."""
    columns, of = np.unique(position[:, 0], return_inverse=True)
    if len(position) < 64 or 4 * len(columns) > np.sqrt(len(position)):
        return position
    out, start = np.empty((len(position), 2)), 0.0
    for k in range(len(columns)):
        inside = np.flatnonzero(of == k)
        inside = inside[np.argsort(position[inside, 1], kind="stable")]
        wide = int(np.ceil(np.sqrt(inside.size)))
        row, column = np.divmod(np.arange(inside.size), wide)
        out[inside] = np.stack([start + column, row.astype(np.float64)], axis=1)
        start += wide + 2.0
    return out


def fitted(at: FloatArray, width: float) -> tuple[FloatArray, float, float]:
    """Places scaled to the page, the distance of neighbours on it, and the height."""
    if not len(at):
        return at, width, 60.0
    low, high = at.min(axis=0), at.max(axis=0)
    extent = np.maximum(high - low, 1e-9)
    n = len(at)
    nearest = _nearest(at)
    if n == 1:
        return np.array([[width / 2, 60.0]]), 90.0, 120.0
    # A margin of 0.7 of a neighbour's distance holds a cell and what is written about it.
    margin = 0.7 * min(nearest, float(extent.max()))
    scale = min(width / (extent[0] + 2 * margin), 1.15 * width / (extent[1] + 2 * margin), 150.0 / nearest)
    height = float(scale * (extent[1] + 2 * margin))
    left = (width - scale * extent[0]) / 2
    return (at - low) * scale + [left, scale * margin], float(scale * nearest), height


def _nearest(at: FloatArray) -> float:
    """The least distance of two cells."""
    from scipy.spatial import cKDTree

    if len(at) < 2:
        return 1.0
    found = cKDTree(at).query(at, k=2)[0][:, 1]
    return float(max(found.min(), 1e-9))
