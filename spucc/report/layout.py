"""Where a drawing puts the nodes of a graph that has no places of its own: stress majorisation.

Distances on the page are to be distances in the graph: minimise Σ_{i<j} w_ij (|x_i − x_j| − d_ij)², w_ij = d_ij⁻², by the
majorisation of Gansner, Koren and North (Graph Drawing by Stress Majorization, 2004): each step solves L_w x = L_z z, L_w
the weighted Laplacian, whose pseudo-inverse is taken once. O(n³) once and O(n²) a step; deterministic. Beyond `EVEN` nodes
classical scaling of the distances from some of them takes its place (Brandes and Pich, Eigensolver methods for progressive
multidimensional scaling, 2007), O(n) each.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray, IntArray

EVEN = 400
"""Nodes beyond which distances are kept from a few nodes only."""

LARGEST = 1100
"""Nodes beyond which nothing is laid out."""

_PIVOTS = 60


def circle(n: int) -> FloatArray:
    """n places on a circle of radius 1, from the top."""
    angle = 2 * np.pi * np.arange(n) / max(n, 1)
    return np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def lattice(n: int) -> FloatArray:
    """n places in rows, nearly a square."""
    cols = max(int(np.ceil(np.sqrt(n * 1.6))), 1)
    row, col = np.divmod(np.arange(n), cols)
    return np.stack([col, row], axis=1).astype(np.float64)


def places(n: int, edges: IntArray, steps: int = 60) -> FloatArray:
    """Places [n, 2] of the nodes of a graph with `edges` [m, 2], in no particular unit."""
    if n <= 2 or not len(edges):
        return lattice(n)
    if len(edges) == n * (n - 1) // 2:
        return circle(n)
    ones = np.ones(len(edges))
    graph = sparse.csr_array(sparse.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(n, n)))
    if n > EVEN:
        return _folded(_upright(_from_pivots(graph)))
    distance = csgraph.shortest_path(graph, directed=False, unweighted=True)
    reached = distance[np.isfinite(distance)]
    distance[~np.isfinite(distance)] = 0.6 * reached.max() + 1.5
    x = _classical(distance)
    weight = 1.0 / np.maximum(distance, 1.0) ** 2
    np.fill_diagonal(weight, 0.0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    for _ in range(steps):
        apart = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
        pull = weight * distance / np.maximum(apart, 1e-9)
        np.fill_diagonal(pull, 0.0)
        x = inverse @ (np.diag(pull.sum(axis=1)) @ x - pull @ x)
    return _folded(_upright(x))


def _classical(distance: FloatArray) -> FloatArray:
    """Classical scaling, nudged so that no two nodes start in one place."""
    n = len(distance)
    square = distance**2
    gram = -0.5 * (square - square.mean(axis=0) - square.mean(axis=1)[:, None] + square.mean())
    values, vectors = np.linalg.eigh(gram)
    x = vectors[:, -2:][:, ::-1] * np.sqrt(np.maximum(values[-2:][::-1], 1e-6))
    # The sign of an eigenvector is an accident of the library: fix it.
    x = x * np.where(x[np.abs(x).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    return np.asarray(x + 0.05 * circle(n))


def _from_pivots(graph: sparse.csr_array) -> FloatArray:
    """Places from the distances to `_PIVOTS` nodes, each the farthest from those before."""
    n = int(graph.shape[0])
    pivot, rows, nearest = 0, [], np.full(n, np.inf)
    for _ in range(min(_PIVOTS, n)):
        found = csgraph.shortest_path(graph, directed=False, unweighted=True, indices=pivot)
        rows.append(found)
        nearest = np.minimum(nearest, found)
        pivot = int(np.argmax(np.where(np.isfinite(nearest), nearest, 2.0 * n)))
    distance = np.stack(rows, axis=1)
    reached = distance[np.isfinite(distance)].max()
    distance = np.where(np.isfinite(distance), distance, 0.6 * reached + 1.5) ** 2
    centred = distance - distance.mean(axis=0) - distance.mean(axis=1)[:, None] + distance.mean()
    _, vectors = np.linalg.eigh(centred.T @ centred)
    x = centred @ vectors[:, -2:][:, ::-1]
    x = x * np.where(x[np.abs(x).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0) / max(np.abs(x).max(), 1e-9)
    return np.asarray(x * np.sqrt(n) / 2 + 1e-3 * circle(n))


def _folded(x: FloatArray) -> FloatArray:
    """A drawing much longer than it is high, laid to and fro in rows as a snake lies."""
    x = np.asarray(x - x.min(axis=0))
    length, height = x.max(axis=0)
    room = max(float(height), 1.0) * 1.6
    rows = int(np.sqrt(length / (1.8 * room)))
    if rows < 2:
        return x
    wide = length / rows
    row = np.minimum((x[:, 0] / wide).astype(np.int64), rows - 1)
    along = x[:, 0] - row * wide
    return np.stack([np.where(row % 2 == 1, wide - along, along), x[:, 1] + row * room], axis=1)


def _upright(x: FloatArray) -> FloatArray:
    """Turned so that the longest extent lies along the page."""
    x = x - x.mean(axis=0)
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    axes = axes * np.where(axes[np.arange(2), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    return np.asarray(x @ axes.T, dtype=np.float64)
