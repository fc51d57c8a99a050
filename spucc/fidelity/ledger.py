"""The fidelity ledger: after every pass, how far the realised distribution is from the model.

For Gaussians N(μ, Σ), P = Σ⁻¹, the divergence of the realised N(μ', Σ') is exact:

    KL(target ‖ realised) = ½ [ tr(P'Σ) − n − log det(P'Σ) + (μ'−μ)ᵀ P' (μ'−μ) ]

with the terms summed over the eigenvalues λ of P'Σ as λ − 1 − log λ, which keeps divergences of 1e-15. Each pass moves to a
law on a pattern that matches moments, so losses add up (mapping §0.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray, IntArray
from spucc.circuit import assemble, network
from spucc.device import Device, Family
from spucc.energy import Domain, Energy
from spucc.pipeline import Observer, Pass
from spucc.readback import Affine, HostLoop, fold
from spucc.stages import (
    Configuration,
    Couplings,
    Job,
    LedgerEntry,
    Placed,
    Quantized,
    State,
)

# Up to so many coordinates moments are compared as dense matrices.
DENSE_LIMIT = 1500

NAN = float("nan")

# Probes of the stochastic trace beyond it.
_PROBES = 24


@dataclass(frozen=True, eq=False)
class Divergence:
    """The figures of a `LedgerEntry`."""

    kl_forward: float
    kl_reverse: float
    sd_error: float
    mean_error: float
    correlation_error: float
    basis: str = "exact"
    note: str = ""


def gaussian_divergence(
    mean: FloatArray, cov: FloatArray, realised_mean: FloatArray, realised_cov: FloatArray
) -> Divergence:
    """Exact figures for two Gaussians with dense covariances [n, n]; KL per variable. Infinite for a singular one."""
    n = mean.size
    if n == 0:
        return Divergence(0.0, 0.0, 0.0, 0.0, 0.0)
    sd, realised_sd = np.sqrt(np.diagonal(cov)), np.sqrt(np.abs(np.diagonal(realised_cov)))
    c, r = cov / np.outer(sd, sd), realised_cov / np.outer(sd, sd)
    shift = (realised_mean - mean) / sd
    correlation = r / np.outer(realised_sd / sd, realised_sd / sd)
    try:
        lc, lr = linalg.cholesky(c, lower=True), linalg.cholesky(r, lower=True)
        delta = linalg.solve_triangular(lc, linalg.solve_triangular(lc, r - c, lower=True).T, lower=True)
        eta = np.linalg.eigvalsh((delta + delta.T) / 2)
        eta = np.maximum(eta, -1 + 1e-300)
        log = np.log1p(eta)
        forward = 0.5 * float(np.sum(log - eta / (1 + eta)))
        reverse = 0.5 * float(np.sum(eta - log))
        forward += 0.5 * float(np.sum(linalg.solve_triangular(lr, shift, lower=True) ** 2))
        reverse += 0.5 * float(np.sum(linalg.solve_triangular(lc, shift, lower=True) ** 2))
    except linalg.LinAlgError:
        forward = reverse = np.inf
    return Divergence(
        kl_forward=max(forward / n, 0.0),
        kl_reverse=max(reverse / n, 0.0),
        sd_error=float(np.max(np.abs(realised_sd / sd - 1))),
        mean_error=float(np.max(np.abs(shift))),
        correlation_error=float(np.max(np.abs(correlation - c))),
    )


def realised_law(job: Job, device: Device) -> tuple[FloatArray, FloatArray]:
    """Mean [n] and covariance [n, n] of the job's coordinates that the job's value stands for, through its read-backs.

    An ensemble's is the moments of its merged draws. Raises `LinAlgError` when a realised matrix is not positive definite.
    """
    mean, cov = _cells_law(job, device)
    for back in reversed(fold(job.readbacks(), job.target.n)):
        if isinstance(back, Affine):
            mean, cov = back.moments(mean, cov)
        elif isinstance(back, HostLoop):
            precision = np.asarray(back.precision.toarray())
            cov = _inverse(precision)
            mean = cov @ back.potential
    return mean, cov


def _cells_law(job: Job, device: Device) -> tuple[FloatArray, FloatArray]:
    value = job.value
    if isinstance(value, Configuration):
        value = value.codes
    if isinstance(value, Couplings):
        cov = _inverse(np.asarray(value.matrix.toarray()))
        return cov @ value.bias, cov
    if isinstance(value, Placed):
        cov = cells_covariance(
            device, value.cell, placed_matrix(value, device), value.scale, value.dimensionless
        )
        return cov @ (value.bias / value.scale), cov
    if isinstance(value, Quantized):
        first, second = np.zeros(value.n), np.zeros((value.n, value.n))
        for m in range(value.members):
            mean, cov = member_law(value, m, device)
            first = first + value.weight[m] * mean
            second = second + value.weight[m] * (cov + np.outer(mean, mean))
        return first, second - np.outer(first, first)
    assert isinstance(value, Energy)
    precision = value.quadratic.toarray() / value.temperature
    cov = _inverse(precision)
    return cov @ (-value.linear / value.temperature), cov


def placed_matrix(value: Placed, device: Device) -> sparse.csr_array:
    """The matrix that placed components make, strays included once the values have units."""
    if value.dimensionless:
        return assemble(value.family, value.edges, value.ground, value.coupling)
    return network(device, value.cell, value.edges, value.ground, value.coupling)


def cells_covariance(
    device: Device, cells: IntArray, matrix: sparse.csr_array, scale: float, dimensionless: bool = False
) -> FloatArray:
    """scale · matrix⁻¹, or what lossy resonators and unequal parts make of it (physics §5)."""
    if device.family is Family.CAPACITIVE and not dimensionless:
        from spucc.fidelity.board_law import cell_covariance, parts_of

        if not parts_of(device, cells, scale).equilibrium():
            return cell_covariance(device, cells, matrix, scale)
    return _inverse(np.asarray(matrix.toarray()) / scale)


def member_law(codes: Quantized, m: int, device: Device) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the cells of one member of an ensemble, after its own correction."""
    ground, coupling = decode(codes, m, device)
    bias = np.zeros(codes.n) if device.spec.bias is None else device.spec.bias.decode(codes.bias[m])
    if device.spec.bias is None and codes.bias.size:
        bias = np.asarray(codes.bias[m], dtype=np.float64)
    matrix = network(device, codes.cell, codes.edges, ground, coupling)
    cov = cells_covariance(device, codes.cell, matrix, float(codes.scale[m]))
    return codes.readback[m].moments(cov @ (bias / codes.scale[m]), cov)


