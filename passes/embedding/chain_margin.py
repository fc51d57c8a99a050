"""Among the chains that are exact, those that lose least to rounding.

Chains have many more values than there are equations. Rounding to a bank of step δ is expected to cost

    KL per variable = 1/(48 n) Σ_e δ_e² ‖∂T/∂value_e‖²                                   (mapping.md §1)

where δ follows from the largest value, which has to fit the range. This sum is what strong chains make bad (everything else
becomes small beside them) and weak ones too (read-outs become sensitive), so its minimum chooses the strengths. It is
found by conjugate gradients along the manifold T = I: each step is projected on the null space of the Jacobian and
then brought back by Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Bank
from spucc.passes.embedding.chain_solver import Jacobian, Network, Reading, solve_cells, tune

_SHARP = 12.0
"""The largest value of a bank is taken as a norm of this power, which is smooth."""


@dataclass(frozen=True, eq=False)
class Rounding:
    """Largest value and step of the coupling and of the self bank, and what every cell [cells] has to ground at least: strays
    and the bank's least value. A ground below its floor is as wrong as one that was rounded by the difference."""

    top_c: float
    step_c: float
    top_g: float
    step_g: float
    floor_g: FloatArray

    @staticmethod
    def of(coupling: Bank, ground: Bank, stray: FloatArray) -> Rounding:
        """`stray` [cells], in the unit of the bank."""
        least = ground.min if ground.levels is None else ground.levels[0]
        return Rounding(*_range(coupling), *_range(ground), stray + least)

    def loss(self, network: Network, reading: Reading) -> float:
        """The expected KL per variable."""
        _, unit, total = _parts(self, network, reading)
        return float(unit**2 * total / (48 * reading.T.shape[0]))

    def cost(self, network: Network, reading: Reading) -> float:
        """The KL per variable before rounding and what rounding is expected to add."""
        return reading.kl + self.loss(network, reading)

    def worth(self, network: Network, reading: Reading) -> float:
        """The residual ‖T − I‖ whose KL is a tenth of the expected loss: more exact is of no use yet."""
        return float(np.sqrt(0.4 * reading.T.shape[0] * self.loss(network, reading)))


def _range(bank: Bank) -> tuple[float, float]:
    """A bank's largest value and its step; continuous banks count as 16 bits, so that strengths stay moderate on them too."""
    if bank.levels is not None:
        return bank.levels[-1], float(np.diff(bank.levels).max(initial=bank.levels[-1] / 2**16))
    top = bank.max if np.isfinite(bank.max) else 1.0
    return top, top / 2**16 if bank.continuous else bank.step


def _parts(rounding: Rounding, network: Network, reading: Reading) -> tuple[FloatArray, float, float]:
    """U with G = ∂(Σ δ²‖∂T/∂value‖²)/∂U at unit 1, the unit (dimensionless value of 1 of the bank), and the sum."""
    U, (i, j) = reading.U, network.edges.T
    used = (network.coupling != 0)[:, None]
    size = np.einsum("kn,kn->k", U, U)
    G = np.zeros_like(U)
    if network.positive:
        Z = np.where(used, U[i] - network.sign[:, None] * U[j], 0.0)
        z2 = np.einsum("kn,kn->k", Z, Z)
        of_c = float((z2**2).sum())
        pull = 4 * rounding.step_c**2 * z2[:, None] * Z
        np.add.at(G, i, pull)
        np.add.at(G, j, -network.sign[:, None] * pull)
        g = network.ground
    else:
        P, Q = np.where(used, U[i], 0.0), np.where(used, U[j], 0.0)
        p2, q2, pq = (np.einsum("kn,kn->k", a, b) for a, b in ((P, P), (Q, Q), (P, Q)))
        of_c = float(2 * (p2 * q2 + pq**2).sum())
        np.add.at(G, i, 4 * rounding.step_c**2 * (q2[:, None] * P + pq[:, None] * Q))
        np.add.at(G, j, 4 * rounding.step_c**2 * (p2[:, None] * Q + pq[:, None] * P))
        g = network.matrix().diagonal()
    unit = np.exp(_log_unit(rounding, network.coupling, g)[0])
    error = rounding.step_g**2 + 12 * _missing(rounding, g, unit) ** 2
    G += 4 * (error * size)[:, None] * U
    total = rounding.step_c**2 * of_c + float(error @ size**2)
    return G, float(unit), total


def _missing(rounding: Rounding, g: FloatArray, unit: float) -> FloatArray:
    """By how much each ground, in units of the bank, is below its floor."""
    return np.maximum(rounding.floor_g - g / unit, 0.0)


