"""One cell a variable, so that strongly dependent variables sit on coupled cells (mapping.md §5).

The value of a placement is Σ w_ij over the couplers that join i and j, with w_ij = −½ log(1 − ρ_ij²) the mutual information of
two Gaussian variables (for a tree this is Chow and Liu's criterion). Start: the two lowest eigenvectors of the normalised
Laplacian of w, turned to their independent directions, by rank spread over the cells' positions. Then the best exchange of
two variables, or move to an empty cell, as long as one gains; small models also start from random placements.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray


def information(K: FloatArray) -> FloatArray:
    """Mutual information [n, n] between the variables of N(0, K⁻¹), zero on the diagonal."""
    S = linalg.inv(K)
    d = np.sqrt(np.diagonal(S))
    rho2 = np.clip((S / np.outer(d, d)) ** 2, 0.0, 1.0 - 1e-12)
    np.fill_diagonal(rho2, 0.0)
    return np.asarray(-0.5 * np.log1p(-rho2))


def place_by_weights(
    w: FloatArray, board: sparse.csr_array, position: FloatArray, usable: IntArray, rng: np.random.Generator
) -> tuple[IntArray, float]:
    """A cell of `usable` for each variable, and the value reached; `w` [n, n], `position` [nodes, 2]."""
    n = w.shape[0]
    region = _region(n, board, position, usable)
    B = sparse.csr_array(board[region][:, region])
    size = region.size
    padded = np.zeros((size, size))
    padded[:n, :n] = w
    best, value = np.arange(size), -1.0
    for start in [*_spectral_starts(w, position[region]), *_random_starts(n, size, rng)]:
        location, reached = _exchange(padded, B, start)
        if reached > value + 1e-12:
            best, value = location, reached
    return region[best[:n]], value


def _region(n: int, board: sparse.csr_array, position: FloatArray, usable: IntArray) -> IntArray:
    """A compact part of the board with a little room to spare, around the middle of the largest live part."""
    _, part = sparse.csgraph.connected_components(board, directed=False)
    sizes = np.bincount(part[usable])
    inside = usable[part[usable] == sizes.argmax()] if sizes.max() >= n else usable
    if inside.size <= n + 2:
        return np.sort(inside if inside.size >= n else usable)
    place = position[inside]
    middle = (place.max(axis=0) + place.min(axis=0)) / 2
    distance = np.abs(place - middle).max(axis=1)
    order = np.lexsort((inside, distance))
    return np.sort(inside[order[: min(inside.size, n + max(2, n // 8))]])


def _spectral_starts(w: FloatArray, position: FloatArray) -> list[IntArray]:
    from scipy.optimize import linear_sum_assignment

    n, size = w.shape[0], position.shape[0]
    if n < 3:
        return [np.arange(size)]
    degree = np.maximum(w.sum(axis=1), 1e-300)
    root = 1 / np.sqrt(degree)
    M = np.eye(n) - root[:, None] * w * root
    _, vectors = linalg.eigh(M, subset_by_index=[1, 2])
    vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    layout = root[:, None] * vectors
    layout = (layout - layout.mean(axis=0)) / np.maximum(layout.std(axis=0), 1e-300)
    cells = _ranks(position)
    starts = []
    for angle in _angles(layout, 5 if n <= 400 else 1):
        c, s = np.cos(angle), np.sin(angle)
        where = _ranks(layout @ np.array([[c, -s], [s, c]]))
        for turned in (where, where[:, ::-1]) if n <= 400 else (where,):
            cost = ((turned[:, None] - cells[None]) ** 2).sum(axis=2)
            _, at = linear_sum_assignment(cost)
            starts.append(_completed(at, size))
    return starts


def _angles(layout: FloatArray, count: int) -> FloatArray:
    """Turns of the layout to try. On a lattice the two lowest eigenvectors are mixed by any angle; along its axes they are
    independent of each other, and there the fourth moments are least, as for any square."""
    every = np.linspace(0, np.pi / 2, 181)[:-1]
    c, s = np.cos(every), np.sin(every)
    x, y = layout[:, :1], layout[:, 1:]
    moments = ((x * c + y * s) ** 4 + (y * c - x * s) ** 4).mean(axis=0)
    return np.asarray(every[int(moments.argmin())] + np.arange(count) * np.pi / 2 / count)


def _ranks(x: FloatArray) -> FloatArray:
    """Each coordinate replaced by its rank in 0 … 1, ties by their mean."""
    out = np.empty_like(x, dtype=np.float64)
    for k in range(x.shape[1]):
        _, inverse, count = np.unique(np.round(x[:, k], 9), return_inverse=True, return_counts=True)
        middle = np.cumsum(count) - (count + 1) / 2
        out[:, k] = middle[inverse] / max(x.shape[0] - 1, 1)
    return out


def _random_starts(n: int, size: int, rng: np.random.Generator) -> list[IntArray]:
    return [rng.permutation(size) for _ in range(60 if n <= 12 else 12 if n <= 64 else 0)]


def _completed(at: IntArray, size: int) -> IntArray:
    """Locations of all items when the empty ones take what is left."""
    rest = np.setdiff1d(np.arange(size), at)
    return np.concatenate([at, rest])


def _exchange(w: FloatArray, B: sparse.csr_array, start: IntArray) -> tuple[IntArray, float]:
    """The best exchange of two items again and again. C[i, l] is what item i would be worth at location l."""
    location = start.copy()
    item = np.argsort(location)
    C = np.asarray((B @ w[:, item].T).T)
    n = w.shape[0]
    everyone = np.arange(n)
    for _ in range(20 * n):
        by_item = C[:, location]
        own = by_item[everyone, everyone]
        gain = (
            by_item + by_item.T - own[:, None] - own + 2 * w * np.asarray(B[location][:, location].todense())
        )
        best = int(gain.argmax())
        a, b = divmod(best, n)
        if gain[a, b] <= 1e-12:
            break
        la, lb = location[a], location[b]
        change = w[:, b] - w[:, a]
        near_a, near_b = (
            B.indices[B.indptr[la] : B.indptr[la + 1]],
            B.indices[B.indptr[lb] : B.indptr[lb + 1]],
        )
        C[:, near_a] += change[:, None]
        C[:, near_b] -= change[:, None]
        location[a], location[b] = lb, la
    return location, float(C[everyone, location].sum() / 2)
