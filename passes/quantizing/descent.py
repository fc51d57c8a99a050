"""Integer coordinate descent on the exact divergence (mapping.md §1).

One component's step changes the precision by t·B_f of rank one or two, and the divergence by (Δ = tB_f on cells i, j)

    ΔKL = ½[ tr((I + Δ(S−H))⁻¹ Δ Z) + logdet(I + Δ(S−H)) − logdet(I + ΔS) ]

with S, H, Z of `fisher.Point`: closed forms in the entries at i and j, so that every component's steps are priced at once
in O(m), the best is taken, and S changes by a matrix of the same rank.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.fisher import Law, Point, definite, point, refit


def price(book: Codebook, at: Point, t: FloatArray) -> FloatArray:
    """ΔKL [..., m] in nats of changing each value by t [..., m] alone; inf where the matrix would not stay positive
    definite."""
    i, j, a, b, c = book.i, book.j, book.a, book.b, book.c
    pair = (i != j) * 1.0
    s11, s22, s12 = at.s[i, i], at.s[j, j] * pair, at.s[i, j] * pair
    z11, z22, z12 = at.z[i, i], at.z[j, j] * pair, at.z[i, j] * pair
    det_b = a * c - b * b
    trace_s, area_s = a * s11 + 2 * b * s12 + c * s22, det_b * (s11 * s22 - s12 * s12)
    inside = 1.0 + t * (trace_s + t * area_s)
    gain = t * (a * z11 + 2 * b * z12 + c * z22)
    ok = inside > 0
    change = -np.log(np.where(ok, inside, 1.0))
    if at.h is at.s:
        return np.asarray(np.where(ok, 0.5 * (gain + change), np.inf))
    d11, d22, d12 = s11 - at.h[i, i], s22 - at.h[j, j] * pair, s12 - at.h[i, j] * pair
    trace_d, area_d = a * d11 + 2 * b * d12 + c * d22, det_b * (d11 * d22 - d12 * d12)
    hidden = 1.0 + t * (trace_d + t * area_d)
    gain = gain + t * t * det_b * (d22 * z11 - 2 * d12 * z12 + d11 * z22)
    ok &= hidden > 0
    safe = np.where(ok, hidden, 1.0)
    return np.asarray(np.where(ok, 0.5 * (gain / safe + np.log(safe) + change), np.inf))


def newton(book: Codebook, at: Point) -> FloatArray:
    """The change of each value [m] that would minimise the divergence alone, to second order."""
    i, j, a, b, c = book.i, book.j, book.a, book.b, book.c
    pair = (i != j) * 1.0
    gap = at.z - at.h
    h11, h22, h12 = at.h[i, i], at.h[j, j] * pair, at.h[i, j] * pair
    slope = a * gap[i, i] + 2 * b * gap[i, j] * pair + c * gap[j, j] * pair
    curvature = (a * h11) ** 2 + (c * h22) ** 2 + 2 * b * b * (h11 * h22 + h12 * h12) + 2 * a * c * h12**2
    curvature += 4 * b * h12 * (a * h11 + c * h22)
    return np.asarray(-slope / np.maximum(curvature, 1e-300))


def update(at: Point, book: Codebook, f: int, t: float, law: Law, r: FloatArray) -> Point:
    """The point after value f changed by t."""
    i, j = int(book.i[f]), int(book.j[f])
    if i == j:
        column = at.s[:, i]
        s = at.s - np.outer(column * (t * book.a[f] / (1.0 + t * book.a[f] * at.s[i, i])), column)
    else:
        cells = [i, j]
        delta = t * np.array([[book.a[f], book.b[f]], [book.b[f], book.c[f]]])
        star = at.s[:, cells]
        s = at.s - star @ np.linalg.solve(np.eye(2) + delta @ star[cells], delta) @ star.T
    if law.read is None:
        return Point(s, s, at.z)
    reading = law.read * r
    half = s @ reading.T
    realised = reading @ half
    y = half @ np.linalg.inv(realised)
    return Point(s, y @ realised @ y.T, y @ law.cov @ y.T)


def descend(
    book: Codebook,
    law: Law,
    k: FloatArray,
    r: FloatArray,
    rounds: int = 12,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[FloatArray, FloatArray]:
    """Coordinate descent on the exact divergence, alternating with the refit of r, from a positive definite start.

    Returns indices [m] and scales [n]. Each move is the best single step of all components; every round ends with a fresh
    inverse, so that rounding errors do not add up. Moves are priced for matrices linear in the values: others are left.
    """
    if not book.linear:
        return k, refit(law, book.dense(book.levels.value(k)), r)
    levels = book.levels
    limit = 6 * book.size
    for _ in range(rounds):
        precision = book.dense(levels.value(k))
        r = refit(law, precision, r)
        try:
            at = point(law, precision, r)
        except linalg.LinAlgError:
            break
        moved = False
        for _ in range(limit):
            if stop():
                return k, r
            jump = levels.legal(levels.position(levels.value(k) + newton(book, at)))
            trial = np.stack([np.maximum(k - 1, levels.first), np.minimum(k + 1, levels.last), jump])
            trial[:2] = np.where(levels.continuous, jump, trial[:2])
            t = levels.value(trial) - levels.value(k)
            cost = price(book, at, t)
            which = int(np.argmin(cost))
            row, f = divmod(which, book.size)
            if not cost[row, f] < -1e-14 * max(1.0, book.n):
                break
            if abs(cost[row, f]) < 1e-12 and levels.continuous[f]:
                break
            at = update(at, book, f, float(t[row, f]), law, r)
            k = k.copy()
            k[f] = trial[row, f]
            moved = True
        if not moved:
            break
    return k, refit(law, book.dense(levels.value(k)), r)


def repair(book: Codebook, k: FloatArray, accept: Callable[[FloatArray], bool] | None = None) -> FloatArray:
    """The least-changed legal indices with a positive definite matrix: couplings shrink towards zero and grounds rise
    until it is. Returns k itself when it is one already. `accept` tells of values [m] whether their matrix is one."""
    levels, n = book.levels, book.n
    value = levels.value(k)
    good = accept or (lambda v: definite(book.dense(v)))
    trial = k
    for share in np.concatenate([np.linspace(0.0, 0.2, 9), np.linspace(0.25, 1.0, 16)]):
        shrunk = value.copy()
        shrunk[n:] *= 1.0 - share
        trial = k.copy() if share == 0 else levels.nearest(shrunk)
        for _ in range(3):
            if good(levels.value(trial)):
                return trial
            trial = _lift(book, trial)
    return trial


def _lift(book: Codebook, k: FloatArray) -> FloatArray:
    lifted = k.copy()
    room = (~book.levels.continuous & (k < book.levels.last))[: book.n]
    lifted[: book.n] += room
    return lifted
