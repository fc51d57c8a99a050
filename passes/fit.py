"""`fit`: dimensionless couplings to the values of the device's components (physics §2, mapping §1, §6).

On capacitors C = D K D with D > 0 chosen freely, since the read-out undoes it: y = D v/√θ, where v are the
cells' voltages and θ the scale of the noise. The values have to lie in the banks' ranges, strays included, and
the voltages within the read-out's swing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spucc.device import Device, Family
from spucc.diagnostics import fail
from spucc.pipeline import Context, JobPass, Outcome
from spucc.stages import Job, Placed, Stage


@dataclass(frozen=True)
class Fit(JobPass):
    """Placed couplings to SI values."""

    name: ClassVar[str] = "fit"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = "ranges, strays and swing are the device's, and only placed cells have them"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        if not placed.dimensionless:
            fail(
                "E0624",
                f"`fit` has been here before: the values of job `{job.name}` have units already",
                help="go on with `quantize`, or start from the stage before `fit` (`--stop-after embed`)",
            )
        if device.family is Family.CAPACITIVE:
            from spucc.passes.fitting.spring_fit import fit_springs

            return fit_springs(job, placed, device, context)
        if device.family in (Family.RESISTIVE, Family.INDUCTIVE):
            from spucc.passes.fitting.conductance_fit import fit_conductances

            return fit_conductances(job, placed, device, context)
        return Outcome(placed)
