"""`realise-spins`: spins on p-bits, couplings −K = J/T and fields h/T divided by the temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain, Energy
from spucc.pipeline import Context, JobPass, Outcome
from spucc.stages import Couplings, Job, Role, Stage


@dataclass(frozen=True)
class RealiseSpins(JobPass):
    """Spins with fields and pair couplings as p-bits: everything divided by the temperature."""

    name: ClassVar[str] = "realise-spins"
    takes: ClassVar[Stage] = Stage.JOBS
    gives: ClassVar[Stage] = Stage.COUPLINGS
    why: ClassVar[str] = "what p-bits do not have must be refused before anything has a place"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        assert isinstance(job.value, Energy)
        return spins(job.value, device, job.target.n)


def spins(energy: Energy, device: Device, own: int) -> Outcome:
    """Spins with fields and pair couplings, divided by the temperature; the spins after the first `own` are
    auxiliary.

    Raises E0511 for what `encode` leaves (real variables), E0550 for couplings that are not finite, E0556 for
    fields on a device without any, E0557 for repelling spins on a device without, which `gauge` removes where it can.
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
    if not device.spec.coupling.signed and (k.data > 0).any():
        i, j = (int(x[0]) for x in sparse.coo_array(k > 0).coords)
        fail(
            "E0557",
            f"`{device.name}` has couplings that attract only, but `{energy.label(i)}` and `{energy.label(j)}` repel",
            help="run the pass `gauge` before, or choose a target whose `coupling` bank is `signed`",
        )
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
    return Outcome(value)
