"""A sparse linear read-out x = T y whose cells y have a precision K = TᵀPT that capacitors can realise (physics §2).

T is unit upper triangular in an order of the variables. For each pair i < l either T_il is free and K_il = 0
(the pair is the host's: one multiplication a draw), or T_il = 0 and the coupling K_il stays on the board.
Column l of T, with the host's pairs S, solves the linear system

    t_iᵀ P t_l = 0 for i ∈ S,   t_l = e_l + Σ_{i ∈ S} T_il e_i.

All pairs to the host is conjugate Gram–Schmidt, the Cholesky read-out with K diagonal; none is K = P. For a
dense P every coupling that stays on the board saves one multiplication, so each column keeps as many as the
board can hold, the weakest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray, IntArray

Accept = Callable[[FloatArray], bool]
"""Whether the board can hold cells of precision K [m, m]. If it holds K it holds K's principal submatrices."""

COLUMNS = 160
"""Up to so many variables every column is searched; beyond, that would take minutes."""

TINY = 1e-13
"""Entries of T and K below this, in units of the diagonal, are zero but for rounding."""


@dataclass(frozen=True, eq=False)
class Readout:
    """x = T y, K = TᵀPT; `multiplications` counts the entries of T off its unit diagonal, `kept` the couplings
    on the board."""

    k: FloatArray
    t: FloatArray

    @property
    def multiplications(self) -> int:
        return int(np.count_nonzero(self.t)) - len(self.t)

    @property
    def kept(self) -> int:
        return (int(np.count_nonzero(self.k)) - len(self.k)) // 2


