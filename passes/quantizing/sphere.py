"""The best codes of a small board with a proof: every setting that could be better is ruled out, or how much better is bounded.

At fixed read-out scales let X = I + E be the whitened precision, KL = ½(tr X − log det X − n), E linear in the indices. On a
reduced basis the indices are whole combinations z, decided from the last to the first. Once z_p for p ≥ l are decided, E is
E⊥ plus anything in the span of the first l basis matrices (E⊥ is orthogonal to them), and for every s

    KL ≥ ½ Σ_i [log(1 − sμ_i) + sμ_i + sμ_i²],    μ_i the eigenvalues of E⊥, sμ_i < 1:

the Lagrange dual of the convex problem with the rest of z real, at the multiplier −sE⊥ (s = 1 to second order is ¼‖E⊥‖², the
ball of Fincke and Pohst 1985). A branch whose bound exceeds a threshold is cut; a finished search proves that no legal
setting at these scales is below the threshold. Thresholds rise towards the best divergence found, at a cost that grows with the
m/2-th power, so that a search that is cut short has still proved the threshold before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray
from spucc.passes.quantizing import lattice_reduction, relaxed
from spucc.passes.quantizing.boxed import branched
from spucc.passes.quantizing.closest import indices
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.fisher import Law, divergence, refit

LARGEST = 6
"""Cells that are still searched exactly."""
_CHUNK = 1024
"""Branches that are opened at a time, and how many are priced at a time."""
_PRICED = 16384
_SHARES = (1e-3, 0.01, 0.1, 0.25, 0.5, 0.7, 0.85, 1.0)
"""Thresholds as shares of the best divergence known."""


@dataclass(frozen=True, eq=False)
class Proved:
    """Indices [m], scales [n], divergence (nats), and a `bound` (nats) that no legal indices at these scales are below; the
    optimum is proved when that is the divergence itself."""

    k: FloatArray
    r: FloatArray
    kl: float
    bound: float


def radius(kl: float) -> float:
    """The largest ‖E‖² of a setting whose divergence is at most `kl` nats.

    KL ≥ ½(‖E‖ − log(1 + ‖E‖)), since ½(ε − log(1 + ε)) over ε² falls with ε.
    """
    if kl < 1e-13:
        return 4.0 * max(kl, 0.0) * (1.0 + 1e-6)
    from scipy.optimize import brentq

    edge = brentq(
        lambda e: 0.5 * (e - math.log1p(e)) - kl, 1.9 * math.sqrt(kl), 4 * kl + 4 * math.sqrt(kl) + 1e-9
    )
    return float(edge) ** 2


def least(share: FloatArray, rounds: int = 6) -> FloatArray:
    """The bound [N] above in nats for the eigenvalues of E⊥ [N, n]: some Newton steps in s, each of which is valid."""
    top = np.maximum(share.max(axis=1), 0.0)
    limit = np.where(top > 0, 0.98 / np.where(top > 0, top, 1.0), np.inf)
    s = np.minimum(1.0, limit)
    for _ in range(rounds):
        left = 1.0 - s[:, None] * share
        ratio = share / left
        slope = np.sum(share + share**2 - ratio, axis=1)
        curvature = np.sum(ratio**2, axis=1)
        s = np.clip(s + slope / np.maximum(curvature, 1e-300), 0.5 * s, np.minimum(4.0 * s, limit))
    scaled = s[:, None] * share
    return np.asarray(0.5 * np.sum(np.log1p(-scaled) + scaled + scaled * share, axis=1))


class _Tree:
    """The decisions on a reduced basis about one wanted point."""

    def __init__(self, book: Codebook, law: Law, matrix: FloatArray, r: FloatArray) -> None:
        self.book = book
        n = book.n
        f, _ = relaxed.tangents(book, law, matrix * np.outer(r, r), r)
        columns = f * book.levels.step
        triangle = lattice_reduction.triangle_of(columns)
        triangle, self.basis = lattice_reduction.reduce(triangle)
        # The order of the eigenvalues' rows: a symmetric matrix is stacked with √2 times its off-diagonal entries.
        q, self.triangle = np.linalg.qr(columns @ self.basis)
        row, col = np.triu_indices(n)
        stacked = np.zeros((book.size, n, n))
        part = q.T / np.where(row == col, 1.0, math.sqrt(2.0))
        stacked[:, row, col] = part
        stacked[:, col, row] = part
        self.frame = stacked.reshape(book.size, n * n)
        self.centre = np.linalg.solve(self.basis, indices(book, matrix, r[None])[0])

    def eigenvalues(self, level: int, offset: FloatArray) -> FloatArray:
        """Of E⊥ [N, n] where z − c = `offset` [N, m] is decided from `level` on."""
        n = self.book.n
        e = offset[:, level:] @ self.triangle[level:, level:].T @ self.frame[level:]
        return np.asarray(np.linalg.eigvalsh(e.reshape(-1, n, n)))

    def below(
        self, threshold: float, budget: list[int], stop: Callable[[], bool]
    ) -> tuple[bool, FloatArray | None, float]:
        """Whether everything below a threshold [nats] was looked at, and the best legal setting met with its divergence.

        The threshold falls to the divergence of what is met. `budget[0]` counts down the branches that may be priced.
        """
        m = self.book.size
        best: FloatArray | None = None
        ball = radius(threshold)
        # Of each level: offsets and squared lengths of branches not opened yet.
        open_: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in range(m)]
        open_.append([(np.zeros((1, m)), np.zeros(1))])
        level = 0
        while True:
            level = next((at for at in range(1, m + 1) if open_[at]), 0)
            if not level:
                return True, best, threshold
            if budget[0] <= 0 or stop():
                return False, best, threshold
            offset, length = open_[level].pop()
            if length.size > _CHUNK:
                open_[level].append((offset[_CHUNK:], length[_CHUNK:]))
                offset, length = offset[:_CHUNK], length[:_CHUNK]
            offset, length = self._opened(level - 1, offset, length, ball)
            budget[0] -= length.size
            kept_offset, kept_length = [], []
            for at in range(0, length.size, _PRICED):
                o, part = offset[at : at + _PRICED], length[at : at + _PRICED]
                share = self.eigenvalues(level - 1, o)
                if level > 1:
                    keep = least(share) <= threshold * (1 + 1e-9)
                    kept_offset.append(o[keep])
                    kept_length.append(part[keep])
                    continue
                inside = np.maximum(share, -1.0 + 1e-15)
                kl = np.where(share[:, 0] > -1.0, 0.5 * np.sum(inside - np.log1p(inside), axis=1), np.inf)
                for row in np.argsort(kl, kind="stable"):
                    if not kl[row] < threshold * (1 - 1e-9):
                        break
                    k = np.rint(self.basis @ (o[row] + self.centre))
                    levels = self.book.levels
                    if ((k >= levels.first) & (k <= levels.last)).all():
                        best, threshold = k, float(kl[row])
                        ball = radius(threshold)
                        break
            if kept_length:
                o, part = np.concatenate(kept_offset), np.concatenate(kept_length)
                order = np.argsort(part, kind="stable")
                if order.size:
                    open_[level - 1].append((o[order], part[order]))

    def _opened(
        self, level: int, offset: FloatArray, length: FloatArray, ball: float
    ) -> tuple[FloatArray, FloatArray]:
        """All children within the ball of branches, with their squared lengths."""
        height = abs(self.triangle[level, level])
        middle = -(offset[:, level + 1 :] @ self.triangle[level, level + 1 :]) / self.triangle[level, level]
        reach = np.sqrt(np.maximum(ball * (1 + 1e-9) - length, 0.0)) / height
        first = np.ceil(middle - reach + self.centre[level])
        count = np.maximum(np.floor(middle + reach + self.centre[level]) - first + 1, 0).astype(np.int64)
        parent = np.repeat(np.arange(length.size), count)
        rank = np.arange(parent.size) - np.repeat(np.cumsum(count) - count, count)
        child = offset[parent]
        child[:, level] = first[parent] + rank - self.centre[level]
        return child, length[parent] + (height * (child[:, level] - middle[parent])) ** 2


def exact(
    book: Codebook,
    law: Law,
    matrix: FloatArray,
    k: FloatArray,
    r: FloatArray,
    limit: int = 50_000,
    boxes: int = 100,
    stop: Callable[[], bool] = lambda: False,
) -> Proved:
    """From a setting, the best one at its scales, refitted and searched again until both stay. Even levels only.

    `limit` is how many branches of the lattice may be priced in all; where they do not suffice it is the ranges that keep the
    best codes from the wanted point, and some `boxes` of codes are bounded as well.
    """
    budget = [limit]
    kl = divergence(law, book.dense(book.levels.value(k)), r)
    for last in (False, False, False, True):
        start = k
        tree, bound = _Tree(book, law, matrix, r), 0.0
        for share in _SHARES:
            whole, found, value = tree.below(share * kl, budget, stop)
            if found is not None:
                k, kl = found, value
            if whole:
                bound = value
            if not whole or found is not None:
                break
        if bound < kl:
            k, kl, other = branched(book, law, k, r, kl, boxes, stop)
            bound, boxes = max(bound, other), boxes // 2
        if last or bool((k == start).all()):
            break
        r = refit(law, book.dense(book.levels.value(k)), r)
        kl = divergence(law, book.dense(book.levels.value(k)), r)
    return Proved(k, r, kl, min(bound, kl))
