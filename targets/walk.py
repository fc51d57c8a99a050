"""Trajectories of large sparse circuits whose cells differ: any drift, normal or not, without a dense matrix.

    dx = −A (x − mean) dt + B dW over a time τ:   x(τ) = e^{−Aτ} x(0) + √τ ∫₀¹ e^{−Aτu} B dW(u)

Both are one series Σ (−Aτ)ᵏ/k! (x(0) + √τ B ξₖ) with ξₖ = ∫ uᵏ dW, jointly normal whatever A is: in shifted Legendre
polynomials Pⱼ of unit norm, ξₖ = Σⱼ Mₖⱼ ζⱼ with ζⱼ independent and Mₖⱼ = ∫ uᵏ Pⱼ du = √(2j + 1) (k!)²/((k − j)! (k + j + 1)!).
So a step of ‖A‖τ ≤ 4 costs some thirty products with A, and the noise is exact: nothing is wrong but the terms left
out, and `error` bounds them.

RLC cells have the states (φ, q) = (L i, C v), in which the noise is that of each cell by itself (physics §1):
dφ = (C⁻¹q − (r/L) φ) dt, dq = −(φ/L + R⁻¹C⁻¹q) dt + √(2κ) dW. ‖A‖ is that of the energy norm φ²/L + qᵀC⁻¹q, so that errors
are in standard deviations of equilibrium. Coupled coils have the states φ = L i: dφ = −R L⁻¹φ dt + √(2κ) dW.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, lgamma, log, sqrt

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Family
from spucc.diagnostics import fail
from spucc.targets.chebyshev import bounds
from spucc.targets.circuits import Board
from spucc.targets.gaussian import factorise
from spucc.targets.linear import assert_passive, overdamped

# ‖A‖τ of one step: the most terms a product saves without losing digits to cancellation.
_REACH = 4.0
# What the terms left out of a step may amount to, and what counts as forgotten.
_TOLERANCE = 1e-12
_MOST_STEPS = 100_000


class Walk:
    """A circuit of n cells read every `interval` s, first `settle` s after a cold start (0: in equilibrium).

    `error`: the most that one draw's law is wrong by, in standard deviations, beside rounding. Raises E0721 for a
    matrix that is not positive definite, E0720 for parts that no passive circuit has, E0724 for an interval of more than
    100,000 steps.
    """

    def __init__(self, circuit: Board, interval: float, settle: float) -> None:
        assert_passive(circuit)
        self._circuit, self._factor = circuit, factorise(circuit.matrix)
        self._pairs = circuit.family is Family.CAPACITIVE
        # Charges or fluxes, of which the matrix's inverse makes the cells.
        self._dual = self._pairs or circuit.family is Family.INDUCTIVE
        n = circuit.n
        self.n, self.states = n, 2 * n if self._pairs else n
        low, high = bounds(circuit.matrix, self._factor)
        if self._pairs:
            loss = max(
                float((circuit.series_resistance / circuit.inductance).max()),
                1.0 / (low * float(circuit.resistance.min())),
            )
            fastest = loss + 1.0 / sqrt(low * float(circuit.inductance.min()))
            # A mode of λ²c + λg + l = 0 with c, g, l between those of the cells: g/2c, or l/g where overdamped.
            least = float(circuit.resistance.min())
            self.slowest = min(
                1.0 / (2.0 * high * float(circuit.resistance.max())), least / float(circuit.inductance.max())
            )
            self._noise = np.sqrt(2.0 * circuit.noise)
            self.mean = np.zeros(n)
        elif self._dual:
            fastest, self.slowest = float(circuit.loop.max()) / low, float(circuit.loop.min()) / high
            self._noise, self.mean = np.sqrt(2.0 * circuit.noise), np.zeros(n)
        else:
            rate, strength = overdamped(circuit)
            fastest, self.slowest, self._rate = rate * high, rate * low, rate
            self._noise = np.sqrt(strength)
            self.mean = self._factor.solve(circuit.bias) if circuit.bias.any() else np.zeros(n)
        self._fastest = fastest
        # A start that is forgotten to the last digit leaves an independent draw.
        self._forgets = circuit.equilibrium and interval * self.slowest > -log(_TOLERANCE)
        self._count, self._step = (0, 0.0) if self._forgets else self._steps(interval)
        self.mix, lost = coefficients(self._step * fastest)
        self.error = self._count * lost
        self._settle = settle
        if settle == 0 and not circuit.equilibrium:
            self._settle = -log(_TOLERANCE) / (2.0 * self.slowest)

    def start(self, rngs: Sequence[np.random.Generator]) -> FloatArray:
        """The states [chains, states] at the first draw."""
        x = self._equilibrium(rngs)
        if self._settle == 0:
            return x.T
        if not (self._circuit.equilibrium and self._settle * self.slowest > -log(_TOLERANCE)):
            count, step = self._steps(self._settle)
            mix, _ = coefficients(step * self._fastest)
            x = self._onward(np.zeros_like(x), rngs, count, step, mix)
        return x.T

    def after(self, state: FloatArray, rngs: Sequence[np.random.Generator]) -> FloatArray:
        """The states [chains, states] one interval after `state`."""
        if self._forgets:
            return self._equilibrium(rngs).T
        return self._onward(state.T, rngs, self._count, self._step, self.mix).T

    def at(self, cells: FloatArray) -> FloatArray:
        """The states [chains, states] with cells [chains, n] and no current in the coils."""
        if not self._dual:
            return cells - self.mean
        dual = (self._circuit.matrix @ cells.T).T
        return np.concatenate([np.zeros_like(cells), dual], axis=1) if self._pairs else dual

    def cells(self, state: FloatArray) -> FloatArray:
        """What is read of states [chains, states]: [chains, n]."""
        if self._dual:
            return np.asarray(self._factor.solve(state[:, self.states - self.n :].T).T)
        return state + self.mean

    def substep(self, x: FloatArray, zeta: FloatArray, step: float, mix: FloatArray) -> FloatArray:
        """States [states, chains] a time `step` after x, with normal numbers zeta [j, n, chains]."""
        noise = (sqrt(step) * self._noise)[:, None]
        y = np.zeros_like(x)
        for k in range(mix.shape[0] - 1, -1, -1):
            if k + 1 < mix.shape[0]:
                y = self._drift(y)
                y *= -step / (k + 1)
            y += x
            y[self.states - self.n :] += noise * np.tensordot(mix[k], zeta, axes=1)
        return y

    def _onward(
        self, x: FloatArray, rngs: Sequence[np.random.Generator], count: int, step: float, mix: FloatArray
    ) -> FloatArray:
        zeta = np.empty((mix.shape[1], self.n, len(rngs)))
        for _ in range(count):
            for c, rng in enumerate(rngs):
                zeta[:, :, c] = rng.standard_normal((mix.shape[1], self.n))
            x = self.substep(x, zeta, step, mix)
        return x

    def _drift(self, x: FloatArray) -> FloatArray:
        """A x [states, chains]."""
        n, b = self.n, self._circuit
        if not self._dual:
            return np.asarray(self._rate * (b.matrix @ x))
        if not self._pairs:
            return np.asarray(b.loop[:, None] * self._factor.solve(x))
        current = x[:n] / b.inductance[:, None]
        voltage = self._factor.solve(x[n:])
        flux = b.series_resistance[:, None] * current - voltage
        return np.concatenate([flux, current + voltage / b.resistance[:, None]])

    def _equilibrium(self, rngs: Sequence[np.random.Generator]) -> FloatArray:
        """States [states, chains] of Boltzmann's law at the circuit's (mean) temperature."""
        n, b = self.n, self._circuit
        z = np.stack([rng.standard_normal(self.states) for rng in rngs])
        tile = self._factor.tile
        rows = np.zeros((ceil(len(rngs) / tile) * tile, n))
        rows[: len(rngs)] = z[:, self.states - n :]
        v = sqrt(b.temperature) * self._factor.colour(rows)[: len(rngs)].T
        if not self._dual:
            return np.asarray(v)
        dual = np.asarray(b.matrix @ v)
        if not self._pairs:
            return dual
        return np.concatenate([np.sqrt(b.temperature * b.inductance)[:, None] * z[:, :n].T, dual])

    def _steps(self, time: float) -> tuple[int, float]:
        """How many steps a time takes, and the length of one."""
        if time == 0:
            return 0, 0.0
        count = ceil(time * self._fastest / _REACH)
        if count > _MOST_STEPS:
            fail(
                "E0724",
                f"{time:.3g} s are {count} steps of this circuit of {self.n} unequal cells",
                help="draw independently, read at shorter intervals, or use a device file whose cells are equal",
            )
        return count, time / count


def coefficients(reach: float) -> tuple[FloatArray, float]:
    """Mₖⱼ [terms, numbers] for a step of ‖A‖τ = `reach`, and what leaving out the others costs, in standard deviations of
    equilibrium (where ‖B‖² ≤ 2‖A‖)."""
    if reach == 0:
        return np.zeros((1, 1)), 0.0
    most = 64
    k, j = np.arange(most)[:, None], np.arange(most)
    log_factorial = np.array([lgamma(m + 1) for m in range(2 * most + 1)])
    exponent = 2 * log_factorial[k] - log_factorial[np.maximum(k - j, 0)] - log_factorial[k + j + 1]
    whole = np.where(j <= k, np.sqrt(2 * j + 1) * np.exp(exponent), 0.0)
    term = np.array([exp(m * log(reach) - log_factorial[m]) for m in range(most)])
    strength = sqrt(2 * reach)
    # Of the numbers beyond j, and of the terms beyond k (of which all numbers together have the size 1/√(2k + 1) < 1).
    numbers = np.cumsum((term @ whole)[::-1])[::-1] * strength
    terms = np.cumsum(term[::-1])[::-1] * (1.0 + strength)
    kept_j = int(np.argmax(numbers <= _TOLERANCE)) or most
    kept_k = max(int(np.argmax(terms <= _TOLERANCE)) or most, kept_j)
    lost = sum(float(x[m]) for x, m in ((numbers, kept_j), (terms, kept_k)) if m < most)
    return np.ascontiguousarray(whole[:kept_k, :kept_j]), lost
