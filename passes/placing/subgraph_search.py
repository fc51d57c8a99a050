"""Exact search for a placement without chains: a subgraph monomorphism of the model into the device's live graph.

Backtracking with a set of candidate cells for every variable. Two facts prune it, both consequences of "neighbours go to
neighbours": what is within k steps of a variable lies within k steps of its cell, so (1) the ball around the cell has at
least as many cells as the ball around the variable has variables, for every k, before anything is placed, and (2) once u
sits at v, every w may only sit in the ball of radius dist(u, w) around v. On lattices (1) alone nearly fixes the centre.
The next variable is the one with the fewest candidates per failure it has caused so far (dom/wdeg, Boussemart et al. 2004),
with restarts; an exhausted search is a proof that there is no placement.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import IntArray
from spucc.passes.placing.board_graph import balls, members, neighbours

_FIRST_BUDGET = 2_000


def find_monomorphism(
    model: sparse.csr_array, board: sparse.csr_array, usable: IntArray, budget: int = 30_000
) -> tuple[IntArray | None, bool]:
    """A cell for each node of `model` so that its edges are edges of `board`, and whether the answer is proved.

    `usable` are the cells that may be taken. `budget` bounds the number of search steps in all; None with False means that
    it ran out.
    """
    n = model.shape[0]
    if n > usable.size or model.nnz > board.nnz:
        return None, True
    distance = csgraph.shortest_path(model, unweighted=True) if n else np.zeros((0, 0))
    finite = np.where(np.isfinite(distance), distance, -1).astype(np.int64)
    ball = balls(board, int(finite.max(initial=0)))
    candidates = _candidates(model, board, usable, finite, ball)
    if any(c == 0 for c in candidates):
        return None, True
    search = _Search(finite, ball, candidates, np.diff(model.indptr))
    limit, spent = _FIRST_BUDGET, 0
    while spent < budget:
        found, steps, exhausted = search.run(min(limit, budget - spent))
        spent += steps
        if found is not None:
            return np.array(found, dtype=np.int64), True
        if exhausted:
            return None, True
        limit *= 2
    return None, False


def _candidates(
    model: sparse.csr_array,
    board: sparse.csr_array,
    usable: IntArray,
    distance: IntArray,
    ball: list[list[int]],
) -> list[int]:
    """Where each variable could sit by the sizes of balls and by its neighbours' degrees."""
    n, nodes = model.shape[0], board.shape[0]
    radius = int(distance.max(initial=0))
    wanted = np.stack([((distance >= 0) & (distance <= k)).sum(axis=1) for k in range(radius + 1)], axis=1)
    sizes = np.array([[value.bit_count() for value in row] for row in ball]).T
    if sizes.shape[1] <= radius:
        sizes = np.concatenate([sizes, np.repeat(sizes[:, -1:], radius + 1 - sizes.shape[1], axis=1)], axis=1)
    width = int(max(np.diff(model.indptr).max(initial=0), np.diff(board.indptr).max(initial=0)))
    degrees_m, degrees_b = _neighbour_degrees(model, width), _neighbour_degrees(board, width)
    allowed = np.zeros(nodes, dtype=bool)
    allowed[usable] = True
    found = []
    for u in range(n):
        ok = allowed & (sizes >= wanted[u]).all(axis=1) & (degrees_b >= degrees_m[u]).all(axis=1)
        found.append(int.from_bytes(np.packbits(ok, bitorder="little").tobytes(), "little"))
    return found


def _neighbour_degrees(graph: sparse.csr_array, width: int) -> IntArray:
    """Each node's neighbours' degrees, largest first, padded with zeros to `width`: injective maps keep the order."""
    degree = np.diff(graph.indptr)
    table = np.zeros((graph.shape[0], width), dtype=np.int64)
    for v, row in enumerate(neighbours(graph)):
        table[v, : row.size] = np.sort(degree[row])[::-1]
    return table


class _Search:
    """The state that survives restarts: how often each variable ran out of cells."""

    def __init__(
        self, distance: IntArray, ball: list[list[int]], candidates: list[int], degree: IntArray
    ) -> None:
        self.n = distance.shape[0]
        self.candidates = candidates
        self.ball = ball
        top = len(ball) - 1
        self.distance, self.top = distance, top
        self.reach: dict[int, list[tuple[int, int]]] = {}
        self.edges = np.argwhere(distance == 1).tolist()
        self.weight = (1.0 + degree / (1.0 + degree.max(initial=0))).tolist()
        slack = np.array([sum(row[v].bit_count() for row in ball) for v in range(len(ball[0]))])
        self.rank = slack.tolist()

    def run(self, limit: int) -> tuple[list[int] | None, int, bool]:
        """A placement or None, the steps spent, and whether everything was tried."""
        place = [-1] * self.n
        domains = list(self.candidates)
        stack: list[tuple[int, list[int], list[int]]] = []  # variable, cells left to try, domains before it
        steps = 0
        while True:
            u = self._choose(domains, place)
            if u < 0:
                return place, steps, True
            cells = sorted(members(domains[u]), key=self.rank.__getitem__, reverse=True)
            stack.append((u, cells, domains))
            while stack:
                u, cells, domains = stack[-1]
                place[u] = -1
                if not cells:
                    stack.pop()
                    continue
                v = cells.pop()
                steps += 1
                if steps > limit:
                    return None, steps, False
                narrowed = self._assign(u, v, domains, place)
                if narrowed is not None:
                    place[u] = v
                    domains = narrowed
                    last = self._decided(domains)
                    if last is not None:
                        return last, steps, True
                    break
            else:
                return None, steps, True

    def _constraints(self, u: int) -> list[tuple[int, int]]:
        """The other variables with their distances from u, the nearest first because they fail first; beyond the board's
        diameter there are none."""
        if u not in self.reach:
            row = self.distance[u]
            order = np.argsort(row, kind="stable")
            order = order[(row[order] > 0) & (row[order] <= self.top)]
            self.reach[u] = list(zip(order.tolist(), row[order].tolist()))
        return self.reach[u]

    def _decided(self, domains: list[int]) -> list[int] | None:
        """The placement, once every variable has one cell left and these serve."""
        if any(d & (d - 1) for d in domains):
            return None
        place = [d.bit_length() - 1 for d in domains]
        near = self.ball[min(1, self.top)]
        if len(set(place)) < self.n or not all(near[place[u]] >> place[w] & 1 for u, w in self.edges):
            return None
        return place

    def _choose(self, domains: list[int], place: list[int]) -> int:
        best, score = -1, float("inf")
        for u in range(self.n):
            if place[u] < 0:
                value = domains[u].bit_count() / self.weight[u]
                if value < score:
                    best, score = u, value
        return best

    def _assign(self, u: int, v: int, domains: list[int], place: list[int]) -> list[int] | None:
        """Candidates after u takes v, or None when a variable has none left."""
        others = ~(1 << v)
        narrowed = [d & others for d in domains]
        for w, k in self._constraints(u):
            if place[w] < 0:
                narrowed[w] &= self.ball[k][v]
                if not narrowed[w]:
                    self.weight[w] += 1.0
                    return None
        for w in range(self.n):
            if not narrowed[w] and w != u and place[w] < 0:
                self.weight[w] += 1.0
                return None
        narrowed[u] = 1 << v
        return narrowed
