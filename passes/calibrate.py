"""`calibrate`: capacitors that make the wanted law in spite of lossy inductors (physics §5).

A series resistance r_s is a cold bath: the law's precision times θ is Λ(C) = C + (r_s R/ℓ) C² + … instead of C.
The capacitors are set to C_set with Λ(C_set) = C: in closed form to first order, C_set = (−I + √(I +
4aC))/(2a), a = r_s R/ℓ, and to all orders, with unequal parts and on the couplers that there are, by iterating
C_set ← C_set + (C − Λ(C_set)), Λ from the Lyapunov equation. Unequal resistors need nothing: the noise of each
cell is programmed to its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray, frozen
from spucc.board_law import LYAPUNOV, Parts, cell_covariance, parts_of, voltage_covariance
from spucc.circuit import network, strays
from spucc.device import Device, Family
from spucc.passes.fitting.spring_box import scale_step
from spucc.passes.project import board_pairs
from spucc.passes.realising.moments import inverse
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Stage


@dataclass(frozen=True)
class Calibrate(JobPass):
    """Fitted capacitors, corrected for what was measured of the board. Nothing is done when nothing needs it."""

    name: ClassVar[str] = "calibrate"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = (
        "losses depend on the values that `fit` chose, and rounding should aim at the corrected ones"
    )

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        if device.family is not Family.CAPACITIVE or placed.n == 0:
            return Outcome(placed)
        parts = parts_of(device, placed.cell, placed.scale)
        if parts.equilibrium() or placed.n > LYAPUNOV:
            return Outcome(placed)
        wanted = network(device, placed.cell, placed.edges, placed.ground, placed.coupling)
        start = cell_covariance(device, placed.cell, wanted, placed.scale)
        corrected = compensate(widened(placed, device), device, wanted.toarray(), parts)
        matrix = network(device, placed.cell, corrected.edges, corrected.ground, corrected.coupling)
        realised = cell_covariance(device, placed.cell, matrix, placed.scale)
        target = inverse(wanted.toarray() / placed.scale)
        # The free scales of the read-out take what is left of the variances (mapping §0.2).
        d = 1.0 / scale_step(inverse(realised) * target, np.ones(placed.n))
        after = np.outer(d, d) * realised
        if not divergence(target, after) <= divergence(target, start):
            return Outcome(placed)
        note = (
            f"series resistance compensated: KL {divergence(target, start) / placed.n:.2g} a cell before, "
            f"{divergence(target, after) / placed.n:.2g} after"
        )
        return Outcome(corrected, Affine.diagonal(d), (note,))


def closed_form(c: FloatArray, a: float) -> FloatArray:
    """C_set = (−I + √(I + 4aC))/(2a) for equal cells, a = r_s R/ℓ [1/F]: exact when the precision·θ is C + aC²."""
    values, vectors = linalg.eigh(c)
    # (−1 + √(1 + 4ax))/(2a) without cancellation.
    return np.asarray((vectors * (2 * values / (1 + np.sqrt(1 + 4 * a * values)))) @ vectors.T)


def widened(placed: Placed, device: Device) -> Placed:
    """The same network with every coupler of the board among its cells, those added at 0: C² couples second neighbours,
    attractively, so the correction does too."""
    pairs = board_pairs(placed.cell, device)
    n = placed.n
    key, have = pairs[:, 0] * n + pairs[:, 1], placed.edges[:, 0] * n + placed.edges[:, 1]
    union = np.union1d(key, have)
    coupling = np.zeros(union.size)
    coupling[np.searchsorted(union, have)] = placed.coupling
    edges = np.stack([union // n, union % n], axis=1)
    return replace(placed, edges=frozen(edges, np.int64), coupling=frozen(coupling))


def compensate(placed: Placed, device: Device, wanted: FloatArray, parts: Parts, rounds: int = 40) -> Placed:
    """Capacitors within their banks whose law has the precision `wanted`/θ on the diagonal and on the couplers."""
    i, j = placed.edges[:, 0], placed.edges[:, 1]
    to_ground, across = strays(device, placed.cell, placed.edges)
    ground_bank, coupling_bank = device.spec.ground, device.spec.coupling
    sign = np.where(placed.coupling < 0, -1.0, 1.0)
    target = wanted.copy()
    current = placed
    for _ in range(rounds):
        c = network(device, placed.cell, current.edges, current.ground, current.coupling).toarray()
        law = placed.scale * inverse(voltage_covariance(c, parts))
        missing = wanted - law
        target = c + missing
        # From entries of the matrix to components: c_ij = −C_ij − stray, g_i = C_ii − Σ|c_ij| − strays.
        size = sign * (-target[i, j] - across)
        value = sign * np.clip(size, coupling_bank.min * (placed.coupling != 0), coupling_bank.max)
        load = np.abs(value) + across
        total = np.bincount(i, load, placed.n) + np.bincount(j, load, placed.n)
        ground = np.clip(np.diagonal(target) - total - to_ground, ground_bank.min, ground_bank.max)
        current = replace(current, ground=frozen(ground), coupling=frozen(value))
        on_pattern = np.concatenate([np.diagonal(missing), missing[i, j]])
        if np.abs(on_pattern).max() <= 1e-13 * np.abs(wanted).max():
            break
    return current


def divergence(target: FloatArray, realised: FloatArray) -> float:
    """KL(N(0, target) ‖ N(0, realised)) in nats, of covariances."""
    values = np.maximum(linalg.eigh(target, realised, eigvals_only=True), 1e-300)
    return 0.5 * float(np.sum(values - 1.0 - np.log(values)))
