"""Why a model cannot be on a board, proved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.passes.placing.board_graph import neighbours

Label = Callable[[int], str]


def no_placement(model: sparse.csr_array, board: sparse.csr_array, usable: IntArray, label: Label) -> str:
    """A proof that one cell a variable does not suffice, or an empty string when none is found quickly."""
    import networkx as nx

    degree = np.diff(model.indptr)
    worst = int(degree.argmax()) if degree.size else 0
    most = int(np.diff(board.indptr)[usable].max(initial=0))
    if degree.size and degree[worst] > most:
        return f"{label(worst)} is coupled to {degree[worst]} others, but no working cell has more than {most} couplers"
    if model.nnz > board.nnz:
        return f"the model has {model.nnz // 2} couplings, the device {board.nnz // 2} working couplers"
    if nx.is_bipartite(nx.from_scipy_sparse_array(board)):
        cycle = _odd_cycle(model)
        if cycle:
            return f"{_some(cycle, label)} form an odd cycle, and the device's couplers have none"
    return ""


def no_embedding(
    model: sparse.csr_array, board: sparse.csr_array, usable: IntArray, position: FloatArray, label: Label
) -> str:
    """A proof that chains do not help either, or an empty string when none is found."""
    import networkx as nx

    if model.nnz > board.nnz:
        return f"the model has {model.nnz // 2} couplings, the device {board.nnz // 2} working couplers"
    _, part = sparse.csgraph.connected_components(board, directed=False)
    largest = int(np.bincount(part[usable]).max(initial=0))
    _, model_part = sparse.csgraph.connected_components(model, directed=False)
    together = int(np.bincount(model_part).max(initial=0))
    if together > largest:
        return f"{together} variables depend on each other, but at most {largest} working cells are connected"
    planar, _ = nx.check_planarity(nx.from_scipy_sparse_array(board))
    if planar:
        ok, witness = nx.check_planarity(nx.from_scipy_sparse_array(model), counterexample=True)
        if not ok:
            branch = [v for v in witness if witness.degree(v) > 2]
            kind = "each coupled to each" if len(branch) == 5 else "three coupled to each of three"
            return (
                "the device's couplers can be drawn without crossings, the model's cannot: "
                f"{_some(branch, label)} are {kind}, directly or through others"
            )
    low = treewidth_at_least(model)
    high = _treewidth_at_most(board, usable, position)
    if low > high:
        return f"the model's treewidth is at least {low}, the device's at most {high}, and chains cannot raise it"
    return ""


def treewidth_at_least(graph: sparse.csr_array) -> int:
    """The minor-min-width bound: contract a node of least degree into its least coupled neighbour, over and over; the
    largest least degree met bounds the treewidth (Gogate and Dechter 2004)."""
    near = {v: set(row.tolist()) - {v} for v, row in enumerate(neighbours(graph))}
    bound = 0
    while near:
        v = min(near, key=lambda u: (len(near[u]), u))
        bound = max(bound, len(near[v]))
        others = near.pop(v)
        for u in others:
            near[u].discard(v)
        if others:
            to = min(others, key=lambda u: (len(near[u] & others), u))
            for u in others - {to}:
                near[u].add(to)
                near[to].add(u)
    return bound


def _treewidth_at_most(board: sparse.csr_array, usable: IntArray, position: FloatArray) -> int:
    """The vertex separation of a sweep across the drawing, along either axis: a path decomposition's width."""
    best = usable.size
    for axes in ((0, 1), (1, 0)):
        order = usable[np.lexsort((position[usable, axes[1]], position[usable, axes[0]]))]
        rank = np.full(board.shape[0], -1, dtype=np.int64)
        rank[order] = np.arange(order.size)
        i, j = (rank[k] for k in sparse.coo_array(board).coords)
        last = np.arange(order.size)
        np.maximum.at(last, i[(i >= 0) & (j >= 0)], j[(i >= 0) & (j >= 0)])
        # Cell k stays open from its own turn until its last neighbour's.
        step = np.zeros(order.size + 1, dtype=np.int64)
        step[: order.size] += 1
        np.subtract.at(step, last, 1)
        best = min(best, int(np.cumsum(step)[: order.size].max(initial=0)))
    return best


def _odd_cycle(graph: sparse.csr_array) -> list[int]:
    """A cycle with an odd number of nodes, or nothing."""
    near = [row.tolist() for row in neighbours(graph)]
    colour, parent = [-1] * len(near), [-1] * len(near)
    for start in range(len(near)):
        if colour[start] >= 0:
            continue
        colour[start], queue = 0, [start]
        for v in queue:
            for w in near[v]:
                if colour[w] < 0:
                    colour[w], parent[w] = 1 - colour[v], v
                    queue.append(w)
                elif colour[w] == colour[v]:
                    up_v, up_w = [v], [w]
                    while up_v[-1] != up_w[-1]:
                        up_v.append(parent[up_v[-1]])
                        up_w.append(parent[up_w[-1]])
                    return up_v + up_w[-2::-1]
    return []


def _some(nodes: list[int], label: Label) -> str:
    names = [label(int(v)) for v in nodes[:6]]
    return ", ".join(names) + (f" and {len(nodes) - 6} more" if len(nodes) > 6 else "")
