"""The best codes of a small board, proved: every lattice point in a ball that must hold the optimum is looked at.

With the scales fixed let λ_i = 1 + ε_i be the eigenvalues of the whitened precision, so that KL = Σ φ(ε_i),
φ(ε) = ½(ε − log(1 + ε)). A setting with KL ≤ K has every ε_i ≤ ε_K, φ(ε_K) = K, and φ(ε)/ε² falls with ε, so that

    ¼‖F(k − t)‖² = ¼ Σ ε_i² ≤ K · ε_K² / (4 φ(ε_K)):

a ball. Its points are enumerated on a reduced basis (Fincke and Pohst 1985, in the order of Schnorr and Euchner 1994, the
ball shrinking whenever a better setting is met), so the end proves that no setting at these scales is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray
from spucc.passes.quantizing import lattice_reduction, relaxed
from spucc.passes.quantizing.closest import indices
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.fisher import Law, divergence, refit

LARGEST = 6
"""Cells that are still searched exactly."""


@dataclass(frozen=True, eq=False)
class Proved:
    """Indices [m], scales [n], divergence (nats), and whether no legal indices are better at the scales searched last."""

    k: FloatArray
    r: FloatArray
    kl: float
    proved: bool


def radius(kl: float) -> float:
    """The largest ‖F(k − t)‖² of a setting whose divergence is at most `kl` nats."""
    if kl <= 0.0:
        return 0.0
    from scipy.optimize import brentq

    edge = brentq(
        lambda e: 0.5 * (e - math.log1p(e)) - kl, 1.9 * math.sqrt(kl), 4 * kl + 4 * math.sqrt(kl) + 1e-9
    )
    return float(edge) ** 2


def points_within(
    triangle: FloatArray, centre: FloatArray, bound: Callable[[], float], visits: list[int], limit: int
) -> Iterator[tuple[int, ...]]:
    """Whole vectors z with ‖R(z − c)‖² ≤ bound(), which may shrink meanwhile. `visits[0]` counts nodes; stops at `limit`."""
    m = centre.size
    rows = [[float(x) for x in row] for row in triangle]
    c = [float(x) for x in centre]
    z = [0] * m
    # Of each level: cost above it, the centre there, and how many values were tried.
    above, middle, tried = [0.0] * (m + 1), [0.0] * m, [0] * m
    level = m - 1

    def enter(at: int) -> None:
        row = rows[at]
        middle[at] = c[at] - sum(row[p] * (z[p] - c[p]) for p in range(at + 1, m)) / row[at]
        tried[at] = 0

    enter(level)
    while level < m:
        visits[0] += 1
        if visits[0] > limit:
            return
        nearest = round(middle[level])
        side = 1 if middle[level] >= nearest else -1
        count = tried[level]
        z[level] = nearest + side * ((count + 1) // 2) * (1 if count % 2 else -1)
        tried[level] += 1
        cost = above[level + 1] + (rows[level][level] * (z[level] - middle[level])) ** 2
        if cost > bound() * (1 + 1e-9):
            level += 1
            continue
        if level == 0:
            yield tuple(z)
            continue
        above[level] = cost
        level -= 1
        enter(level)


def exact(
    book: Codebook,
    law: Law,
    matrix: FloatArray,
    k: FloatArray,
    r: FloatArray,
    limit: int = 150_000,
    stop: Callable[[], bool] = lambda: False,
) -> Proved:
    """From a setting, the best one at its scales, refitted and searched again until it stays. Even levels only."""
    levels = book.levels
    kl, proved = divergence(law, book.dense(levels.value(k)), r), False
    visits = [0]
    for _ in range(20):
        wanted = indices(book, matrix, r[None])[0]
        f, _m = relaxed.tangents(book, law, matrix * np.outer(r, r), r)
        triangle, basis = lattice_reduction.reduce(lattice_reduction.triangle_of(f * levels.step))
        best = [kl]
        found = k
        ball = [radius(kl)]
        for z in points_within(triangle, np.linalg.solve(basis, wanted), lambda b=ball: b[0], visits, limit):  # type: ignore[misc]
            trial = np.rint(basis @ np.array(z, dtype=np.float64))
            if stop():
                break
            if (trial < levels.first).any() or (trial > levels.last).any():
                continue
            value = divergence(law, book.dense(levels.value(trial)), r)
            if value < best[0] * (1 - 1e-12):
                best[0], found, ball[0] = value, trial, radius(value)
        proved = visits[0] <= limit and not stop()
        same = bool((found == k).all())
        k = found
        fitted = refit(law, book.dense(levels.value(k)), r)
        kl = divergence(law, book.dense(levels.value(k)), fitted)
        settled = same and float(np.abs(np.log(fitted / r)).max()) < 1e-7
        r = fitted
        if settled or not proved:
            break
    return Proved(k, r, kl, proved)