def _log_unit(
    rounding: Rounding, coupling: FloatArray, g: FloatArray
) -> tuple[float, FloatArray, FloatArray]:
    """The logarithm of the dimensionless value of 1 of the bank, when the largest value (as a smooth norm) is at the end of
    its range, and its derivatives by coupling and self value."""
    c, d = np.abs(coupling) / rounding.top_c, np.abs(g) / rounding.top_g
    top = max(c.max(initial=0.0), d.max(initial=0.0))
    power = float(((c / top) ** _SHARP).sum() + ((d / top) ** _SHARP).sum())
    by_c = (c / top) ** (_SHARP - 1) / (top * rounding.top_c * power) * np.sign(coupling)
    by_g = (d / top) ** (_SHARP - 1) / (top * rounding.top_g * power) * np.sign(g)
    return float(np.log(top) + np.log(power) / _SHARP), by_c, by_g


def _gradient(
    rounding: Rounding, network: Network, reading: Reading, L: FloatArray, jacobian: Jacobian
) -> tuple[float, FloatArray, FloatArray]:
    """f = log(unit² Σ…) with a smooth unit, and its derivatives by the relative changes of `Jacobian`, where dT = 0."""
    U, (i, j), m = reading.U, network.edges.T, network.edges.shape[0]
    G, unit, total = _parts(rounding, network, reading)
    # dU = −K⁻¹ dK U + K⁻¹ dW L T
    H = solve_cells(network.matrix(), G / total)
    assert H is not None, "the reading shows that K is positive definite"
    sign = network.sign[:, None]
    d_c = -np.einsum("kn,kn->k", H[i] - sign * H[j], U[i] - sign * U[j])
    d_g = -np.einsum("kn,kn->k", H, U)
    of_weight = np.einsum("kn,kn->k", H, (L @ reading.T)[network.chain])
    average = np.bincount(network.chain, network.weight * of_weight)[network.chain]
    d_phi = (network.weight * (of_weight - average))[jacobian.several]
    raw = network.ground if network.positive else network.matrix().diagonal()
    log_unit, by_c, by_g = _log_unit(rounding, network.coupling, raw)
    # What is missing to the floors falls with the ground and grows as the unit gets larger.
    pull = 24 * _missing(rounding, raw, unit) * np.einsum("kn,kn->k", U, U) ** 2 / (unit * total)
    share = 2 + float(pull @ raw)
    by_g = share * by_g - pull
    d_c += share * by_c if network.positive else share * by_c + by_g[i] + by_g[j]
    d_g += by_g
    scaled = np.concatenate([d_c, d_g]) * np.concatenate([jacobian.by_c, jacobian.by_g])
    assert scaled.size == m + network.ground.size
    return float(np.log(total) + 2 * log_unit), scaled, d_phi


def relax(
    network: Network,
    reading: Reading,
    L: FloatArray,
    rounding: Rounding,
    iterations: int = 150,
    stop: Callable[[], bool] = lambda: False,
    gain: float = 2e-4,
) -> tuple[Network, Reading]:
    """Chains near the given ones with the least expected loss to rounding; stops when ten steps gain less than 10·`gain` of
    it. On the way the residual stays near what it is at the start, or 1e-5; at the end the chains are made as exact as they
    can be without raising the cost much."""
    bound = max(1.05 * reading.residual, 1e-5)
    length = 0.3
    before: tuple[FloatArray, FloatArray] | None = None
    history: list[float] = []
    for _ in range(iterations):
        if stop():
            break
        jacobian = Jacobian(network, reading, L)
        _, v, w = _gradient(rounding, network, reading, L, jacobian)
        merit = _merit(rounding, network, reading)
        history.append(merit)
        if len(history) > 10 and history[-11] - merit < 10 * gain:
            break
        S = jacobian.solve(jacobian.forward(v, w), 1e-10)
        back_v, back_w = jacobian.adjoint(S)
        slope = np.concatenate([v - back_v, w - back_w])
        direction = -slope
        if before is not None:
            last_slope, last = before
            beta = max(0.0, float(slope @ (slope - last_slope)) / float(last_slope @ last_slope))
            if float((direction + beta * last) @ slope) < 0:
                direction = direction + beta * last
        size = float(np.abs(direction).max())
        if size == 0:
            break
        fall = float(direction @ slope)
        for _ in range(6):
            step = min(length, 0.7 / size)
            trial = jacobian.move(network, step * direction[: v.size], step * direction[v.size :])
            tuned = tune(trial, L, iterations=4, goal=bound)
            if tuned is None or tuned[1].residual > 1.01 * bound:
                tuned = None
            elif _merit(rounding, *tuned) < merit + 1e-3 * step * fall:
                break
            length = 0.35 * step
            tuned = None
        if tuned is None:
            break
        network, reading = tuned
        before = slope, direction
        length = 1.6 * step
    exact = tune(network, L)
    if exact is not None and rounding.cost(*exact) <= 1.2 * rounding.cost(network, reading):
        return exact
    return network, reading


def _merit(rounding: Rounding, network: Network, reading: Reading) -> float:
    """f of `_gradient`, with the divergence before rounding in the same measure."""
    _, unit, total = _parts(rounding, network, reading)
    return float(np.log(unit**2 * total + 48 * reading.T.shape[0] * reading.kl))
