"""How many boards of a kind would serve: programs run, on paper, on boards with parts drawn from their tolerances.

Each board's capacitors (or conductances), resistors, inductors and noise sources differ from nominal by
independent normal factors 1 + tolerance·z. The law it samples is exact (`spucc.fidelity.board_law`), so the spread has
no sampling noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray, frozen
from spucc.circuit import network
from spucc.device import Bank, Device, Family
from spucc.diagnostics import fail
from spucc.fidelity.board_law import Parts, parts_of, voltage_covariance
from spucc.fidelity.ledger import decode, gaussian_divergence
from spucc.readback import Affine, HostLoop, ReadBack
from spucc.stages import Configuration, Job, Quantized


@dataclass(frozen=True, eq=False)
class Yield:
    """Figures of N boards: KL(target ‖ board) per variable, the worst relative error of a standard deviation,
    the worst shift of a mean in standard deviations; all [N], infinite for a board that is not stable."""

    kl: FloatArray
    sd_error: FloatArray
    mean_error: FloatArray

    def share(self, tolerance: float) -> float:
        """The share of boards within `tolerance` in every standard deviation and mean."""
        return float(np.mean((self.sd_error <= tolerance) & (self.mean_error <= tolerance)))

    def quantiles(self, levels: Sequence[float] = (0.05, 0.5, 0.95)) -> FloatArray:
        """Quantiles of `sd_error`."""
        return np.asarray(np.quantile(self.sd_error, levels))


def tolerance_analysis(job: Job, device: Device, boards: int, rng: np.random.Generator) -> Yield:
    """Draw `boards` boards and compare what each samples with the job's model.

    The board is set by the codes as if it were what `device` says. Raises E0533 for a job that is not a
    Gaussian configuration.
    """
    configuration = job.value
    if not isinstance(configuration, Configuration) or not job.target.is_gaussian:
        fail(
            "E0533",
            f"a tolerance analysis of job `{job.name}`, which is not a Gaussian program",
            help="compile the model for a capacitive or resistive device first",
        )
    codes = configuration.codes
    precision = job.target.quadratic.toarray() / job.target.temperature
    cov = linalg.inv(precision)
    cov = (cov + cov.T) / 2
    mean = cov @ (-np.asarray(job.target.linear) / job.target.temperature)
    figures = np.full((3, boards), np.inf)
    for k in range(boards):
        try:
            realised = drawn_law(codes, device, configuration.readback, rng)
        except linalg.LinAlgError:
            continue
        found = gaussian_divergence(mean, cov, *realised)
        figures[:, k] = found.kl_forward, found.sd_error, found.mean_error
    return Yield(frozen(figures[0]), frozen(figures[1]), frozen(figures[2]))


def drawn_law(
    codes: Quantized, device: Device, back: Sequence[ReadBack], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the job's coordinates on one drawn board, all members of an ensemble on the same
    board."""
    n, spec = codes.n, device.spec
    ground, coupling = _factors(spec.ground, n, rng), _factors(spec.coupling, codes.edges.shape[0], rng)
    circuit = spec.circuit
    r = 1 + circuit.resistance_tolerance * rng.standard_normal(n)
    ell = 1 + circuit.inductance_tolerance * rng.standard_normal(n)
    noise = 1 + spec.noise.temperature_tolerance * rng.standard_normal(n)
    bias = _factors(spec.bias, n, rng) if spec.bias is not None else np.ones(n)
    first, second = np.zeros(n), np.zeros((n, n))
    for m in range(codes.members):
        g, c = decode(codes, m, device)
        matrix = network(device, codes.cell, codes.edges, g * ground, c * coupling).toarray()
        linalg.cholesky(matrix, lower=True)
        if device.family is Family.CAPACITIVE:
            known = parts_of(device, codes.cell, float(codes.scale[m]))
            parts = Parts(known.resistance * r, known.inductance * ell, known.series, known.noise * noise)
            cov, mean = voltage_covariance(matrix, parts), np.zeros(n)
        elif device.family is Family.INDUCTIVE:
            # L di = −R i dt, with noise of the resistance that is known: A S + S Aᵀ = 2θ L⁻¹ R L⁻¹.
            known = parts_of(device, codes.cell, float(codes.scale[m]))
            loop, inverse = known.resistance + known.series, linalg.inv(matrix)
            drive = (inverse * (2 * float(codes.scale[m]) * loop * noise)) @ inverse
            cov, mean = linalg.solve_continuous_lyapunov(inverse * (loop * r), drive), np.zeros(n)
        else:
            # G v = I_b; noise κ0 of each cell: G S + S G = 2 κ/C0.
            scale = float(codes.scale[m]) * noise
            cov = linalg.solve_continuous_lyapunov(matrix, np.diag(2 * scale))
            current = np.asarray(codes.bias[m], dtype=np.float64)
            current = current if spec.bias is None else spec.bias.decode(codes.bias[m])
            mean = linalg.solve(matrix, current * bias, assume_a="pos")
        mean, cov = codes.readback[m].moments(mean, cov)
        first = first + codes.weight[m] * mean
        second = second + codes.weight[m] * (cov + np.outer(mean, mean))
    mean, cov = first, second - np.outer(first, first)
    for step in reversed(back):
        if isinstance(step, Affine):
            mean, cov = step.moments(mean, cov)
        elif isinstance(step, HostLoop):
            cov = linalg.inv(step.precision.toarray())
            mean = cov @ step.potential
    return mean, cov


def _factors(bank: Bank, count: int, rng: np.random.Generator) -> FloatArray:
    return np.asarray(np.maximum(1 + bank.tolerance * rng.standard_normal(count), 0.0))
