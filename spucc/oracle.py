"""Exact answers, for tests, for `spucc verify` and for the sceptical: no pass and no backend is used here.

Gaussians by Cholesky (dense) or LDLᵀ (sparse), spins by enumeration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.energy import Energy

DENSE_LIMIT = 3000
"""Up to so many coordinates the dense methods are used."""

ENUMERATION_LIMIT = 20
"""Up to so many spins are enumerated: 2²⁰ states."""


@dataclass(frozen=True, eq=False)
class GaussianLaw:
    """N(mean, precision⁻¹) over n coordinates; `log_z` = log ∫ exp(−E/T) dx."""

    mean: FloatArray
    precision: FloatArray | sparse.csr_array
    logdet: float
    log_z: float

    def covariance(self) -> FloatArray:
        """precision⁻¹ [n, n]. Raises E0591 beyond `DENSE_LIMIT` coordinates."""
        n = self.mean.size
        if n > DENSE_LIMIT:
            fail(
                "E0591",
                f"the covariance of {n} variables has {n * n:.2e} entries",
                help="ask for variances instead",
            )
        dense = self.precision if isinstance(self.precision, np.ndarray) else self.precision.toarray()
        return _inverse(np.asarray(dense))

    def variance(self) -> FloatArray:
        """The diagonal of precision⁻¹ [n]: by Cholesky, or by sparse solves against blocks of unit vectors."""
        n = self.mean.size
        if n <= DENSE_LIMIT:
            return np.diagonal(self.covariance()).copy()
        assert not isinstance(self.precision, np.ndarray)
        factor = _ldl(self.precision)
        variance = np.empty(n)
        for start in range(0, n, 256):
            block = np.arange(start, min(start + 256, n))
            units = np.zeros((n, block.size))
            units[block, np.arange(block.size)] = 1.0
            variance[block] = factor.solve(units)[block, np.arange(block.size)]
        return variance


def gaussian(energy: Energy) -> GaussianLaw:
    """The exact law of a Gaussian energy: precision Q/T, mean Q⁻¹(−linear). Observations have to be conditioned away before.

    Raises E0491 when the energy is not Gaussian or the precision not positive definite.
    """
    if not energy.is_gaussian:
        fail(
            "E0491",
            "the exact Gaussian law of an energy that is not Gaussian",
            help="use `enumerate_spins` for spins",
        )
    t, n = energy.temperature, energy.n
    potential = -np.asarray(energy.linear) / t
    if n <= DENSE_LIMIT:
        precision: FloatArray | sparse.csr_array = energy.quadratic.toarray() / t
        try:
            factor = linalg.cho_factor(precision, lower=True) if n else None
        except linalg.LinAlgError:
            fail("E0491", "the model's precision is not positive definite")
        mean = linalg.cho_solve(factor, potential) if factor else potential
        logdet = 2.0 * float(np.log(np.diagonal(factor[0])).sum()) if factor else 0.0
    else:
        precision = sparse.csr_array(energy.quadratic.tocsr() / t)
        lu = _ldl(precision)
        pivots = lu.U.diagonal()
        if not (pivots > 0).all():
            fail("E0491", "the model's precision is not positive definite")
        mean, logdet = lu.solve(potential), float(np.log(pivots).sum())
    log_z = 0.5 * (n * np.log(2 * np.pi) - logdet + potential @ mean) - energy.constant / t
    return GaussianLaw(np.asarray(mean), precision, logdet, float(log_z))


def _inverse(precision: FloatArray) -> FloatArray:
    n = precision.shape[0]
    return (
        np.asarray(linalg.cho_solve(linalg.cho_factor(precision, lower=True), np.eye(n))) if n else precision
    )


def _ldl(matrix: sparse.csr_array) -> sparse_linalg.SuperLU:
    """LDLᵀ by SuperLU in symmetric mode: without pivoting its U is D Lᵀ."""
    return sparse_linalg.splu(
        sparse.csc_matrix(matrix),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )


@dataclass(frozen=True, eq=False)
class SpinLaw:
    """Exact moments over all states of n spins or bits, in the variables' own values (±1 or 0, 1)."""

    mean: FloatArray
    second: FloatArray
    """E[x xᵀ], shape [n, n]."""
    log_z: float
    ground: FloatArray
    """A state of least energy; the first in binary order (entry 0 the most significant)."""
    ground_energy: float
    probability: FloatArray
    """Of every state, in binary order, shape [2^n]."""


def spin_states(energy: Energy, start: int, stop: int) -> FloatArray:
    """States number start … stop−1 in binary order, entry 0 the most significant, in the variables' own values."""
    codes = np.arange(start, stop, dtype=np.int64)[:, None]
    bits = (codes >> np.arange(energy.n - 1, -1, -1)) & 1
    _, spin, _ = energy.domains
    values = bits.astype(np.float64)
    values[:, spin] = 2 * values[:, spin] - 1
    return values


def enumerate_spins(energy: Energy) -> SpinLaw:
    """Exact law of at most 20 spins and bits by enumeration. Raises E0492 for more, or for real variables."""
    real, _, _ = energy.domains
    if real.size:
        fail("E0492", f"`{energy.label(int(real[0]))}` is real: only spins and bits can be enumerated")
    if energy.n > ENUMERATION_LIMIT:
        fail(
            "E0492", f"{energy.n} spins have too many states to enumerate (the limit is {ENUMERATION_LIMIT})"
        )
    chunk = 1 << 14
    total = 1 << energy.n
    energies = np.concatenate(
        [_spin_energy(energy, spin_states(energy, k, min(k + chunk, total))) for k in range(0, total, chunk)]
    )
    lowest = int(np.argmin(energies))
    weight = np.exp(-(energies - energies[lowest]) / energy.temperature)
    z = weight.sum()
    probability = weight / z
    mean, second = np.zeros(energy.n), np.zeros((energy.n, energy.n))
    for k in range(0, total, chunk):
        states = spin_states(energy, k, min(k + chunk, total))
        p = probability[k : k + chunk]
        mean += p @ states
        second += (states * p[:, None]).T @ states
    return SpinLaw(
        mean=mean,
        second=second,
        log_z=float(np.log(z) - energies[lowest] / energy.temperature),
        ground=spin_states(energy, lowest, lowest + 1)[0],
        ground_energy=float(energies[lowest]),
        probability=probability,
    )


def _spin_energy(energy: Energy, states: FloatArray) -> FloatArray:
    """E of each row, vectorised over states."""
    value = energy.constant + states @ energy.linear
    value = value + 0.5 * np.einsum("ki,ki->k", states @ energy.quadratic.toarray(), states)
    for terms in energy.higher:
        value = value + np.prod(states[:, terms.index], axis=2) @ terms.coefficient
    return np.asarray(value)
