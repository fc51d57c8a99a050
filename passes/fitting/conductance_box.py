"""The resistive network within given ranges that is nearest in KL to a law, and the proof that none is nearer.

A network's conductances G, read with scales t = 1/d, make the precision B_ij = t_i t_j G_ij. With T_i = t_i² the ranges say

    low_i T_i ≤ B_ii ≤ high_i T_i,   low_e √(T_i T_j) ≤ −B_ij ≤ high_e √(T_i T_j),

which is convex where low_e ≤ 0 ≤ high_e, as the geometric mean is concave: then ½[tr(BΣ) − log det B] has no minimum but the
global one, and a local search in (log t, G), a change of coordinates, finds it. Its dual is the proof, as in `range_floor`:

    KL ≥ ½ (log det W − log det Σ)   whenever   tr(B(Σ − W)) ≥ 0 for all B in range.

Over G the least of that trace is tᵀ Q t with S = Σ − W, Q_ii = min(low_i S_ii, high_i S_ii) and −Q_ij = max(low_e S_ij, high_e
S_ij, 0), a Z-matrix, so that it is non-negative for all t > 0 exactly when Q ⪰ 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray, IntArray
from spucc.passes.fitting.spring_box import Stop, bounded, inverse_of, law_divergence, never, scale_step
from spucc.passes.realising.moments import inverse

RESTARTS = 5
"""How often the search goes on from where it ended, as long as that gains."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """Limits [S] of the total ground conductance of each cell [n] and of each coupler's, with its sign [m]."""

    ground_low: FloatArray
    ground_high: FloatArray
    coupling_low: FloatArray
    coupling_high: FloatArray

    def hold(self, ground: FloatArray, coupling: FloatArray, slack: float = 1e-9) -> bool:
        """Whether all values are in range, but for a relative `slack`."""
        within = (
            (ground >= self.ground_low - slack * np.abs(self.ground_low)).all()
            and (ground <= self.ground_high + slack * np.abs(self.ground_high)).all()
            and (coupling >= self.coupling_low - slack * np.abs(self.coupling_low)).all()
            and (coupling <= self.coupling_high + slack * np.abs(self.coupling_high)).all()
        )
        return bool(within)


@dataclass(frozen=True, eq=False)
class Nearest:
    """Scales d [n], conductances to ground [n] and across couplers [m], the divergence and what is proved of the nearest
    network's in nats per cell, and the positions that lose most, worst first."""

    scale: FloatArray
    ground: FloatArray
    coupling: FloatArray
    divergence: float
    floor: float
    worst: IntArray


def nearest_conductances(
    sigma: FloatArray,
    edges: IntArray,
    ranges: Ranges,
    d: FloatArray,
    iterations: int = 1000,
    stop: Stop = never,
) -> Nearest:
    """The nearest network to N(0, Σ [n, n]) on couplers `edges` [m, 2], searched from the scales d [n]
    until `stop` says so."""
    n = d.size
    finite = ranges.ground_high[np.isfinite(ranges.ground_high)]
    top = 1e3 * np.max(finite, initial=1.0)
    low = np.concatenate([ranges.ground_low, ranges.coupling_low])
    high = np.concatenate([ranges.ground_high, ranges.coupling_high])
    low, high = np.clip(low, -top, top), np.clip(high, -top, top)
    w = _start(sigma, edges, d, low, high)
    start = sigma / np.outer(d, d)
    i, j = edges[:, 0], edges[:, 1]
    size = np.diagonal(start)
    unit = 1.0 / np.concatenate([size, np.sqrt(size[i] * size[j])])

    met = [0.0]

    def objective(z: FloatArray) -> tuple[float, FloatArray]:
        t = np.exp(z[:n])
        g = conductances(n, edges, z[n:] * unit)
        found = inverse_of(g)
        if found is None:
            # A little above what was met last: from 1e30 a line search comes back with steps of nothing.
            return met[0] + 1.0, np.zeros_like(z)
        s, logdet = found
        scaled = start * np.outer(t, t)
        own = g * scaled
        pull = scaled - s
        slope = unit * np.concatenate([0.5 * np.diagonal(pull), -pull[i, j]])
        value = 0.5 * (float(own.sum()) - logdet) - float(z[:n].sum())
        met[0] = value
        return value, np.concatenate([own.sum(axis=1) - 1.0, slope])

    reach = np.full(n, 40.0)
    z, value = np.concatenate([np.zeros(n), w / unit]), np.inf
    floor, ceiling = np.concatenate([-reach, low / unit]), np.concatenate([reach, high / unit])
    for _ in range(RESTARTS):
        # A line search that met an indefinite network ends with steps too short to be an end.
        z = bounded(objective, z, floor, ceiling, iterations, stop)
        before, value = value, objective(z)[0]
        if stop() or not value < before - 1e-12 * n:
            break
    w = np.clip(z[n:] * unit, low, high)
    g = conductances(n, edges, w)
    d = 1.0 / scale_step(g * sigma, np.exp(z[:n]) / d)
    loss = np.abs(np.diagonal(g @ (sigma / np.outer(d, d))) - 1.0)
    divergence = law_divergence(g, sigma, d) / n
    proved = min(certified(sigma, edges, ranges, g, d) / n, divergence)
    return Nearest(d, w[:n], w[n:], divergence, proved, np.argsort(-loss)[:4].astype(np.int64))


