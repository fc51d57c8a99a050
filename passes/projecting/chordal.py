"""The projection onto a chordal pattern, in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray


def perfect_elimination(n: int, edges: IntArray) -> IntArray | None:
    """A perfect elimination order of the pattern, or None when it is not chordal (maximum cardinality search)."""
    if edges.shape[0] > 40 * n:
        return None
    near: list[set[int]] = [set() for _ in range(n)]
    for i, j in edges.tolist():
        near[i].add(j)
        near[j].add(i)
    weight = [0] * n
    buckets: list[set[int]] = [set(range(n))] + [set() for _ in range(n)]
    top, done = 0, [False] * n
    order: list[int] = []
    for _ in range(n):
        while not buckets[top]:
            top -= 1
        v = min(buckets[top]) if n <= 2000 else next(iter(buckets[top]))
        buckets[top].discard(v)
        done[v] = True
        order.append(v)
        for u in near[v]:
            if not done[u]:
                buckets[weight[u]].discard(u)
                weight[u] += 1
                buckets[weight[u]].add(u)
        top += 1
    order.reverse()
    place = {v: k for k, v in enumerate(order)}
    for v in order:
        later = [u for u in near[v] if place[u] > place[v]]
        if later:
            parent = min(later, key=place.__getitem__)
            if not all(u == parent or u in near[parent] for u in later):
                return None
    return np.array(order, dtype=np.int64)


def chordal_projection(sigma: FloatArray, edges: IntArray, order: IntArray) -> sparse.csr_array:
    """The closed form on a chordal pattern: along a perfect elimination order each variable is regressed on its later
    neighbours, Q = Σ_v (e_v − β)(e_v − β)ᵀ/s_v."""
    n = sigma.shape[0]
    place = np.argsort(order)
    near: list[list[int]] = [[] for _ in range(n)]
    for i, j in edges.tolist():
        first, last = (i, j) if place[i] < place[j] else (j, i)
        near[first].append(last)
    rows, cols, data = [], [], []
    for v in range(n):
        later = near[v]
        beta = (
            linalg.solve(sigma[np.ix_(later, later)], sigma[later, v], assume_a="pos")
            if later
            else np.zeros(0)
        )
        rest = sigma[v, v] - (sigma[v, later] @ beta if later else 0.0)
        index = np.array([v, *later])
        vector = np.concatenate([[1.0], -beta])
        size = index.size
        rows.append(np.repeat(index, size))
        cols.append(np.tile(index, size))
        data.append((np.outer(vector, vector) / rest).ravel())
    parts = (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols)))
    return sparse.csr_array(sparse.coo_array(parts, shape=(n, n)))