def decode(codes: Quantized, m: int, device: Device) -> tuple[FloatArray, FloatArray]:
    """Component values [n] and [edges] of member m's codes, by the measured level tables where there are any."""
    device = device.of(codes.family)
    spec = device.spec
    if spec.ground.continuous or device.topology.nodes is None:
        ground = np.asarray(codes.ground[m], dtype=np.float64)
    else:
        table = device.ground_levels(codes.cell)
        ground = np.sign(codes.ground[m] + 0.5) * table[np.arange(codes.n), np.abs(codes.ground[m])]
    if spec.coupling.continuous or device.topology.nodes is None or codes.edges.shape[0] == 0:
        coupling = np.asarray(codes.coupling[m], dtype=np.float64)
    else:
        table = device.coupling_levels(device.coupler_ids(codes.cell[codes.edges]))
        size = table[np.arange(codes.edges.shape[0]), np.abs(codes.coupling[m])]
        coupling = np.where(codes.coupling[m] < 0, -size, size)
    return ground, coupling


def _inverse(matrix: FloatArray) -> FloatArray:
    """Of a symmetric positive definite matrix, scaled to unit diagonal first; LinAlgError when it is not."""
    if matrix.size == 0:
        return matrix
    d = np.diagonal(matrix)
    if not (d > 0).all():
        raise linalg.LinAlgError("the diagonal is not positive")
    s = 1 / np.sqrt(d)
    factor = linalg.cho_factor(matrix * np.outer(s, s), lower=True)
    return np.asarray(linalg.cho_solve(factor, np.diag(s)) * s[:, None])


