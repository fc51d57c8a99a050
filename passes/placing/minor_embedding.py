"""A general search for chains of cells (minor embedding) on any board.

Chains may overlap at first. Over and over one variable's chain is torn out and laid again: from every coupled variable's chain
run cheapest paths to all cells, where a cell costs more the more chains already use it; the cell that all reach most
cheaply becomes the root, and the chain grows from it along those paths, each from the nearest cell that the chain has
by then. The price of sharing rises until nothing overlaps (Cai, Macready, Roy, arXiv 1406.2741; the growing from the
nearest cell and the final shortening are ours).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray, IntArray
from spucc.passes.placing.board_graph import neighbours
from spucc.passes.placing.chains import Chains, is_embedding, trim

_ROUNDS = 40
_TRIAL = 8
"""Rounds after which a search that gains nothing is given up."""
_FAR = 1e18


def find_embedding(
    model: sparse.csr_array,
    board: sparse.csr_array,
    usable: IntArray,
    rng: np.random.Generator,
    tries: int = 3,
    stop: Callable[[], bool] = lambda: False,
) -> Chains | None:
    """Chains for the nodes of `model` on `board`, the best of `tries` starts that succeed, or None; no start but the
    first once `stop` says so."""
    best: Chains | None = None
    for start in range(tries):
        if start > 0 and stop():
            break
        chains = _Router(model, board, usable, rng).run()
        if chains is None or not is_embedding(chains, model, board):
            continue
        chains = trim(chains, model, board)
        if best is None or _size(chains) < _size(best):
            best = chains
    return best


def _size(chains: Chains) -> tuple[int, int]:
    lengths = [len(c) for c in chains]
    return sum(lengths), max(lengths)


class _Router:
    """Chains on the board and how many use each cell."""

    def __init__(
        self, model: sparse.csr_array, board: sparse.csr_array, usable: IntArray, rng: np.random.Generator
    ) -> None:
        self.near = [row.tolist() for row in neighbours(model)]
        self.cells = [row.tolist() for row in neighbours(board)]
        self.users: list[set[int]] = [set() for _ in self.cells]
        self.n = model.shape[0]
        self.order = _order(model)
        self.board = sparse.csr_array(board, dtype=np.float64, copy=True)
        self.degree = np.diff(board.indptr)
        self.open = np.zeros(board.shape[0], dtype=bool)
        self.open[usable] = True
        self.usage = np.zeros(board.shape[0], dtype=np.int64)
        self.chains: Chains = [[] for _ in range(self.n)]
        self.giving = True
        self.history = np.ones(board.shape[0])
        self.rng = rng

    def _take(self, i: int, cells: list[int]) -> None:
        for c in cells:
            self.users[c].add(i)
        self.usage[cells] += 1
        self.chains[i] = self.chains[i] + cells

    def _leave(self, i: int, cells: list[int]) -> None:
        for c in cells:
            self.users[c].discard(i)
        self.usage[cells] -= 1
        gone = set(cells)
        self.chains[i] = [c for c in self.chains[i] if c not in gone]

    def _prune(self, i: int) -> None:
        """Cut ends off chain i that touch no coupled chain which the rest does not touch, shared ends first."""
        wanted = set(self.near[i])
        touched = {c: wanted & set().union(*(self.users[d] for d in self.cells[c])) for c in self.chains[i]}
        count: dict[int, int] = {}
        for others in touched.values():
            for j in others:
                count[j] = count.get(j, 0) + 1
        again = True
        while again and len(self.chains[i]) > 1:
            again = False
            inside = set(self.chains[i])
            ends = [c for c in self.chains[i] if sum(d in inside for d in self.cells[c]) == 1]
            for c in sorted(ends, key=lambda c: -self.usage[c]):
                if all(count[j] > 1 for j in touched[c]):
                    for j in touched[c]:
                        count[j] -= 1
                    self._leave(i, [c])
                    again = True
                    break

    def run(self) -> Chains | None:
        """Lay all chains until none overlap, then shorten them; None if they still overlap after the last round."""
        base, least, stuck, trace = 1.6, np.inf, 0, list[int]()
        for turn in range(_ROUNDS):
            order = self.order if turn == 0 else self.rng.permutation(self.n)
            for i in order:
                self.reroute(int(i), base)
            self.history[self.usage > 1] += 1.0
            overlap = int(np.maximum(self.usage - 1, 0).sum())
            if overlap == 0:
                return self.tighten()
            stuck = 0 if overlap < least else stuck + 1
            least = min(least, overlap)
            trace.append(overlap)
            # A model too wide for the board overlaps as much as ever when sharing has become dear.
            hopeless = turn >= _TRIAL and overlap > max(self.n / 2, 0.8 * trace[turn - _TRIAL])
            if stuck > 20 or hopeless:
                return None
            base = min(base * 1.3, 1e6)
        return None

    def tighten(self) -> Chains:
        """Lay each chain again where it takes fewer cells and overlaps nothing, until a round saves none."""
        self.giving = False
        self.history[:] = 1.0
        for _ in range(6):
            before = sum(map(len, self.chains))
            for i in sorted(range(self.n), key=lambda i: (-len(self.chains[i]), i)):
                old = self.chains[i]
                self.reroute(i, _FAR)
                new = self.chains[i]
                if len(new) > len(old) or (self.usage[new] > 1).any():
                    self._leave(i, new)
                    self._take(i, old)
            if sum(map(len, self.chains)) == before:
                break
        return self.chains

    def reroute(self, i: int, base: float) -> None:
        """Tear out chain i and lay it again."""
        self._leave(i, self.chains[i])
        if self.giving:
            for j in self.near[i]:
                if len(self.chains[j]) > 1:
                    self._prune(j)
        price = np.where(
            self.open, np.minimum(self.history * base ** self.usage.astype(np.float64), _FAR), np.inf
        )
        placed = [j for j in self.near[i] if self.chains[j]]
        self._take(i, self._join(price, placed) if placed else [self._fresh(price)])

    def _fresh(self, price: FloatArray) -> int:
        """A cheap cell with many couplers."""
        score = price - 1e-3 * self.degree + 1e-4 * self.rng.random(price.size)
        return int(np.argmin(score))

    def _join(self, price: FloatArray, placed: list[int]) -> list[int]:
        """A chain that touches all chains of `placed`."""
        # Entering a cell costs its price; closed cells cost so much that no path uses them.
        self.board.data[:] = np.minimum(price, 1e30)[self.board.indices]
        distances, parents = [], []
        total = np.zeros(price.size)
        for j in placed:
            chain = self.chains[j]
            d, parent, _ = csgraph.dijkstra(
                self.board, directed=True, indices=chain, return_predecessors=True, min_only=True
            )
            d[chain] = price[chain]  # sharing a cell of j has its price too
            distances.append(d)
            parents.append(parent)
            total += d - price
        # A root of its own, behind a shared cell, lets the others make room; a shared root does not: so it counts twice.
        total = np.where(self.open, total + 2 * price, np.inf)
        noise = 1.0 + 1e-6 * self.rng.random(total.size)
        root = int(np.argmin(total * noise))
        chain = [root]
        for k in np.argsort([d[root] for d in distances], kind="stable"):
            j = placed[k]
            target = set(self.chains[j])
            at = int(min(chain, key=lambda c: distances[k][c] - price[c]))
            path = []
            while at not in target and int(parents[k][at]) >= 0 and int(parents[k][at]) not in target:
                at = int(parents[k][at])
                path.append(at)
            path = [c for c in path if c not in chain]
            # The far half goes to j: a chain whose every neighbouring cell is taken can only grow in this way.
            mine = 0 if len(placed) == 1 else (len(path) + 1) // 2
            if not self.giving:
                mine = len(path)
            chain.extend(path[:mine])
            self._take(j, path[mine:])
        return chain


def _order(model: sparse.csr_array) -> IntArray:
    """Each variable next to placed ones: breadth first from the one with most couplings in every component."""
    degree = np.diff(model.indptr)
    seen = np.zeros(model.shape[0], dtype=bool)
    order: list[int] = []
    for start in np.argsort(-degree, kind="stable"):
        if not seen[start]:
            reached = csgraph.breadth_first_order(
                model, int(start), directed=False, return_predecessors=False
            )
            order.extend(int(v) for v in reached)
            seen[reached] = True
    return np.array(order, dtype=np.int64)
