"""The law of a job's coordinates after infinite time, from its codes alone: what `spucc law` prints and what
every backend is held to. Shares no code with the passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.targets.circuits import Board
from spucc.targets.gaussian import CovarianceFactor, Factor, factorise
from spucc.targets.linear import stationary, system


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, Σ) of n cells, Σ given by its inverse `precision` (sparse) or itself (`covariance`, dense)."""

    mean: FloatArray
    precision: sparse.csr_array | None = None
    covariance: FloatArray | None = None

    @property
    def n(self) -> int:
        return int(self.mean.size)

    @cached_property
    def factor(self) -> Factor:
        return self.factor_of("float64")

    def factor_of(self, dtype: str) -> Factor:
        """What makes draws of it; raises E0721 where it is no law."""
        if self.precision is not None:
            return factorise(self.precision, dtype)
        assert self.covariance is not None
        return CovarianceFactor(self.covariance, dtype)

    def cov(self) -> FloatArray:
        """Σ [n, n], dense."""
        if self.covariance is not None:
            return self.covariance
        return self.factor.solve(np.eye(self.n))


def cells(circuit: Board) -> Gaussian:
    """The stationary law of the cells of a circuit: Boltzmann's where it is in equilibrium (physics §1, §3),
    else the solution of the Lyapunov equation."""
    precision = sparse.csr_array(circuit.matrix / circuit.scale)
    if circuit.equilibrium:
        law = Gaussian(np.zeros(circuit.n), precision)
        if circuit.bias.any():
            return Gaussian(law.factor.solve(circuit.bias / circuit.scale), precision)
        return law
    linear = system(circuit)
    covariance = linear.read(stationary(linear))
    return Gaussian(linear.mean_read(), covariance=covariance)
