"""The law of a job's coordinates after infinite time, from its codes alone: what `spucc law` prints and what
every backend is held to. Shares no code with the passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.readback import Affine, HostLoop
from spucc.stages import Configuration, Quantized
from spucc.targets.chebyshev import FunctionFactor
from spucc.targets.circuits import Board, board
from spucc.targets.gaussian import CovarianceFactor, Factor, factorise
from spucc.targets.linear import Modes, modes, stationary, system
from spucc.threads import one_blas_thread

# Coordinates up to which a covariance is written out.
DENSE_LAW = 4096


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, Σ) of n cells. Σ is given by its inverse `precision` (sparse), itself (`covariance`, dense), or
    as the function `response` of the sparse matrix `circuit`."""

    mean: FloatArray
    precision: sparse.csr_array | None = None
    covariance: FloatArray | None = None
    circuit: sparse.csr_array | None = None
    response: Modes | None = None

    @property
    def n(self) -> int:
        return int(self.mean.size)

    @cached_property
    def factor(self) -> Factor:
        """The factor in double precision."""
        return self.factor_of("float64")

    def factor_of(self, dtype: str) -> Factor:
        """What makes draws of it; raises E0721 where it is no law."""
        if self.precision is not None:
            return factorise(self.precision, dtype)
        if self.covariance is not None:
            return CovarianceFactor(self.covariance, dtype)
        assert self.circuit is not None and self.response is not None
        return FunctionFactor(self.circuit, self.response.variance, dtype)

    def cov(self) -> FloatArray:
        """Σ [n, n], dense."""
        return self.covariance if self.covariance is not None else self.factor.solve(np.eye(self.n))


def cells(circuit: Board) -> Gaussian:
    """The stationary law of the cells of a circuit, in the device's units.

    Boltzmann's where it is in equilibrium (physics §1, §3); of equal cells with series resistance the same
    function of every mode; else the solution of the Lyapunov equation. Raises E0720, E0721 for circuits
    without one.
    """
    if circuit.equilibrium:
        precision = sparse.csr_array(circuit.matrix / circuit.temperature)
        law = Gaussian(np.zeros(circuit.n), precision)
        if circuit.bias.any():
            return Gaussian(law.factor.solve(circuit.bias / circuit.temperature), precision)
        return law
    separable = modes(circuit)
    if separable is not None and separable.kind == 2:
        if circuit.n > DENSE_LAW:
            return Gaussian(np.zeros(circuit.n), circuit=circuit.matrix, response=separable)
        values, vectors = np.linalg.eigh(circuit.matrix.toarray())
        if values.min(initial=1.0) > 0:
            covariance = (vectors * separable.variance(values)) @ vectors.T
            return Gaussian(np.zeros(circuit.n), covariance=covariance)
    linear = system(circuit)
    return Gaussian(linear.mean_read(), covariance=linear.read(stationary(linear)))


@dataclass(frozen=True, eq=False)
class Law:
    """Mean [n] and covariance [n, n] or, for many coordinates, sparse precision [n, n] of a job's
    coordinates. `exact` is False where the law is a mixture of an ensemble, which is not a Gaussian although
    its moments are these."""

    mean: FloatArray
    covariance: FloatArray | None
    precision: sparse.csr_array | None
    gaussian: bool

    def cov(self) -> FloatArray:
        """The covariance, dense. Raises E0724 above 20,000 coordinates."""
        if self.covariance is not None:
            return self.covariance
        assert self.precision is not None
        if self.mean.size > 20_000:
            fail("E0724", f"the covariance of {self.mean.size} coordinates does not fit memory")
        return factorise(self.precision).solve(np.eye(self.mean.size))


def corrected(law: Gaussian, back: Affine) -> Gaussian:
    """The law of back's coordinates. The precision stays sparse where the map is diagonal."""
    mean = np.asarray(back.matrix @ law.mean + back.offset)
    if back.is_diagonal and law.precision is not None:
        inverse = sparse.diags_array(1.0 / back.matrix.data)
        return Gaussian(mean, precision=sparse.csr_array(inverse @ law.precision @ inverse))
    if law.n > DENSE_LAW:
        if law.precision is not None and _permutes(back):
            return Gaussian(mean, precision=_permuted(law.precision, back))
        fail(
            "E0724",
            f"the law of {back.n_out} coordinates read from {law.n} cells is too large to write down",
            help="ask for draws instead",
        )
    if law.precision is not None:
        half = law.factor.solve(np.asarray(back.matrix.T.toarray()))
        return Gaussian(mean, covariance=np.asarray(back.matrix @ half))
    covariance = law.cov()
    return Gaussian(mean, covariance=np.asarray((back.matrix @ (back.matrix @ covariance).T).T))