def conductances(n: int, edges: IntArray, w: FloatArray) -> FloatArray:
    """The dense G [n, n] of ground conductances w[:n] and couplers w[n:]."""
    g = np.diag(w[:n])
    i, j = edges[:, 0], edges[:, 1]
    g[i, j] = g[j, i] = -w[n:]
    return g


def certified(sigma: FloatArray, edges: IntArray, ranges: Ranges, g: FloatArray, d: FloatArray) -> float:
    """The bound ½ (log det W' − log det Σ) ≥ 0 [nat] of the largest W' = (1 − ε) W, W = D G⁻¹ D, that is proved to be feasible;
    0 when none is.

    Couplers that no limit holds have S_ij = 0 but for the search's error, so there W' is given Σ's entries: the proof needs
    no more than its condition and W' ≻ 0.
    """
    root = np.sqrt(np.diagonal(sigma))
    c, found = sigma / np.outer(root, root), inverse_of(g)
    limits = np.concatenate([ranges.ground_high, ranges.coupling_high, -ranges.coupling_low])
    if found is None or not np.isfinite(limits).all() or not limits.max() > 0:
        return 0.0
    w = found[0] * np.outer(d / root, d / root)
    i, j = edges[:, 0], edges[:, 1]
    inactive = np.abs(c[i, j] - w[i, j]) < 1e-5

    def bound(part: float) -> float:
        dual = part * w
        dual[i[inactive], j[inactive]] = dual[j[inactive], i[inactive]] = c[i, j][inactive]
        sign, logdet = np.linalg.slogdet(dual)
        if sign <= 0 or not _feasible(c - dual, edges, ranges, float(limits.max())):
            return 0.0
        return max(0.5 * float(logdet - np.linalg.slogdet(c)[1]), 0.0)

    return max(bound(1 - 10.0**exponent) for exponent in np.arange(-13.0, 0.0, 0.25))


def _feasible(s: FloatArray, edges: IntArray, ranges: Ranges, top: float) -> bool:
    """Whether Q of S [n, n] is positive semidefinite. The margin is some hundred times what rounding does to it."""
    i, j = edges[:, 0], edges[:, 1]
    own = np.minimum(ranges.ground_low * np.diagonal(s), ranges.ground_high * np.diagonal(s)) / top
    across = np.maximum(np.maximum(ranges.coupling_low * s[i, j], ranges.coupling_high * s[i, j]) / top, 0.0)
    q = np.diag(own)
    q[i, j] = q[j, i] = -across
    tied = (q < 0).any(axis=1)
    try:
        linalg.cholesky(q[np.ix_(tied, tied)] - 1e-14 * own.size * np.eye(int(tied.sum())), lower=True)
    except linalg.LinAlgError:
        return False
    return True


def _start(
    sigma: FloatArray, edges: IntArray, d: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """The wanted conductances brought into range, with couplers towards nothing until the network is definite."""
    n = d.size
    wanted = inverse(sigma) * np.outer(d, d)
    i, j = edges[:, 0], edges[:, 1]
    own = np.clip(np.diagonal(wanted), np.maximum(low[:n], 1e-6 * high[:n]), high[:n])
    across = np.clip(-wanted[i, j], low[n:], high[n:])
    for _ in range(60):
        w = np.concatenate([own, np.clip(across, low[n:], high[n:])])
        if inverse_of(conductances(n, edges, w)) is not None:
            return w
        across = 0.8 * across
    return np.concatenate([own, np.clip(across, low[n:], high[n:])])
