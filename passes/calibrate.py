"""`calibrate`: capacitors that make the wanted law in spite of lossy inductors (physics §5).

A series resistance r_s is a cold bath: the law's precision times θ is Λ(C) = C + (r_s R/ℓ) C² + … instead of C.
The capacitors are set to C_set with Λ(C_set) = C on the couplers that there are, unequal parts included (`fitting.compensation`).
Unequal resistors need nothing: the noise of each cell is programmed to its own. What `quantize` then rounds to is held to
the same law (`quantizing.lossy_book`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray, frozen
from spucc.circuit import network
from spucc.device import Device, Family
from spucc.fidelity.board_law import cell_covariance, parts_of
from spucc.passes.fitting.compensation import compensated
from spucc.passes.fitting.spring_box import scale_step
from spucc.passes.project import board_pairs
from spucc.passes.realising.moments import inverse
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Stage

LARGEST = 1500
"""Up to so many cells losses are compensated, with dense matrices."""


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
        if parts.equilibrium():
            return Outcome(placed)
        if placed.n > LARGEST:
            return Outcome(
                placed, None, (f"series resistance is compensated up to {LARGEST} cells: not here",)
            )
        wanted = network(device, placed.cell, placed.edges, placed.ground, placed.coupling)
        target = inverse(wanted.toarray() / placed.scale)
        start = cell_covariance(device, placed.cell, wanted, placed.scale)
        corrected = compensated(widened(placed, device), device, wanted.toarray(), parts)
        found = network(device, placed.cell, corrected.edges, corrected.ground, corrected.coupling)
        realised = cell_covariance(device, placed.cell, found, corrected.scale)
        # The free scales of the read-out take what is left of the variances (mapping §0.2).
        d = 1.0 / scale_step(inverse(realised) * target, np.sqrt(np.diagonal(realised) / np.diagonal(target)))
        before = divergence(target, start) / placed.n
        after = divergence(target, np.outer(d, d) * realised) / placed.n
        if not after <= before:
            return Outcome(placed, None, (f"series resistance costs KL {before:.2g} a cell",))
        note = f"series resistance compensated: KL {before:.2g} a cell before, {after:.2g} after"
        return Outcome(corrected, Affine.diagonal(d), (note,))


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


def divergence(target: FloatArray, realised: FloatArray) -> float:
    """KL(N(0, target) ‖ N(0, realised)) in nats, of covariances."""
    values = np.maximum(linalg.eigh(target, realised, eigvals_only=True), 1e-300)
    return 0.5 * float(np.sum(values - 1.0 - np.log(values)))
