"""The per-cell scales of a capacitor network: C = D K D within the banks' ranges (physics §2, mapping §1, §6).

With M the comparison matrix of K, the ground capacitors are g_i = d_i (M d)_i and the couplers c_ij = |K_ij| d_i d_j. For every
g > 0 there is exactly one d > 0, the minimum of the convex ½ dᵀMd − Σ g_i log d_i: the exact representations of K are
numbered by their ground capacitors. Among them `balance` looks for the one that rounding harms least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.passes.realising.comparison import DENSE, dominant_scaling, positive_definite_solve
from spucc.passes.realising.moments import inverse


@dataclass(frozen=True, eq=False)
class Box:
    """What a board offers, strays included [F]: ranges of the total ground capacitor of each cell [n] and of the magnitude
    of each coupler [m], and the standard error of rounding of each (0 for a continuous bank)."""

    ground_low: FloatArray
    ground_high: FloatArray
    coupling_low: FloatArray
    coupling_high: FloatArray
    ground_error: FloatArray
    coupling_error: FloatArray


@dataclass(frozen=True, eq=False)
class Network:
    """A comparison matrix M [n, n] by its couplers `edges` [m, 2] of magnitude `size` [m], with `sigma` [n] the variances and
    `cross` [m] the signed covariances sign·Σ_ij across the couplers of the law N(0, K⁻¹)."""

    m: sparse.csr_array
    edges: IntArray
    size: FloatArray
    sigma: FloatArray
    cross: FloatArray

    def components(self, d: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Ground capacitors g [n] and couplers c [m] of D M D."""
        i, j = self.edges[:, 0], self.edges[:, 1]
        return d * (self.m @ d), self.size * d[i] * d[j]


def ground_scaling(m: sparse.csr_array, g: FloatArray, start: FloatArray) -> FloatArray | None:
    """The d > 0 with d_i (M d)_i = g_i, by damped Newton from `start`; None if it does not converge.

    M is a positive definite Z-matrix, g > 0. Each step solves with M + diag(g/d²).
    """
    d = start.copy()
    value = 0.5 * d @ (m @ d) - g @ np.log(d)
    for _ in range(60):
        gradient = m @ d - g / d
        if np.abs(gradient * d / g).max() < 1e-12:
            return d
        step = positive_definite_solve(sparse.csr_array(m + sparse.diags_array(g / d**2)), -gradient)
        if step is None:
            return None
        size = min(1.0, 0.95 / max(float(np.max(-step / d)), 1e-300))
        slope = float(gradient @ step)
        for _ in range(40):
            new = d + size * step
            new_value = 0.5 * new @ (m @ new) - g @ np.log(new)
            if new_value <= value + 1e-4 * size * slope + 1e-12 * abs(value):
                break
            size *= 0.5
        d, value = new, new_value
    return d if np.abs((d * (m @ d) - g) / g).max() < 1e-6 else None


def largest(net: Network, d: FloatArray, box: Box) -> FloatArray:
    """d times the largest common factor that keeps every component at or below its bank's maximum."""
    g, c = net.components(d)
    room = np.concatenate(
        [box.ground_high / np.maximum(g, 1e-300), box.coupling_high / np.maximum(c, 1e-300)]
    )
    factor = float(room.min())
    if not np.isfinite(factor):
        # Continuous banks without a limit: the largest component is 1 in the bank's unit.
        factor = 1.0 / max(float(g.max()), float(c.max(initial=0.0)))
    return np.asarray(d * np.sqrt(factor))


def inside(net: Network, d: FloatArray, box: Box, slack: float = 1e-9) -> bool:
    """Whether every component lies in its range."""
    g, c = net.components(d)
    return bool(
        (g >= box.ground_low * (1 - slack)).all()
        and (g <= box.ground_high * (1 + slack)).all()
        and (c >= box.coupling_low * (1 - slack)).all()
        and (c <= box.coupling_high * (1 + slack)).all()
    )


def rounding_loss(net: Network, d: FloatArray, box: Box) -> float:
    """¼ Σ_e err_e² s_e², s_e = Var(a_eᵀ v) per unit θ: the divergence that rounding costs (mapping §0.9, §1), total."""
    i, j = net.edges[:, 0], net.edges[:, 1]
    across = net.sigma[i] / d[i] ** 2 + net.sigma[j] / d[j] ** 2 - 2 * net.cross / (d[i] * d[j])
    own = net.sigma / d**2
    return 0.25 * float(np.sum((box.coupling_error * across) ** 2) + np.sum((box.ground_error * own) ** 2))


