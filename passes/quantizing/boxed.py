"""A proved bound on what any legal codes at fixed read-out scales lose, where the range of the codes is what limits them.

KL = ½(tr X − log det X − n) is convex in the indices k (X the whitened precision, linear in k), so its least value over a box
of real indices bounds that over the whole ones, and from any point x of the box

    KL(k) ≥ KL(x) + Σ_f min(g_f (first_f − x_f), g_f (last_f − x_f)),    g the gradient at x,

needs no faith in how well x was found. X + τI, τ > 0, takes the place of X where no definite point is at hand: that lowers
KL by no more than nτ/2. Boxes are split at the index that is farthest from a whole number, the least bound first.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.fisher import Law, divergence

_SHIFTS = (1e-2, 1e-4, 1e-6)
"""τ, where the start is indefinite: ever smaller, each from the solution for the one before."""


class _Loss:
    """KL at scales r as a function of real indices."""

    def __init__(self, book: Codebook, law: Law, r: FloatArray) -> None:
        half = linalg.cholesky(law.cov, lower=True) / r[:, None]
        origin = book.dense(book.levels.value(np.zeros(book.size)))
        unit = book.dense(book.levels.value(np.eye(book.size))) - origin
        self.origin, self.unit = half.T @ origin @ half, half.T @ unit @ half
        self.n = book.n

    def at(self, k: FloatArray, shift: float) -> tuple[float, FloatArray, FloatArray] | None:
        """KL, gradient [m] and curvature [m, m] at X + shift·I; None where that is not positive definite."""
        x = self.origin + np.tensordot(k, self.unit, axes=1)
        x[np.diag_indices(self.n)] += shift
        try:
            root = np.linalg.cholesky(x)
        except np.linalg.LinAlgError:
            return None
        back = np.linalg.inv(root)
        value = 0.5 * (np.trace(x) - self.n) - float(np.log(np.diagonal(root)).sum())
        white = (back @ self.unit @ back.T).reshape(k.size, -1)
        diagonal = np.arange(self.n) * (self.n + 1)
        slope = 0.5 * (np.trace(self.unit, axis1=1, axis2=2) - white[:, diagonal].sum(axis=1))
        return value, slope, 0.5 * white @ white.T

    def relaxed(
        self, start: FloatArray, first: FloatArray, last: FloatArray, enough: float
    ) -> tuple[float, FloatArray]:
        """A proved bound [nats] on every index vector in a box, and the point that gave it. Not improved beyond `enough`."""
        k = np.clip(start, first, last)
        shifts = [0.0]
        if self.at(k, 0.0) is None:
            low = np.linalg.eigvalsh(self.origin + np.tensordot(k, self.unit, axes=1))[0]
            shifts = [1.0 - min(float(low), 0.0), *_SHIFTS]
        best = -math.inf
        for shift in shifts:
            while self.at(k, shift) is None:
                shift *= 4.0
            bound, k = self._descended(k, first, last, shift)
            best = max(best, bound)
            if best > enough:
                break
        return best, k

    def _descended(
        self, k: FloatArray, first: FloatArray, last: FloatArray, shift: float
    ) -> tuple[float, FloatArray]:
        """Projected Newton steps until the bound meets the value."""
        best = -math.inf
        here = self.at(k, shift)
        assert here is not None
        for _ in range(40):
            value, slope, curvature = here
            room = np.where(slope > 0, first - k, last - k)
            best = max(best, value + float(slope @ room) - 0.5 * self.n * shift)
            if value - 0.5 * self.n * shift - best < 1e-6 * max(value, 1e-300):
                break
            free = np.flatnonzero(room != 0.0)
            inner = curvature[np.ix_(free, free)]
            inner[np.diag_indices(free.size)] *= 1.0 + 1e-10
            step = np.zeros_like(k)
            step[free] = -np.linalg.solve(inner, slope[free])
            share, moved = 1.0, False
            while share > 1e-8:
                trial = np.clip(k + share * step, first, last)
                there = self.at(trial, shift)
                if there is not None and there[0] <= value + 1e-4 * float(slope @ (trial - k)):
                    moved = bool((trial != k).any())
                    k, here = trial, there
                    break
                share *= 0.5
            if not moved:
                break
        return best, k


def branched(
    book: Codebook,
    law: Law,
    k: FloatArray,
    r: FloatArray,
    kl: float,
    limit: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[FloatArray, float, float]:
    """From indices k [m] of divergence `kl` at scales r: the best indices met, their divergence, and a bound [nats] that no
    legal ones are below. `limit` boxes are looked at."""
    loss, levels = _Loss(book, law, r), book.levels
    bound, x = loss.relaxed(k, levels.first, levels.last, kl)
    boxes = [(bound, 0, x, levels.first, levels.last)]
    closed, count = math.inf, 1
    while boxes and boxes[0][0] < kl:
        bound, _, x, first, last = heapq.heappop(boxes)
        if count >= limit or stop():
            closed = min(closed, bound)
            break
        near = np.clip(np.rint(x), first, last)
        value = divergence(law, book.dense(levels.value(near)), r)
        if value < kl:
            k, kl = near, value
        away = np.where(last > first, np.abs(x - near), -1.0)
        f = int(np.argmax(away))
        if away[f] < 0:
            closed = min(closed, value)
            continue
        cut = min(max(math.floor(x[f]), first[f]), last[f] - 1.0)
        for side in (0, 1):
            low, high = first.copy(), last.copy()
            (high if side == 0 else low)[f] = cut + side
            count += 1
            below, y = loss.relaxed(x, low, high, kl)
            below = max(below, bound)
            if below < kl:
                heapq.heappush(boxes, (below, count, y, low, high))
    return k, kl, min(kl, closed, boxes[0][0] if boxes else kl)
