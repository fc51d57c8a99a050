"""The linear stochastic equation dx = −A (x − mean) dt + B dW of any family, stepped without discretisation
error.

    x(t + h) = F x(t) + noise of covariance Q,   F = exp(−A h),   Q = ∫₀ʰ e^{−As} B Bᵀ e^{−Aᵀs} ds = S − F S
    Fᵀ

with A S + S Aᵀ = B Bᵀ (physics §3, §4). A need not be normal, and B Bᵀ may be singular, as it is in an RLC
cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray
from spucc.device import Family
from spucc.diagnostics import fail
from spucc.targets.circuits import Board


@dataclass(frozen=True, eq=False)
class Linear:
    """dx = −A (x − mean) dt + B dW for d states, in states without units: state k is `unit[k]` of the SI
    unit.

    `drift` A [d, d] in 1/s, `noise` B [d, w], both sparse; the cells that are read are the last `cells`
    states.
    """

    drift: sparse.csr_array
    noise: sparse.csr_array
    mean: FloatArray
    unit: FloatArray
    cells: int

    @property
    def d(self) -> int:
        return int(self.mean.size)

    def mean_read(self) -> FloatArray:
        """The mean of the cells, in their unit."""
        return np.asarray((self.mean * self.unit)[self.d - self.cells :])

    def read(self, covariance: FloatArray) -> FloatArray:
        """The block of a covariance [d, d] of states that belongs to the cells, in their unit."""
        unit = self.unit[self.d - self.cells :]
        return np.asarray(covariance[self.d - self.cells :, self.d - self.cells :] * unit[:, None] * unit)


def system(circuit: Board) -> Linear:
    """The equation of a circuit (physics §1, §3). Capacitors have the states (i, v), the other families
    their cells."""
    n, k = circuit.n, circuit.matrix
    if circuit.family is Family.CAPACITIVE:
        # L di = (v − r_s i) dt; C dv = −(i + v/R) dt + √(2κ) dW
        inverse = inverse_of(k)
        theta = circuit.scale
        i_unit = np.sqrt(theta / circuit.inductance)
        v_unit = np.sqrt(theta / k.diagonal())
        top = [
            sparse.diags_array(circuit.series_resistance / circuit.inductance),
            sparse.diags_array(-v_unit / (circuit.inductance * i_unit)),
        ]
        left = sparse.diags_array(1.0 / v_unit) @ inverse
        bottom = [left @ sparse.diags_array(i_unit), left @ sparse.diags_array(v_unit / circuit.resistance)]
        noise = sparse.vstack(
            [sparse.csr_array((n, n)), left @ sparse.diags_array(np.sqrt(2.0 * circuit.noise))]
        )
        drift = sparse.csr_array(sparse.block_array([top, bottom]))
        unit = np.concatenate([i_unit, v_unit])
        return Linear(drift, sparse.csr_array(noise), np.zeros(2 * n), unit, n)
    if circuit.family is Family.RESISTIVE:
        rate, strength = 1.0 / circuit.capacitance, 2.0 * circuit.noise / circuit.capacitance**2
    else:
        rate = circuit.mobility
        strength = 2.0 * circuit.mobility * circuit.noise
    unit = np.sqrt(circuit.scale / k.diagonal())
    drift = sparse.diags_array(rate / unit) @ k @ sparse.diags_array(unit)
    noise = sparse.diags_array(np.sqrt(strength) / unit)
    mean = np.zeros(n)
    if circuit.bias.any():
        from spucc.targets.gaussian import factorise

        mean = factorise(k).solve(circuit.bias) / unit
    return Linear(sparse.csr_array(drift), sparse.csr_array(noise), mean, unit, n)


def inverse_of(matrix: sparse.csr_array) -> sparse.csr_array:
    """The inverse of a symmetric positive definite matrix, stored in full. Raises E0721 where it is not
    one."""
    from spucc.targets.gaussian import DenseFactor

    return sparse.csr_array(DenseFactor(matrix.toarray()).solve(np.eye(matrix.shape[0])))


def stationary(linear: Linear) -> FloatArray:
    """S [d, d] with A S + S Aᵀ = B Bᵀ. Raises E0720 where the circuit is not stable."""
    drift, noise = linear.drift.toarray(), linear.noise.toarray()
    assert_stable(drift)
    s: Any = linalg.solve_continuous_lyapunov(drift, noise @ noise.T)
    return np.asarray(0.5 * (s + s.T))


def assert_stable(drift: FloatArray) -> None:
    """Raises E0720 unless every eigenvalue of A has a positive real part."""
    if drift.size and not np.linalg.eigvals(drift).real.min() > 0:
        fail(
            "E0720",
            "the circuit is not stable: a disturbance of it grows instead of dying out",
            help="check the signs of resistances and couplers in the device file and the calibration",
        )