class Fidelity(Observer):
    """Writes a ledger entry for every job after each pass that changed it."""

    def after(self, step: Pass, before: State, after: State) -> State:
        last = {entry.job: entry for entry in before.ledger}
        entries = []
        for k, job in enumerate(after.jobs):
            entry: LedgerEntry | None
            if k < len(before.jobs) and job.name in last and _same_codes(before.jobs[k], job):
                entry = replace(last[job.name], name=step.name)
            else:
                entry = self._entry(step, job, after)
            if entry is not None:
                entries.append(entry)
        return replace(after, ledger=(*after.ledger, *entries))

    def _entry(self, step: Pass, job: Job, state: State) -> LedgerEntry | None:
        if job.value is job.target:
            return None
        figures = divergence(job, state.device)
        if figures is None:
            return LedgerEntry(job.name, step.name, NAN, NAN, NAN, NAN, NAN, "none", _reason(job))
        return LedgerEntry(
            job.name,
            step.name,
            figures.kl_forward,
            figures.kl_reverse,
            figures.sd_error,
            figures.mean_error,
            figures.correlation_error,
            figures.basis,
            figures.note,
        )


def _same_codes(before: Job, after: Job) -> bool:
    """Whether a pass left the codes and the way back as they were, and so the law."""
    codes = [j.value.codes if isinstance(j.value, Configuration) else j.value for j in (before, after)]
    return isinstance(codes[0], Quantized) and codes[0] is codes[1] and after.steps[-1].readback is None


def _reason(job: Job) -> str:
    """Why nothing is said of a job."""
    if job.target.higher and not any(d.size for d in job.target.domains[1:]):
        return "rounding took the law of the units too far away, or there are too many of them"
    if not job.target.domains[0].size:
        return "rounded products of many spins, or more cells than can be sampled while compiling"
    return "no exact law"


def divergence(job: Job, device: Device) -> Divergence | None:
    """The figures of a job as it stands; None for what is neither Gaussian, nor a narrow spin system, nor
    the model itself unit by unit."""
    if job.target.n and not job.target.domains[0].size:
        from spucc.fidelity.spins import sampled_figures, spin_figures

        figures = spin_figures(job, device)
        if figures is not None:
            return Divergence(*figures)
        sampled = sampled_figures(job, device)
        if sampled is None:
            return None
        return Divergence(
            sampled.kl_forward,
            sampled.kl_reverse,
            sampled.sd_error,
            sampled.mean_error,
            sampled.correlation_error,
            "estimate",
            sampled.note,
        )
    if job.target.higher and not any(d.size for d in job.target.domains[1:]):
        from spucc.fidelity.langevin import figures as langevin_figures

        found = langevin_figures(job, device)
        if found is None:
            return None
        f, basis = found
        return Divergence(f.kl_forward, f.kl_reverse, f.sd_error, f.mean_error, f.correlation_error, basis)
    if not job.target.is_gaussian or getattr(job.value, "domain", Domain.REAL) is not Domain.REAL:
        return None
    if job.target.n > DENSE_LIMIT:
        return _sparse_divergence(job, device)
    target = replace(job, value=job.target, steps=())
    try:
        mean, cov = realised_law(target, device)
        realised_mean, realised_cov = realised_law(job, device)
    except linalg.LinAlgError:
        return Divergence(np.inf, np.inf, np.inf, np.inf, np.inf)
    return gaussian_divergence(mean, cov, realised_mean, realised_cov)


