"""What a board of resonators really samples, lossy inductors and unequal parts included (physics §1, §5).

    di = L⁻¹(v − r_s i) dt,   dv = −C⁻¹(R⁻¹v + i) dt + √(2κ) C⁻¹ dW

With κ_i = θ/R_i and no series resistance the law of v is N(0, θC⁻¹). A series resistance is a cold bath, and parts that
are not what the noise was programmed for are baths of other temperatures: then the Lyapunov equation decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray
from spucc.device import Device, Family

LYAPUNOV = 250
"""Up to so many unequal cells the Lyapunov equation of the 2n states is solved; beyond, `lossy_precision` stands for it."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Resistance [Ω], inductance [H], series resistance [Ω] and noise κ [A²/Hz] of each cell, all [n]."""

    resistance: FloatArray
    inductance: FloatArray
    series: FloatArray
    noise: FloatArray

    def equilibrium(self) -> bool:
        """Whether the law is θC⁻¹: no series resistance, every source at its resistor's temperature."""
        theta = self.noise * self.resistance
        return not self.series.any() and bool(np.ptp(theta) <= 1e-12 * theta.max(initial=0.0))

    def equal(self) -> bool:
        """Whether all cells have the same parts."""
        every = (self.resistance, self.inductance, self.series, self.noise)
        return all(bool(np.ptp(part) <= 1e-14 * part.max(initial=0.0)) for part in every)


def parts_of(device: Device, cells: IntArray, theta: float) -> Parts:
    """The parts as they are known, measured values before nominal ones, with noise programmed to θ/R."""
    circuit, measured = device.spec.circuit, device.calibration

    def known(table: FloatArray | None, nominal: float) -> FloatArray:
        return np.full(cells.size, nominal) if table is None else np.asarray(table[cells], dtype=np.float64)

    r = known(measured.resistance, circuit.resistance)
    return Parts(
        r,
        known(measured.inductance, circuit.inductance),
        known(measured.series_resistance, circuit.series_resistance),
        theta / r,
    )


def lossy_precision(c: FloatArray, parts: Parts) -> FloatArray:
    """θ times the precision of the voltages, for C [..., n, n] in F and sources at their resistors' temperature.

        Λ(C) = C + C √a (1 + r_s/R + ρCρ)⁻¹ √a C,   a = r_s R/ℓ,   ρ = r_s/√ℓ

    Solving the three moment equations of one mode gives this; so it is exact for equal cells, whose modes part, and right
    to first order in the losses otherwise (physics §5: C + a C²).
    """
    a = np.sqrt(parts.series * parts.resistance / parts.inductance)
    rho = parts.series / np.sqrt(parts.inductance)
    inner = c * np.outer(rho, rho) + np.diag(1 + parts.series / parts.resistance)
    half = a[:, None] * c
    return np.asarray(c + np.swapaxes(half, -1, -2) @ np.linalg.solve(inner, half))


def voltage_covariance(c: FloatArray, parts: Parts) -> FloatArray:
    """The stationary covariance [V²] of the cells' voltages for a capacitance matrix C [n, n] in F.

    Scaled to dimensionless states first, as the values span fifteen decades. Raises LinAlgError when C is singular.
    """
    n = parts.resistance.size
    theta = float(np.mean(parts.noise * parts.resistance))
    if parts.equilibrium():
        return _symmetric(theta * linalg.inv(c))
    if parts.equal():
        return _symmetric(theta * linalg.inv(lossy_precision(c, parts)))
    # States i √(L/θ) and v √(c0/θ), time in units of √(L c0).
    c0, l0 = float(np.mean(np.diagonal(c))), float(np.mean(parts.inductance))
    time = np.sqrt(l0 * c0)
    inverse = linalg.inv(c / c0)
    z = np.sqrt(l0 / c0)
    ell = parts.inductance / l0
    drift = np.block(
        [
            [-np.diag(parts.series / z / ell), np.diag(1 / ell)],
            [-inverse, -inverse @ np.diag(z / parts.resistance)],
        ]
    )
    # √(2κ) C⁻¹ dW in those units: 2κ·time/(c0 θ) = 2 κ z/θ.
    strength = inverse @ np.diag(2 * parts.noise * z / theta) @ inverse.T
    noise = np.zeros((2 * n, 2 * n))
    noise[n:, n:] = strength
    assert time > 0
    s = linalg.solve_continuous_lyapunov(drift, -noise)
    return _symmetric(s[n:, n:] * theta / c0)


def cell_covariance(device: Device, cells: IntArray, matrix: sparse.csr_array, scale: float) -> FloatArray:
    """Covariance [n, n] of the cells of any Gaussian family: scale · matrix⁻¹, or what lossy resonators make of it.

    Beyond `LYAPUNOV` unequal cells by `lossy_precision`.
    """
    dense = matrix.toarray()
    if device.family is not Family.CAPACITIVE:
        return _symmetric(scale * linalg.inv(dense))
    parts = parts_of(device, cells, scale)
    if parts.equilibrium() or cells.size <= LYAPUNOV:
        return voltage_covariance(dense, parts)
    return _symmetric(scale * linalg.inv(lossy_precision(dense, parts)))


def _symmetric(a: FloatArray) -> FloatArray:
    return np.asarray((a + a.T) / 2)
