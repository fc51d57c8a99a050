"""The time step: chosen from the energy, and reported with the bias that it leaves.

One cell of V = J2 x² + J4 x⁴ + b x is small enough to be exact about. With y_k = x_k − σR_k/2 (σ² = 2μkT h)
the Leimkuhler–Matthews recursion is a Markov chain in y, y' = y + σR − μh V'(y + σR/2), whose transition
operator acts on functions interpolated at Chebyshev points by Gauss–Hermite sums. The left null vector of
(operator − 1) is the stationary law of the *discretised* dynamics, to the accuracy of the interpolation; its
⟨x²⟩ against that of e^{−V/kT} is the bias. Neighbours enter as a quadratic term that holds the cell: for a
coupled system the bias is an estimate, for single cells it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray
from spucc.targets.langevin.potential import Potential

_NODES = 120
_HERMITE = 40


@dataclass(frozen=True)
class Step:
    """A time step, and the relative bias of ⟨x²⟩ that it leaves in the worst kind of cell (the mean's in
    units of √⟨x²⟩ where that is larger)."""

    length: float
    bias: float


def cell_moments(j2: float, j4: float, b: float, temperature: float) -> FloatArray:
    """Exact ⟨x⟩, ⟨x²⟩ of e^{−(J2 x² + J4 x⁴ + b x)/kT}, by quadrature."""
    x, rho = _grid(j2, j4, b, temperature)
    return np.array([(rho * x).sum(), (rho * x**2).sum()])


def _grid(j2: float, j4: float, b: float, temperature: float) -> tuple[FloatArray, FloatArray]:
    """Gauss–Legendre nodes over where the law lives, and its weights, which sum to 1."""
    sizes = [(temperature / abs(c)) ** power for c, power in ((j2, 0.5), (j4, 0.25), (b, 1.0)) if c]
    reach = 0.1 * min(sizes, default=1.0)
    for _ in range(400):
        if _least_rise(j2, j4, b, reach) >= 40 * temperature:
            break
        reach *= 1.25
    t, w = np.polynomial.legendre.leggauss(400)
    x = reach * t
    v = (j2 * x**2 + j4 * x**4 + b * x) / temperature
    rho = w * np.exp(-(v - v.min()))
    return x, rho / rho.sum()


def _least_rise(j2: float, j4: float, b: float, reach: float) -> float:
    """How far V at ±reach lies above its minimum within."""
    x = np.linspace(-reach, reach, 801)
    v = j2 * x**2 + j4 * x**4 + b * x
    return float(min(v[0], v[-1]) - v.min())


def stationary_moments(j2: float, j4: float, b: float, temperature: float, drift: float) -> FloatArray:
    """⟨x⟩, ⟨x²⟩ of the discretised dynamics with μh = `drift` (see the module's docstring)."""
    x, rho = _grid(j2, j4, b, temperature)
    inside = x[np.cumsum(rho) > 1e-13]
    low, high = float(inside[0]), float(x[np.cumsum(rho[::-1])[::-1] > 1e-13][-1])
    sigma = np.sqrt(2 * drift * temperature)
    # not beyond where a step overshoots: there is another, escaping law
    wall = 0.95 * np.sqrt(max((1 / drift - j2) / (2 * j4), 0.0)) if j4 > 0 else np.inf
    low, high = max(low - 2 * sigma, -wall), min(high + 2 * sigma, wall)
    k = np.arange(_NODES)
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(np.pi * (k + 0.5) / _NODES)
    weight = np.sin(np.pi * (k + 0.5) / _NODES) * (-1.0) ** k
    z, w = np.polynomial.hermite_e.hermegauss(_HERMITE)
    w = w / w.sum()
    at = nodes[:, None] + sigma / 2 * z
    slope = 2 * j2 * at + 4 * j4 * at**3 + b
    after = np.clip(2 * at - nodes[:, None] - drift * slope, low, high)
    gap = after[:, :, None] - nodes
    gap[gap == 0] = 1e-300
    basis = weight / gap
    basis /= basis.sum(axis=2, keepdims=True)
    operator = np.einsum("q,iqj->ij", w, basis)
    system = np.concatenate([(operator - np.eye(_NODES)).T, np.ones((1, _NODES))])
    law = np.linalg.lstsq(system, np.eye(_NODES + 1)[-1], rcond=None)[0]
    return np.array([law @ (at @ w), law @ (at**2 @ w)])


def cell_bias(j2: float, j4: float, b: float, temperature: float, drift: float) -> float:
    """The relative error of ⟨x²⟩, or that of ⟨x⟩ in units of √⟨x²⟩, whichever is larger, at μh = `drift`."""
    exact = cell_moments(j2, j4, b, temperature)
    got = stationary_moments(j2, j4, b, temperature, drift)
    return float(max(abs(got[1] / exact[1] - 1), abs(got[0] - exact[0]) / np.sqrt(exact[1])))


def choose_step(
    potential: Potential, temperature: float, mobility: FloatArray, tolerance: float = 1e-3
) -> Step:
    """The longest step whose estimated bias is at most `tolerance`.

    Starts from 0.4 over the stiffest mean curvature ⟨V''⟩ (physics §3), and shrinks by the scheme's second
    order. The cells looked at are those of extreme curvature, barrier and slope; each is held by half of its
    couplings' absolute sum.
    """
    cells = _kinds(potential, temperature)
    if not cells.size:
        return Step(np.inf, 0.0)
    mu, stiffest = float(np.max(mobility)), _stiffest(cells, temperature)
    # beyond x² = 1/(2 J4 μh) a step overshoots: keep that point 60 kT up the wall
    drift = 0.4 / stiffest if stiffest > 0 else 0.1
    bias = np.inf
    for _ in range(30):
        if all(_safe(cell, temperature, drift) for cell in cells):
            bias = max(cell_bias(j2, j4, b, temperature, drift) for j2, j4, b in cells)
            if bias <= tolerance:
                break
            drift *= min(0.8, 0.9 * float(np.sqrt(tolerance / bias)))
        else:
            drift *= 0.7
    return Step(drift / mu, bias)


def transient_step(
    potential: Potential, temperature: float, mobility: FloatArray, tolerance: float = 1e-3
) -> Step:
    """The step of `Walkers.heun`, for paths that are not in equilibrium, and its estimated bias.

    In a spring of stiffness k a step h leaves ⟨x²⟩ low by z²/4, z = μkh (the recursion's fixed point to leading order); k is
    the stiffest mean curvature, as in `choose_step`.
    """
    cells = _kinds(potential, temperature)
    if not cells.size:
        return Step(np.inf, 0.0)
    stiffest = _stiffest(cells, temperature)
    drift = 2 * np.sqrt(tolerance) / stiffest if stiffest > 0 else 0.05
    while not all(_safe(cell, temperature, drift) for cell in cells):
        drift *= 0.7
    return Step(drift / float(np.max(mobility)), (drift * max(stiffest, 0.0)) ** 2 / 4)


def stiffness(potential: Potential, temperature: float) -> float:
    """The stiffest mean curvature ⟨V''⟩ of a cell; 1 for a potential that has none."""
    cells = _kinds(potential, temperature)
    found = _stiffest(cells, temperature) if cells.size else 0.0
    return found if found > 0 else 1.0


def _stiffest(cells: FloatArray, temperature: float) -> float:
    return float(max(2 * j2 + 12 * j4 * cell_moments(j2, j4, b, temperature)[1] for j2, j4, b in cells))


def _safe(cell: FloatArray, temperature: float, drift: float) -> bool:
    j2, j4, b = cell
    if j4 == 0:
        return bool(drift * 2 * j2 < 1)
    reach = np.sqrt(max((1 / drift - j2) / (2 * j4), 0.0))
    return _least_rise(j2, j4, b, float(reach)) > 60 * temperature if reach > 0 else False


def _kinds(potential: Potential, temperature: float) -> FloatArray:
    """Distinct single cells [k, 3] as (J2, J4, b), at most 12: those at the extremes of each parameter."""
    size = abs(potential.quadratic)
    held = np.asarray(size.sum(axis=1)).ravel() - np.abs(potential.diagonal)
    extra = np.zeros(potential.n)
    for terms in potential.others:
        np.add.at(extra, terms.index.ravel(), np.repeat(np.abs(terms.coefficient), terms.degree))
    own = np.stack([potential.diagonal / 2, potential.quartic + extra / 4, potential.linear], axis=1)
    cells = own + np.stack([held / 2, np.zeros(potential.n), np.zeros(potential.n)], axis=1)
    size_of = np.abs(cells).max(axis=0, initial=0.0)
    size_of[size_of == 0] = 1.0
    cells = np.unique(np.round(cells / size_of, 9), axis=0) * size_of
    if cells.shape[0] > 12:
        keys = [cells[:, 0], cells[:, 1], cells[:, 2], cells[:, 0] / np.maximum(cells[:, 1], 1e-12)]
        picked = {int(f(key)) for key in keys for f in (np.argmin, np.argmax)}
        picked.add(int(np.argmax(np.abs(cells[:, 2]))))
        cells = cells[sorted(picked)]
    flat = (cells[:, 1] == 0) & (cells[:, 0] <= 0)
    cells[flat, 0] = 1.0
    return np.asarray(cells)
