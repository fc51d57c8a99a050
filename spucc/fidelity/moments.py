"""Exact moments of what a job asks for and of what it has become, where they can be had: for pages and explanations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.device import Device
from spucc.energy import Domain
from spucc.fidelity.ledger import realised_law
from spucc.stages import Job

DENSE = 1100
"""Coordinates up to which moments are computed."""

_SPINS = 14


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean [n], standard deviation [n], correlation [n, n], and precision [n, n] (None for spins)."""

    mean: FloatArray
    sd: FloatArray
    correlation: FloatArray
    precision: FloatArray | None


def moments_of(job: Job, device: Device) -> Moments | None:
    """Moments of what a job's value stands for, in the job's coordinates; None where they cannot be had exactly."""
    n = job.target.n
    if n == 0 or n > DENSE:
        return None
    if not job.target.domains[0].size:
        return _of_spins(job, device)
    if not job.target.is_gaussian or getattr(job.value, "domain", Domain.REAL) is not Domain.REAL:
        return None
    try:
        mean, cov = realised_law(job, device)
        sd = np.sqrt(np.diagonal(cov))
        if not (sd > 0).all() or not np.isfinite(cov).all():
            return None
        correlation = cov / np.outer(sd, sd)
        inverse = linalg.inv(correlation)
    except (linalg.LinAlgError, ValueError):
        return None
    return Moments(mean, sd, (correlation + correlation.T) / 2, (inverse + inverse.T) / 2 / np.outer(sd, sd))


def target_moments(job: Job, device: Device) -> Moments | None:
    """Moments of a job's model."""
    if 0 < job.target.n <= _SPINS and not job.target.domains[0].size:
        from spucc.oracle import enumerate_spins

        return _spin_moments(job, enumerate_spins(job.target).probability)
    return moments_of(replace(job, value=job.target, steps=()), device)


def _of_spins(job: Job, device: Device) -> Moments | None:
    from spucc.fidelity.spins import spin_law_of

    found = spin_law_of(job, device)
    if found is None:
        return None
    return _spin_moments(job, found[1])


def _spin_moments(job: Job, law: FloatArray) -> Moments:
    """Moments of spins (±1) or bits (0, 1) whose states, coordinate 0 the highest bit, have the probabilities `law`."""
    n = job.target.n
    states = 2.0 * ((np.arange(law.size)[:, None] >> np.arange(n - 1, -1, -1)) & 1) - 1
    bits = job.target.domains[2]
    states[:, bits] = (states[:, bits] + 1) / 2
    mean = law @ states
    cov = (states * law[:, None]).T @ states - np.outer(mean, mean)
    sd = np.sqrt(np.maximum(np.diagonal(cov), 1e-300))
    return Moments(mean, sd, cov / np.outer(sd, sd), None)
