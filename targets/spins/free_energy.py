"""log Z of a spin system: annealed importance sampling from independent spins (Neal 2001)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from spucc.arrays import FloatArray
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import SpinModel


@dataclass(frozen=True)
class LogZ:
    """log Σ e^{−E/T}: estimate, standard error, and the effective number of the chains that made it."""

    value: float
    error: float
    effective: float


def annealed_log_z(
    model: SpinModel,
    seed: tuple[int, ...],
    *,
    chains: int = 256,
    steps: int = 1000,
    threads: int = 1,
    start: FloatArray | None = None,
) -> LogZ:
    """AIS along p_β ∝ exp(β·½ sᵀJs + h·s), β = 0 … 1 in `steps` steps of one sweep.

    The start is exact: free spins with field h, log Z₀ = Σ_free log 2cosh h_i, clamped spins at `start`. The
    weights are unbiased for Z whatever the number of steps; the error is the delta method's, from the spread
    of the weights.
    """
    free = ~model.clamped
    first = np.ones(model.n) if start is None else np.asarray(start, dtype=np.float64).reshape(model.n)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*seed, 3))))
    up = rng.random((chains, model.n)) < special.expit(2 * model.field)
    run = Chains(model, chains, seed, threads=threads, start=np.where(free, np.where(up, 1.0, -1.0), first))
    betas = np.linspace(0.0, 1.0, steps + 1)
    weight = np.zeros(chains)
    for low, high in pairwise(betas):
        weight -= (high - low) * run.energy_parts()[0]
        if high < 1.0:
            run.strength = high
            run.sweep(1)
    base = float(np.logaddexp(model.field, -model.field)[free].sum() + (model.field * first)[~free].sum())
    top = weight.max()
    share = np.exp(weight - top)
    mean = share.mean()
    error = float(share.std(ddof=1) / mean / np.sqrt(chains))
    return LogZ(base + float(top + np.log(mean)), error, float(share.sum() ** 2 / (share**2).sum()))
