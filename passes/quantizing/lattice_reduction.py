"""Lattice reduction and closest vectors in a metric ‖R(k − t)‖, R upper triangular (mapping.md §1).

`reduce` is the LLL algorithm (Lenstra, Lenstra and Lovász 1982) on the triangular factor; `nearest_points` the decoder that
keeps the best `width` partial vectors of each level (width 1: Babai's nearest plane), for many targets at once;
`closest` the exact search of Schnorr and Euchner (1994), whose end proves the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from spucc.arrays import FloatArray

_COMPILED_FROM = 60
"""Bases at least this large pay for loading numba."""


def _lll(r: FloatArray, u: FloatArray, delta: float, limit: int) -> int:
    """Reduces r in place, u collects the column operations; the number of swaps."""
    m = r.shape[0]
    k, swaps = 1, 0
    while k < m and swaps < limit:
        q = np.rint(r[k - 1, k] / r[k - 1, k - 1])
        if q != 0.0:
            r[:k, k] -= q * r[:k, k - 1]
            u[:, k] -= q * u[:, k - 1]
        if delta * r[k - 1, k - 1] ** 2 <= r[k - 1, k] ** 2 + r[k, k] ** 2:
            for j in range(k - 2, -1, -1):
                q = np.rint(r[j, k] / r[j, j])
                if q != 0.0:
                    r[: j + 1, k] -= q * r[: j + 1, j]
                    u[:, k] -= q * u[:, j]
            k += 1
            continue
        swaps += 1
        for row in range(k + 1):
            keep = r[row, k]
            r[row, k] = r[row, k - 1]
            r[row, k - 1] = keep
        for row in range(m):
            keep = u[row, k]
            u[row, k] = u[row, k - 1]
            u[row, k - 1] = keep
        size = np.hypot(r[k - 1, k - 1], r[k, k - 1])
        cos, sin = r[k - 1, k - 1] / size, r[k, k - 1] / size
        upper = cos * r[k - 1, k - 1 :] + sin * r[k, k - 1 :]
        r[k, k - 1 :] = cos * r[k, k - 1 :] - sin * r[k - 1, k - 1 :]
        r[k - 1, k - 1 :] = upper
        r[k, k - 1] = 0.0
        k = max(k - 1, 1)
    return swaps


@cache
def _compiled() -> Callable[..., Any]:
    from numba import njit

    compiled: Callable[..., Any] = njit(cache=True)(_lll)
    return compiled


def triangle_of(columns: FloatArray) -> FloatArray:
    """The upper triangular R with RᵀR = columnsᵀ columns."""
    return np.asarray(np.linalg.qr(columns, mode="r"))


def reduce(
    factor: FloatArray, delta: float = 0.99, limit: int = 200_000, compiled: bool = False
) -> tuple[FloatArray, FloatArray]:
    """An LLL-reduced basis of the lattice spanned by the columns of an upper triangular factor [m, m].

    Returns (R, U): R upper triangular, U unimodular (whole numbers in floats), RᵀR = Uᵀ factorᵀ factor U. `compiled` asks for
    the compiled loop whatever the size.
    """
    m = factor.shape[0]
    r, u = np.array(factor, dtype=np.float64, order="C"), np.eye(m)
    (_compiled() if compiled or m >= _COMPILED_FROM else _lll)(r, u, delta, limit)
    return r, u


def nearest_points(r: FloatArray, u: FloatArray, targets: FloatArray, width: int = 1) -> FloatArray:
    """Lattice points near each target, best first in the metric ‖R U⁻¹(k − t)‖ as far as the decoder saw.

    `targets` [N, m] → [N, width, m], whole numbers.
    """
    m = r.shape[0]
    count = targets.shape[0]
    wanted = np.linalg.solve(u, targets.T)
    diag = np.diagonal(r)
    rows = r / diag[:, None]
    # offset[p] = wanted_p − z_p of what is decided, for every kept path of every target
    offset = np.zeros((m, count, 1))
    choice = np.zeros((m, count, 1))
    cost = np.zeros((count, 1))
    for level in range(m - 1, -1, -1):
        centre = wanted[level][:, None] + np.tensordot(rows[level, level + 1 :], offset[level + 1 :], axes=1)
        near = np.rint(centre)
        if width == 1:
            offset[level], choice[level] = wanted[level][:, None] - near, near
            continue
        side = np.where(centre >= near, 1.0, -1.0)
        options = np.stack([near, near + side, near - side], axis=-1)
        weight = cost[..., None] + (diag[level] * (centre[..., None] - options)) ** 2
        flat = weight.reshape(count, -1)
        keep = min(width, flat.shape[1])
        best = np.argpartition(flat, keep - 1, axis=1)[:, :keep] if keep < flat.shape[1] else \
            np.broadcast_to(np.arange(keep), (count, keep))  # fmt: skip
        parent = best // 3
        cost = np.take_along_axis(flat, best, axis=1)
        picked = np.take_along_axis(options.reshape(count, -1), best, axis=1)
        if keep != offset.shape[2] or width > 1:
            index = np.broadcast_to(parent, (m, *parent.shape))
            offset = np.take_along_axis(offset, index, axis=2)
            choice = np.take_along_axis(choice, index, axis=2)
        offset[level], choice[level] = wanted[level][:, None] - picked, picked
    if width > 1:
        order = np.argsort(cost, axis=1)
        choice = np.take_along_axis(choice, np.broadcast_to(order, (m, *order.shape)), axis=2)
    points = np.tensordot(u, choice, axes=1)
    return np.rint(points).transpose(1, 2, 0)
