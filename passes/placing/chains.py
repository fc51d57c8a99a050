"""Chains: what an embedding is, what makes it valid, and cutting off what it does not need.

An embedding is a list with the cells of each variable. It is valid when every chain is connected, no two chains share a cell,
and every coupled pair of variables has a coupler between its chains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.passes.placing.board_graph import neighbours

Chains = list[list[int]]


def is_embedding(chains: Chains, model: sparse.csr_array, board: sparse.csr_array) -> bool:
    """Whether `chains` carry `model` [n, n] on the graph `board`."""
    cells = np.array([c for chain in chains for c in chain], dtype=np.int64)
    if (
        len(chains) != model.shape[0]
        or any(not chain for chain in chains)
        or np.unique(cells).size != cells.size
    ):
        return False
    owner = np.full(board.shape[0], -1, dtype=np.int64)
    owner[cells] = np.repeat(np.arange(len(chains)), [len(c) for c in chains])
    i, j = (owner[x] for x in sparse.coo_array(board).coords)
    used = (i >= 0) & (j >= 0)
    n = len(chains)
    touching = np.zeros((n, n), dtype=bool)
    touching[i[used], j[used]] = True
    a, b = sparse.coo_array(model).coords
    off = a != b
    if not touching[a[off], b[off]].all():
        return False
    inside = sparse.coo_array(board)
    same = (owner[inside.row] == owner[inside.col]) & (owner[inside.row] >= 0)
    graph = sparse.coo_array((np.ones(same.sum()), (inside.row[same], inside.col[same])), shape=board.shape)
    _, label = csgraph.connected_components(graph, directed=False)
    return all(np.unique(label[chain]).size == 1 for chain in chains)


def trim(chains: Chains, model: sparse.csr_array, board: sparse.csr_array) -> Chains:
    """The same embedding without cells that no coupling and no connection needs, the ends of long chains first."""
    near = [row.tolist() for row in neighbours(board)]
    wanted = [set(row.tolist()) for row in neighbours(model)]
    owner = {c: i for i, chain in enumerate(chains) for c in chain}
    count: dict[tuple[int, int], int] = {}
    for c, i in owner.items():
        for d in near[c]:
            j = owner.get(d, -1)
            if j >= 0 and j != i:
                count[i, j] = count.get((i, j), 0) + 1
    kept = [list(chain) for chain in chains]
    changed = True
    while changed:
        changed = False
        for i in sorted(range(len(kept)), key=lambda i: (-len(kept[i]), i)):
            again = True
            while again:
                again = False
                for c in _spare(kept[i], near):
                    touched: dict[int, int] = {}
                    for d in near[c]:
                        j = owner.get(d, -1)
                        if j >= 0 and j != i:
                            touched[j] = touched.get(j, 0) + 1
                    if any(j in wanted[i] and count[i, j] <= t for j, t in touched.items()):
                        continue
                    for j, t in touched.items():
                        count[i, j] -= t
                        count[j, i] -= t
                    kept[i].remove(c)
                    del owner[c]
                    again = changed = True
    return kept


def _spare(chain: Sequence[int], near: list[list[int]]) -> list[int]:
    """Cells without which the chain stays connected."""
    if len(chain) == 1:
        return []
    inside = set(chain)
    links = {c: [d for d in near[c] if d in inside] for c in chain}
    if sum(map(len, links.values())) == 2 * (len(chain) - 1):
        return [c for c in chain if len(links[c]) == 1]  # a tree: its leaves
    return [c for c in chain if len(_reached(next(d for d in chain if d != c), c, links)) == len(chain) - 1]


def _reached(start: int, without: int, links: dict[int, list[int]]) -> set[int]:
    seen, stack = {start}, [start]
    while stack:
        for d in links[stack.pop()]:
            if d != without and d not in seen:
                seen.add(d)
                stack.append(d)
    return seen