def plain(net: Network, box: Box) -> FloatArray | None:
    """Scaling to dominance and one global factor; if that leaves the range below, equal ground capacitors; None when neither
    fits."""
    d = largest(net, dominant_scaling(net.m), box)
    if not (d > 0).all():
        return None
    if inside(net, d, box):
        return d
    low = np.maximum(box.ground_low, 1e-9 * box.ground_high.min())
    if not np.isfinite(low).all():
        return None
    even = ground_scaling(net.m, low, d)
    if even is None:
        return None
    even = largest(net, even, box)
    return even if inside(net, even, box) else None


def balance(net: Network, box: Box, start: FloatArray, steps: int = 40) -> FloatArray:
    """The d that makes `rounding_loss` small, by L-BFGS over log g with d(g) differentiated implicitly.

    `start` is inside the box; the best scaling met on the way that is inside the box is returned, so the result is never
    worse than `start`.
    """
    from scipy import optimize

    best = start
    best_loss = rounding_loss(net, start, box)
    if best_loss == 0.0 or net.edges.shape[0] == 0:
        return start
    i, j = net.edges[:, 0], net.edges[:, 1]
    current = start.copy()
    floor = np.where(box.ground_low > 0, box.ground_low, 0.0)

    def objective(log_g: FloatArray) -> tuple[float, FloatArray]:
        nonlocal best, best_loss, current
        g = np.exp(log_g)
        d = ground_scaling(net.m, g, current)
        if d is None:
            return 1e30, np.zeros_like(g)
        current = d
        candidate = largest(net, d, box)
        if inside(net, candidate, box):
            loss = rounding_loss(net, candidate, box)
            if loss < best_loss:
                best, best_loss = candidate, loss
        # Soft maximum of the components over their ranges: a common factor d → d/√s brings them in.
        _, c = net.components(d)
        ratio = np.concatenate([g / box.ground_high, c / box.coupling_high])
        p = 30.0
        top = ratio.max()
        weight = (ratio / top) ** p
        log_s = np.log(top) + np.log(weight.sum()) / p
        weight /= weight.sum()
        across = net.sigma[i] / d[i] ** 2 + net.sigma[j] / d[j] ** 2 - 2 * net.cross / (d[i] * d[j])
        own = net.sigma / d**2
        we, wi = box.coupling_error**2 * across, box.ground_error**2 * own
        loss = float(we @ across + wi @ own)
        value = np.log(loss) + 2 * log_s
        # ∂/∂log d of log loss, then of 2 log s.
        dd = np.zeros_like(d)
        cross = net.cross / (d[i] * d[j])
        dd += np.bincount(i, 2 * we * (-2 * net.sigma[i] / d[i] ** 2 + 2 * cross), d.size)
        dd += np.bincount(j, 2 * we * (-2 * net.sigma[j] / d[j] ** 2 + 2 * cross), d.size)
        dd -= 4 * wi * own
        dd /= loss
        wc = weight[d.size :]
        dd += 2 * (np.bincount(i, wc, d.size) + np.bincount(j, wc, d.size))
        dg = 2 * weight[: d.size]
        # Floors: log barrier on g_i/s above the floor, softened.
        under = np.maximum(0.0, np.log(np.maximum(floor, 1e-300) * 1.02) + log_s - log_g)
        value += 50 * float(np.sum(under**2))
        pull = 100 * under
        dg = dg - pull
        total = float(pull.sum())
        dg = dg + total * weight[: d.size]
        dd = dd + total * (np.bincount(i, wc, d.size) + np.bincount(j, wc, d.size))
        # d(g): (M + diag(g/d²)) δd = δg/d.
        back = positive_definite_solve(sparse.csr_array(net.m + sparse.diags_array(g / d**2)), dd / d)
        if back is None:
            return 1e30, np.zeros_like(g)
        return value, dg + back * g / d

    g, _ = net.components(start)
    g = np.maximum(g, 1e-12 * g.max())
    optimize.minimize(
        objective, np.log(g), jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxfun": 2 * steps}
    )
    return best


def law_entries(k: sparse.csr_array, edges: IntArray, sign: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Variances [n] and signed covariances across couplers [m] of N(0, K⁻¹); the selected inverse when K is large."""
    if k.shape[0] <= 4 * DENSE:
        s = inverse(k.toarray())
        return np.diagonal(s).copy(), sign * s[edges[:, 0], edges[:, 1]]
    from spucc.passes.projecting.banded_inverse import selected_inverse

    entries = selected_inverse(k)
    return entries.diagonal(), sign * np.asarray(entries[edges[:, 0], edges[:, 1]]).ravel()