def _sparse_divergence(job: Job, device: Device) -> Divergence:
    """Large jobs whose read-back is one diagonal map: P' is compared with P entry by entry, and when they differ the
    divergence is estimated to second order, KL ≈ ¼ tr((ΣΔ)²) with Δ = P' − P, by `_PROBES` random probes."""
    folded = fold(job.readbacks(), job.target.n)
    if any(isinstance(b, HostLoop) for b in folded):
        return Divergence(0.0, 0.0, 0.0, 0.0, 0.0, "exact")
    matrix, potential = _cells_precision(job, device)
    back = folded[0]
    unknown = Divergence(NAN, NAN, NAN, NAN, NAN, "none")
    if len(folded) != 1 or not isinstance(back, Affine) or back.n_in != back.n_out or matrix is None:
        return unknown
    order = np.argsort(back.matrix.indices) if back.matrix.nnz == back.n_in else None
    if order is None or (np.diff(back.matrix.indptr) != 1).any():
        return unknown
    inverse = 1.0 / back.matrix.data
    columns = back.matrix.indices
    p = sparse.csr_array(job.target.quadratic.tocsr() / job.target.temperature)
    permuted = sparse.csr_array(matrix[columns][:, columns])
    scale = sparse.diags_array(inverse)
    realised = sparse.csr_array(scale @ permuted @ scale)
    delta = sparse.csr_array(realised - p)
    d = np.sqrt(p.diagonal())
    scaled = sparse.csr_array(sparse.diags_array(1 / d) @ delta @ sparse.diags_array(1 / d))
    size = float(np.abs(scaled.data).max()) if scaled.nnz else 0.0
    shift = back.offset - (-job.target.linear / job.target.temperature) * 0
    residual = p @ shift + job.target.linear / job.target.temperature - inverse * potential[columns]
    if size < 1e-12 and float(np.abs(residual / d).max(initial=0.0)) < 1e-8:
        return Divergence(0.0, 0.0, 0.0, 0.0, 0.0, "exact")
    lu = sparse_linalg.splu(
        sparse.csc_matrix(p),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    rng = np.random.Generator(np.random.Philox(7))
    z = rng.choice([-1.0, 1.0], size=(p.shape[0], _PROBES))
    half = lu.solve(delta @ z)
    trace = float(np.mean(np.sum(half * (delta @ lu.solve(z)), axis=0)))
    bump = lu.solve(residual)
    variance = np.mean(z * lu.solve(z), axis=1)
    sd = np.sqrt(np.abs(variance))
    kl = (0.25 * abs(trace) + 0.5 * float(bump @ (p @ bump))) / p.shape[0]
    relative = -0.5 * np.mean(lu.solve(z) * half, axis=1) / np.maximum(sd, 1e-300) ** 2
    return Divergence(
        kl,
        kl,
        float(np.abs(relative).max()),
        float(np.abs(bump / np.maximum(sd, 1e-300)).max()),
        float("nan"),
        "estimate",
    )


def _cells_precision(job: Job, device: Device) -> tuple[sparse.csr_array | None, FloatArray]:
    """Sparse precision and potential of the cells, as one member."""
    value = job.value
    if isinstance(value, Configuration):
        value = value.codes
    if isinstance(value, Couplings):
        return value.matrix, value.bias
    if isinstance(value, Placed):
        return sparse.csr_array(placed_matrix(value, device) / value.scale), value.bias / value.scale
    if isinstance(value, Quantized) and value.members == 1 and value.readback[0].is_diagonal:
        ground, coupling = decode(value, 0, device)
        matrix = network(device, value.cell, value.edges, ground, coupling)
        d = 1.0 / value.readback[0].matrix.data
        scale = sparse.diags_array(d)
        p = sparse.csr_array(scale @ (matrix / value.scale[0]) @ scale)
        bias = d * (np.asarray(value.bias[0], dtype=np.float64) / value.scale[0])
        return p, bias + p @ value.readback[0].offset
    return None, np.zeros(0)
