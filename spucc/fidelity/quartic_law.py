"""The law of a few nonlinear units as weighted points, and what a changed energy does to it.

    p(x) ∝ e^{−u(x)},  u(x) = ½ xᵀKx − b·x + Σ q x⁴        (physics §3, in units of kT)

Up to three units the points are Gauss–Legendre nodes, and sums over them are integrals; of more units they are draws by Gibbs
sampling, each unit from its own conditional law on a grid, so that no barrier of a single unit stands in the way.
For p' ∝ p e^{−Δ}

    KL(p ‖ p') = ⟨Δ⟩ + log⟨e^{−Δ}⟩,   and to second order in Δ = Σ δ_a f_a(x)   ½ δᵀ Cov(f) δ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray

EXACT = 3
"""Units up to which the points are quadrature nodes."""

_NODES, _GRID, _CHAINS, _SWEEPS, _TAKEN, _MOST = 48, 129, 256, 40, 12, 128


@dataclass(frozen=True, eq=False)
class Points:
    """`x` [points, n] with `weight` [points], which sums to 1; `exact` says that they are quadrature nodes."""

    x: FloatArray
    weight: FloatArray
    exact: bool

    def moved(self, delta: FloatArray) -> Figures:
        """What Δ [points] does to the law."""
        least = float(delta.min())
        shifted = self.weight * np.exp(least - delta)
        total = float(shifted.sum())
        log_mean, other = float(np.log(total)) - least, shifted / total
        (mean, sd, correlation), (mean2, sd2, correlation2) = (self._moments(w) for w in (self.weight, other))
        n = self.x.shape[1]
        return Figures(
            max(float(self.weight @ delta) + log_mean, 0.0) / n,
            max(-float(other @ delta) - log_mean, 0.0) / n,
            float(np.abs(sd2 / sd - 1).max()),
            float((np.abs(mean2 - mean) / sd).max()),
            float(np.abs(correlation2 - correlation).max()),
            float(1 / (self.weight**-1 @ other**2)) if not self.exact else np.inf,
        )

    def _moments(self, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        mean = weight @ self.x
        centred = self.x - mean
        cov = (centred * weight[:, None]).T @ centred
        sd = np.sqrt(np.diagonal(cov))
        return mean, sd, cov / np.outer(sd, sd)


@dataclass(frozen=True)
class Figures:
    """The two divergences in nats a unit, the worst relative error of a standard deviation, shift of a mean in standard
    deviations, error of a correlation; `share` of the draws that still count under the changed law (∞ for quadrature)."""

    kl_forward: float
    kl_reverse: float
    sd_error: float
    mean_error: float
    correlation_error: float
    share: float


def points(k: sparse.csr_array, b: FloatArray, quartic: FloatArray) -> Points | None:
    """Points of the law of K [n, n], b [n], q [n], which is bounded below; None for more than 128 units."""
    n = b.size
    if not 0 < n <= _MOST:
        return None
    dense = np.asarray(k.toarray())
    reach = _reach(dense, b, quartic)
    if n > EXACT:
        return _gibbs(dense, b, quartic, reach)
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    # twice: once over where the law can be, then over where it is
    low, high = -reach, reach
    for _ in range(3):
        axes = [0.5 * (lo + hi) + 0.5 * (hi - lo) * node for lo, hi in zip(low, high)]
        x = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
        w = np.prod(np.stack(np.meshgrid(*[weight] * n, indexing="ij")), axis=0).ravel()
        u = 0.5 * np.einsum("ki,ij,kj->k", x, dense, x) - x @ b + x**4 @ quartic
        p = w * np.exp(u.min() - u)
        here = x[p > 1e-16 * p.max()]
        gap = 2.0 * (high - low) / _NODES
        low, high = np.maximum(here.min(axis=0) - gap, low), np.minimum(here.max(axis=0) + gap, high)
    return Points(x, p / p.sum(), True)


def _reach(k: FloatArray, b: FloatArray, quartic: FloatArray) -> FloatArray:
    """A bound on each |x_i| beyond which u lies 40 above its value at 0."""
    load = np.abs(k).sum(axis=1) - np.abs(np.diagonal(k))
    stiff, held = np.diagonal(k) - load, quartic > 0
    if (stiff[~held] <= 0).any():
        # held together only: q x⁴ ≥ c x² − c²/4q makes the whole a positive definite form
        c = np.where(held, load + np.abs(np.diagonal(k)), 0.0)
        wanted = 0.5 * float(np.linalg.eigvalsh(k[np.ix_(~held, ~held)])[0])
        while (least := float(np.linalg.eigvalsh(k + np.diag(2 * c))[0])) < wanted:
            c = 2 * c
        below = float((c[held] ** 2 / (4 * quartic[held])).sum())
        slope = float(np.linalg.norm(b))
        return np.full(b.size, (slope + np.sqrt(slope**2 + 2 * least * (40.0 + below))) / least)
    # |k x y| ≤ |k| (x² + y²)/2: u is at least a sum of ½ a x² + q x⁴ − |b| x, one for each unit
    with np.errstate(divide="ignore"):
        size = np.minimum(1 / np.sqrt(np.abs(stiff)), quartic**-0.25)
    t = size * np.geomspace(1e-3, 1e9, 1201)[:, None]
    h = 0.5 * stiff * t**2 + quartic * t**4 - np.abs(b) * t
    wanted = 40.0 - np.minimum(h.min(axis=0), 0.0).sum()
    enough = (h >= wanted)[::-1].cumprod(axis=0)[::-1].astype(bool)
    return np.asarray(t[np.argmax(enough, axis=0), np.arange(b.size)])


def _gibbs(k: FloatArray, b: FloatArray, quartic: FloatArray, reach: FloatArray) -> Points:
    rng = np.random.Generator(np.random.Philox(0x61BB5))
    n = b.size
    x = rng.uniform(-0.2, 0.2, (_CHAINS, n)) * reach
    # the grid follows the draws: first wide, then where they have been
    low, high = -reach, reach
    kept = []
    t = np.linspace(0, 1, _GRID)
    for sweep in range(_SWEEPS + 2 * _TAKEN):
        for i in range(n):
            field = b[i] - x @ k[i] + k[i, i] * x[:, i]
            at = low[i] + (high[i] - low[i]) * t
            u = 0.5 * k[i, i] * at**2 + quartic[i] * at**4 - field[:, None] * at
            p = np.exp(u.min(axis=1, keepdims=True) - u)
            total = np.concatenate(
                [np.zeros((_CHAINS, 1)), np.cumsum(0.5 * (p[:, 1:] + p[:, :-1]), axis=1)], axis=1
            )
            wanted = rng.random(_CHAINS) * total[:, -1]
            cell = (total[:, 1:-1] <= wanted[:, None]).sum(axis=1)
            row = np.arange(_CHAINS)
            step = total[row, cell + 1] - total[row, cell]
            share = (wanted - total[row, cell]) / np.maximum(step, 1e-300)
            x[:, i] = at[cell] + share * (at[1] - at[0])
        if sweep in (4, 12, _SWEEPS - 1):
            middle, half = 0.5 * (x.min(axis=0) + x.max(axis=0)), x.max(axis=0) - x.min(axis=0)
            low, high = np.maximum(middle - half, -reach), np.minimum(middle + half, reach)
        if sweep >= _SWEEPS and sweep % 2:
            kept.append(x.copy())
    out = np.concatenate(kept)
    return Points(out, np.full(len(out), 1.0 / len(out)), False)