def search(p: FloatArray, accept: Accept, tile: int = 10**9, trials: int = 6000, orders: int = 4) -> Readout:
    """The read-out with the fewest multiplications that was found, and among equals with the most couplings on
    the board.

    P [n, n] has a unit diagonal. `orders` of the orders that cost Cholesky least are worked out, with at most
    `trials` tests of a column; of models beyond `COLUMNS` variables only whole blocks are kept. No component on
    the board may have more than `tile` cells.
    """
    if p.shape[0] > COLUMNS:
        least = minimum_degree(p)
        spoilers = peel(p, accept)
        kept = np.concatenate([least[~np.isin(least, spoilers)], spoilers])
        closed = (blocks(p, least, 0), blocks(p, kept, p.shape[0] - spoilers.size))
        return min(closed, key=lambda r: (r.multiplications, -r.kept))
    ranked = sorted(_orders(p, accept), key=lambda o: cholesky_cost(p, o))
    best: Readout | None = None
    for order in ranked[:orders]:
        found = greedy(p, order, accept, tile, trials // orders)
        if best is None or (found.multiplications, -found.kept) < (best.multiplications, -best.kept):
            best = found
    assert best is not None
    return best


def greedy(p: FloatArray, order: IntArray, accept: Accept, tile: int, trials: int) -> Readout:
    """Column by column: hand all pairs to the host, then give them back in batches that are halved when they fail."""
    n = p.shape[0]
    a = p[np.ix_(order, order)]
    t, k = np.eye(n), np.eye(n)
    left = np.zeros((n, n))  # rows t_iᵀ P
    left[0] = a[0]
    k[0, 0] = a[0, 0]
    for l in range(1, n):
        host = np.flatnonzero(np.abs(left[:l, :l]).max(axis=1) > 0)
        column, row = _column(left, a, host, l)
        used = host[column[host] != 0]
        # The board cannot hold a pair for nothing: pairs that cost the host nothing stay where they are.
        strength = np.abs(column[used]) * np.sqrt(np.diagonal(k)[used])
        queue = used[np.argsort(strength, kind="stable")]
        share = max(trials // max(n - l, 1), 4)
        for batch, halve in _batches(k[:l, :l], queue, tile):
            pending = [batch]
            while pending and share > 0:
                part = pending.pop()
                part = part[np.isin(part, host) & (column[part] != 0)]
                if part.size == 0:
                    continue
                fewer = host[~np.isin(host, part)]
                share, trials = share - 1, trials - 1
                trial, new_row = _column(left, a, fewer, l)
                cheaper = np.count_nonzero(trial) < np.count_nonzero(column)
                if cheaper and accept(_bordered(k, new_row, l)):
                    column, row, host = trial, new_row, fewer
                elif halve and part.size > 1:
                    half = part.size // 2
                    pending += [part[half:], part[:half]]
        t[:, l] = column
        k[: l + 1, l] = k[l, : l + 1] = row
        left[l] = column @ a
    back = np.argsort(order)
    return Readout(k[np.ix_(back, back)], t[np.ix_(back, back)])


def _column(left: FloatArray, a: FloatArray, host: IntArray, l: int) -> tuple[FloatArray, FloatArray]:
    """Column l of T for the host's pairs, and row l of K up to the diagonal. An ill-posed system is answered
    with NaN, which no board accepts."""
    n = a.shape[0]
    column = np.zeros(n)
    column[l] = 1.0
    if host.size:
        try:
            column[host] = np.linalg.solve(left[np.ix_(host, host)], -left[host, l])
        except np.linalg.LinAlgError:
            return np.full(n, np.nan), np.full(l + 1, np.nan)
    column[np.abs(column) < TINY] = 0.0
    product = a @ column
    row = np.append(left[:l] @ column, column @ product)
    row[:l][host] = 0.0
    row[:l][np.abs(row[:l]) < TINY * np.sqrt(max(row[l], 0.0))] = 0.0
    return column, row


def _batches(k: FloatArray, queue: IntArray, tile: int) -> Iterator[tuple[IntArray, bool]]:
    """What to try to give back together, and whether to halve it when it fails: all of it, then each small
    component of what is on the board, the largest first, then all pairs again from the weakest. A component of
    `tile` cells takes no more."""
    count, label = csgraph.connected_components(sparse.csr_array(k), directed=False)
    size = np.bincount(label, minlength=count)
    queue = queue[size[label[queue]] < tile]
    if queue.size <= tile:
        yield queue, False
    for part in np.argsort(-size, kind="stable"):
        members = queue[label[queue] == part]
        if 1 < members.size <= 8 and members.size < queue.size:
            yield members, False
    yield queue, queue.size <= tile or tile >= k.shape[0]
    if queue.size > tile and tile < k.shape[0]:
        for pair in queue:
            yield np.array([pair]), False


def _bordered(k: FloatArray, row: FloatArray, l: int) -> FloatArray:
    grown = k[: l + 1, : l + 1].copy()
    grown[l] = grown[:, l] = row
    return grown


def blocks(p: FloatArray, order: IntArray, rest: int) -> Readout:
    """The closed form when the first `rest` variables of `order` keep all their couplings among themselves and
    the host has the others: x_R = y_R − P_RR⁻¹P_RS x_S, x_S = L⁻ᵀ y_S of the Schur complement. O(n³), for
    models too large for `search`."""
    n = p.shape[0]
    a = p[np.ix_(order, order)]
    t, k = np.eye(n), np.eye(n)
    schur = a
    if rest:
        k[:rest, :rest] = a[:rest, :rest]
        shift = linalg.solve(a[:rest, :rest], a[:rest, rest:], assume_a="pos")
        schur = a[rest:, rest:] - a[rest:, :rest] @ shift
    if rest < n:
        factor = linalg.cholesky((schur + schur.T) / 2, lower=True)
        pivot = np.diagonal(factor)
        corner = linalg.solve_triangular(factor.T, np.diag(pivot), lower=False)
        t[rest:, rest:] = corner
        k[rest:, rest:] = np.diag(pivot**2)
        if rest:
            t[:rest, rest:] = -shift @ corner
    t[np.abs(t) < TINY] = 0.0
    back = np.argsort(order)
    return Readout(k[np.ix_(back, back)], t[np.ix_(back, back)])


def cholesky_cost(p: FloatArray, order: IntArray) -> int:
    """The multiplications of the read-out that leaves nothing on the board: entries of L⁻ᵀ off its diagonal."""
    factor = linalg.cholesky(p[np.ix_(order, order)], lower=True)
    inverse = linalg.solve_triangular(factor, np.eye(order.size), lower=True)
    size = np.abs(inverse * np.diagonal(factor)[None, :])
    return int((size > TINY).sum()) - order.size


def _orders(p: FloatArray, accept: Accept) -> Iterator[IntArray]:
    """Orders worth trying: the user's and its reverse, minimum degree both ways, on P and on what is left when
    the variables that spoil P go last, and a few at random when there are few variables."""
    n = p.shape[0]
    natural = np.arange(n)
    yield natural
    yield natural[::-1].copy()
    least = minimum_degree(p)
    yield least
    yield least[::-1].copy()
    spoilers = peel(p, accept)
    if 0 < spoilers.size < n - 1:
        for order in (natural, least):
            yield np.concatenate([order[~np.isin(order, spoilers)], spoilers])
    rng = np.random.Generator(np.random.Philox(n))
    for _ in range(6 if n <= 12 else 0):
        yield rng.permutation(n)


def peel(p: FloatArray, accept: Accept) -> IntArray:
    """Variables without which the board could hold P as it is, those with most weight in the Perron vector
    first removed; returned in reverse order of removal."""
    rest = np.arange(p.shape[0])
    gone: list[int] = []
    while rest.size > 1 and not accept(p[np.ix_(rest, rest)]):
        part = np.abs(p[np.ix_(rest, rest)])
        np.fill_diagonal(part, 0.0)
        _, vectors = linalg.eigh(part, subset_by_index=[rest.size - 1, rest.size - 1])
        worst = int(np.argmax(np.abs(vectors[:, 0])))
        gone.append(int(rest[worst]))
        rest = np.delete(rest, worst)
    return np.array(gone[::-1], dtype=np.int64)


def minimum_degree(p: FloatArray) -> IntArray:
    """A minimum-degree elimination order; among equals the variable with the weakest couplings first."""
    n = p.shape[0]
    graph = p != 0
    np.fill_diagonal(graph, False)
    a = 1.0 / np.sqrt(np.diagonal(p))
    weight = (np.abs(p * np.outer(a, a)).sum(axis=1) - 1.0) / (2 * n)
    alive = np.ones(n, dtype=bool)
    order = np.empty(n, dtype=np.int64)
    for step in range(n):
        v = int(np.argmin(np.where(alive, graph.sum(axis=1) + weight, np.inf)))
        order[step] = v
        near = np.flatnonzero(graph[v])
        graph[np.ix_(near, near)] = True
        graph[near, near] = False
        graph[v] = graph[:, v] = False
        alive[v] = False
    return order