def _permutes(back: Affine) -> bool:
    """Whether each coordinate is a multiple of one cell of its own."""
    m = back.matrix
    return bool(
        m.shape[0] == m.shape[1] == m.nnz
        and (np.diff(m.indptr) == 1).all()
        and np.bincount(m.indices, minlength=m.shape[1]).max(initial=1) == 1
        and m.data.all()
    )


def _permuted(precision: sparse.csr_array, back: Affine) -> sparse.csr_array:
    inverse = back.matrix.copy()
    inverse.data = 1.0 / inverse.data
    return sparse.csr_array(inverse @ precision @ inverse.T)


def member_law(codes: Quantized, member: int, device: Device) -> Gaussian:
    """The law of the cells that one member promises to the stage before, after its own correction."""
    return corrected(cells(board(codes, member, device)), codes.readback[member])


@one_blas_thread()
def member_laws(
    configuration: Configuration, device: Device, shown: Sequence[Gaussian] | None = None
) -> tuple[FloatArray, list[Gaussian]]:
    """The members' shares, which sum to 1, and their laws of the job's coordinates; one where a host loop makes them alike.
    `shown` [members] are the laws of the members' cells if they are not those of the codes.

    Read-backs are folded: affine maps exactly, a host loop to its stationary law N(P⁻¹h, P⁻¹), which does not
    depend on the codes as long as the loop converges (mapping §3). Raises E0722 for cells that are not linear
    or read-backs that are no map of Gaussians, E0720, E0721 for circuits without a law, E0724 for laws too
    large to write down.
    """
    codes = configuration.codes
    loops = [k for k, back in enumerate(configuration.readback) if isinstance(back, HostLoop)]
    if loops:
        loop = configuration.readback[loops[0]]
        assert isinstance(loop, HostLoop)
        mean = factorise(loop.precision).solve(loop.potential)
        parts, weight = [Gaussian(mean, precision=loop.precision)], np.ones(1)
        outer = configuration.readback[: loops[0]]
    else:
        weight = codes.weight / np.sum(codes.weight)
        if shown is None:
            parts = [member_law(codes, m, device) for m in range(codes.members)]
        else:
            parts = [corrected(law, back) for law, back in zip(shown, codes.readback)]
        outer = configuration.readback
    for back in reversed(outer):
        if not isinstance(back, Affine):
            fail("E0722", "this job reads spins, which have no Gaussian law")
        parts = [corrected(part, back) for part in parts]
    return weight, parts


@one_blas_thread()
def law(configuration: Configuration, device: Device, shown: Sequence[Gaussian] | None = None) -> Law:
    """The law of a job's coordinates, mixed of its members' (`member_laws`, which raises what this does)."""
    weight, parts = member_laws(configuration, device, shown)
    if len(parts) == 1:
        covariance = None if parts[0].precision is not None else parts[0].cov()
        return Law(frozen(parts[0].mean), covariance, parts[0].precision, True)
    if parts[0].n > DENSE_LAW:
        fail(
            "E0724",
            f"the mixed law of {len(parts)} programs of {parts[0].n} coordinates is too large to write down",
            help="ask for draws instead",
        )
    mean = sum((w * p.mean for w, p in zip(weight, parts)), np.zeros(parts[0].n))
    covariance = sum(
        (w * (p.cov() + np.outer(p.mean - mean, p.mean - mean)) for w, p in zip(weight, parts)),
        np.zeros((mean.size, mean.size)),
    )
    return Law(frozen(mean), covariance, None, False)


def settled(circuit: Board) -> float:
    """The time [s] in which the slowest mode of a circuit forgets its start by a factor e (∞ for an empty
    one)."""
    if not circuit.n:
        return inf
    return float(1.0 / system(circuit).rates.real.min())
