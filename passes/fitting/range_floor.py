"""How near to a law any capacitor network within given ranges can come: a lower bound on the divergence, with its proof.

The precision that a network in range makes, read with any scales t, is B with T_i = t_i² and (mapping §6)

    B_ii = z_i + Σ_e y_ei,   |B_ij| = x_e,   ground_low T_i ≤ z_i ≤ ground_high T_i,
    low_e T_i ≤ y_ei ≤ high_e T_i,   x_e ≤ √(y_ei y_ej).

These are cones, so the nearest B in KL is a convex problem (cvxpy). It is a relaxation, as a network has y_ei/T_i = y_ej/T_j
and x_e = √(y_ei y_ej) too, and its dual is the proof: log det B ≤ tr(BW) − log det W − n for every W ≻ 0, hence

    KL ≥ ½ (log det W − log det Σ)   whenever   tr(B(Σ − W)) ≥ 0 for all B in range.

`certified` checks that condition from W and the couplers' multipliers alone, so the bound stands whatever the solver did.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray
from spucc.passes.fitting.spring_scaling import Box

LARGEST = 32
"""Up to so many cells the convex problem is solved."""


@dataclass(frozen=True, eq=False)
class Floor:
    """No network in range is nearer than `bound` [nat, all cells together]; `scale` [n] is d = 1/t of the relaxed optimum."""

    bound: float
    scale: FloatArray


def range_floor(sigma: FloatArray, edges: IntArray, sign: FloatArray, box: Box) -> Floor | None:
    """The bound for N(0, Σ) on couplers `edges` [m, 2] of the given signs; None when the solver does not converge."""
    import cvxpy as cp

    root = np.sqrt(np.diagonal(sigma))
    c = sigma / np.outer(root, root)
    finite = np.concatenate([box.ground_high, box.coupling_high])
    unit = float(finite[np.isfinite(finite)].max(initial=0.0)) or 1.0
    ranges = Box(
        box.ground_low / unit, box.ground_high / unit, box.coupling_low / unit, box.coupling_high / unit,
        box.ground_error, box.coupling_error,
    )  # fmt: skip
    ground_low, low = ranges.ground_low, ranges.coupling_low
    ground_high, high = (np.minimum(r, 1e6) for r in (ranges.ground_high, ranges.coupling_high))
    n, m = c.shape[0], edges.shape[0]
    i, j, e = edges[:, 0], edges[:, 1], np.arange(m)
    area = cp.Variable(n, nonneg=True)
    ground, left, right, across = cp.Variable(n), cp.Variable(m), cp.Variable(m), cp.Variable(m, nonneg=True)
    at_i, at_j = (sparse.csr_array((np.ones(m), (p, e)), shape=(n, m)) for p in (i, j))
    rows = np.concatenate([i * n + j, j * n + i])
    spread = sparse.csr_array((np.tile(-sign, 2), (rows, np.tile(e, 2))), shape=(n * n, m))
    diagonal = ground + at_i @ left + at_j @ right
    b = cp.diag(diagonal) + cp.reshape(spread @ across, (n, n), order="C")
    within = [
        left <= cp.multiply(high, area[i]),
        right <= cp.multiply(high, area[j]),
        left >= cp.multiply(low, area[i]),
        right >= cp.multiply(low, area[j]),
    ]
    cone = cp.SOC(left + right, cp.vstack([2 * across, left - right]), axis=0)
    own = [ground >= cp.multiply(ground_low, area), ground <= cp.multiply(ground_high, area)]
    trace = cp.sum(diagonal) - 2 * cp.sum(cp.multiply(sign * c[i, j], across))
    problem = cp.Problem(cp.Minimize(trace - cp.log_det(b)), [*within, cone, *own])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        values, vectors = linalg.eigh((b.value + b.value.T) / 2)
        multipliers = [np.maximum(w.dual_value, 0.0) for w in within]
    except (cp.error.SolverError, linalg.LinAlgError, AttributeError, TypeError, ValueError):
        return None
    if not (values > 0).all() or not (area.value > 0).all():
        return None
    w = (vectors / values) @ vectors.T
    net = (multipliers[0] - multipliers[2], multipliers[1] - multipliers[3])
    # The proof is for the ranges as they are, infinite ones included.
    bound = certified(c, edges, sign, ranges, w, net)
    return Floor(bound, root * np.sqrt(unit / area.value))


def certified(
    sigma: FloatArray,
    edges: IntArray,
    sign: FloatArray,
    box: Box,
    w: FloatArray,
    net: tuple[FloatArray, FloatArray],
) -> float:
    """The bound ½ (log det W' − log det Σ) ≥ 0 of the largest W' = (1 − ε) W that is proved to be feasible; 0 when none is."""
    if not _feasible(sigma, edges, sign, box, 0.5 * w, net):
        return 0.0
    small, large = -14.0, float(np.log10(0.5))
    while large - small > 0.05:
        middle = 0.5 * (small + large)
        if _feasible(sigma, edges, sign, box, (1 - 10.0**middle) * w, net):
            large = middle
        else:
            small = middle
    logdet = float(np.linalg.slogdet((1 - 10.0**large) * w)[1] - np.linalg.slogdet(sigma)[1])
    return max(0.5 * logdet, 0.0)


def _feasible(
    sigma: FloatArray,
    edges: IntArray,
    sign: FloatArray,
    box: Box,
    w: FloatArray,
    net: tuple[FloatArray, FloatArray],
) -> bool:
    """Whether tr(B S) ≥ 0, S = Σ − W, for every B in range, by multipliers ν_ei of the couplers' limits.

    With p_ei = S_ii + ν_ei and p_ei p_ej ≥ max(±S_ij, 0)² a coupler's part is at least Σ (low ν⁻ − high ν⁺)_ei T_i; the cells'
    sums of these and of the ground capacitors' parts have to be non-negative. Multipliers are raised where the product is
    too small. The margin is some hundred times what rounding makes of the sums.
    """
    i, j, n = edges[:, 0], edges[:, 1], sigma.shape[0]
    s = sigma - w
    diagonal, pull = np.diagonal(s), np.maximum(sign * s[i, j], 0.0)
    p = [np.maximum(diagonal[i] + net[0], 1e-15), np.maximum(diagonal[j] + net[1], 1e-15)]
    share = np.sqrt(np.maximum(pull**2 / (p[0] * p[1]), 1.0)) * (1 + 1e-13)
    total = diagonal * np.where(diagonal < 0, box.ground_high, box.ground_low)
    size = np.abs(total)
    for at, product in zip((i, j), p):
        nu = product * share - diagonal[at]
        part = -nu * np.where(nu > 0, box.coupling_high, box.coupling_low)
        total = total + np.bincount(at, part, n)
        size = size + np.bincount(at, np.abs(part), n)
    return bool((total >= 1e-13 * n * size).all())
