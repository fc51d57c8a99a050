"""`realise-spins`: spins on p-bits, couplings −K = J/T and fields h/T with the signs that the device has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain, Energy
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Couplings, Job, Role, Stage


@dataclass(frozen=True)
class RealiseSpins(JobPass):
    """Spins with fields and pair couplings as p-bits: everything divided by the temperature, signs made the
    device's."""

    name: ClassVar[str] = "realise-spins"
    takes: ClassVar[Stage] = Stage.JOBS
    gives: ClassVar[Stage] = Stage.COUPLINGS
    why: ClassVar[str] = (
        "signs and fields belong to the device, so they are settled before anything has a place"
    )

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        assert isinstance(job.value, Energy)
        return spins(job.value, device, job.target.n)


def spins(energy: Energy, device: Device, own: int) -> Outcome:
    """Spins with fields and pair couplings, divided by the temperature; the spins after the first `own` are
    auxiliary.

    Raises E0511 for what `encode` leaves (real variables), E0550 for couplings that are not finite, E0556 for
    fields on a device without any, E0557 for frustrated signs on a device with couplings of one sign.
    """
    real, _, bit = energy.domains
    if real.size:
        name = energy.label(int(real[0]))
        fail(
            "E0511",
            f"p-bits take two values, but `{name}` is real",
            help="compile for `ideal`, a resistive, capacitive or Langevin device; `spucc targets` lists them",
        )
    assert not bit.size and not energy.higher, "`encode` comes before"
    k = sparse.csr_array(energy.quadratic.tocsr() / energy.temperature)
    k = sparse.csr_array(k - sparse.diags_array(k.diagonal()))
    k.eliminate_zeros()
    bias = -np.asarray(energy.linear) / energy.temperature
    if not (np.isfinite(k.data).all() and np.isfinite(bias).all()):
        fail(
            "E0550",
            "a coupling or a field of the spins is infinite or undefined",
            help="clamp a spin with `observe s[0] = 1` instead of an infinite field",
        )
    if device.spec.bias is None and bias.any():
        i = int(np.flatnonzero(bias)[0])
        fail(
            "E0556",
            f"`{device.name}` has no fields, but `{energy.label(i)}` has one",
            help="add a spin that stands for +1 and couple it where a field is wanted, or choose a target with `bias`",
        )
    back = None
    notes: tuple[str, ...] = ()
    if not device.spec.coupling.signed and (k.data > 0).any():
        sign = gauge(k)
        if sign is None:
            fail(
                "E0557",
                f"`{device.name}` has couplings of one sign only, and the model's are frustrated",
                help="choose a target whose `coupling` bank is `signed`",
            )
        d = sparse.diags_array(sign)
        k, bias = sparse.csr_array(d @ k @ d), sign * bias
        back = Affine.diagonal(sign)
        notes = (f"{int((sign < 0).sum())} spins are stored flipped, so that every coupling attracts",)
    k.sort_indices()
    index = np.arange(energy.n)
    value = Couplings(
        family=device.family,
        domain=Domain.SPIN,
        matrix=k,
        bias=frozen(bias),
        coordinate=frozen(np.where(index < own, index, -1), np.int64),
        role=frozen(np.where(index < own, Role.PLAIN, Role.AUXILIARY), np.int64),
    )
    return Outcome(value, back, notes)


def gauge(k: sparse.csr_array) -> FloatArray | None:
    """Signs d ∈ {−1, +1}ⁿ with d_i K_ij d_j ≤ 0 for all i ≠ j (all couplings attractive), or None where loops
    forbid it.

    The signed double cover of the graph falls apart exactly when the signs are balanced (Harary 1953).
    """
    n = int(k.shape[0])
    coo = sparse.coo_array(k)
    attract = coo.data < 0
    i, j = coo.row, np.where(attract, coo.col, coo.col + n)
    i2, j2 = coo.row + n, np.where(attract, coo.col + n, coo.col)
    rows, cols = np.concatenate([i, i2]), np.concatenate([j, j2])
    cover = sparse.csr_array(sparse.coo_array((np.ones(rows.size), (rows, cols)), shape=(2 * n, 2 * n)))
    part = csgraph.connected_components(cover, directed=False)[1]
    if (part[:n] == part[n:]).any():
        return None
    # in each pair of mirrored components the one that is numbered first is up
    return np.asarray(np.where(part[:n] < part[n:], 1.0, -1.0))
