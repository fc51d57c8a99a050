"""`lower-sweeps`: quantized jobs of p-bits or nonlinear units become configurations with a schedule in
sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spucc.device import Device
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import fold
from spucc.stages import Configuration, Job, Quantized, Schedule, Stage


@dataclass(frozen=True)
class LowerSweeps(JobPass):
    """Adds the schedule: `settle` sweeps from cold, `interval` sweeps between draws. A sweep updates every
    spin once, or takes one step of every unit."""

    settle: int = 1000
    interval: int = 10
    draws: int = 1000
    chains: int = 4

    name: ClassVar[str] = "lower-sweeps"
    takes: ClassVar[Stage] = Stage.QUANTIZED
    gives: ClassVar[Stage] = Stage.PROGRAM
    why: ClassVar[str] = "the codes are known, and these families have no clock but the sweep"

    def __post_init__(self) -> None:
        if self.settle < 0 or self.interval < 1 or self.draws < 1 or self.chains < 1:
            raise ValueError("`settle` is at least 0, `interval`, `draws` and `chains` at least 1")

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        codes = job.value
        assert isinstance(codes, Quantized)
        schedule = Schedule(float(self.settle), float(self.interval), self.draws, self.chains)
        return Outcome(Configuration(codes, schedule, fold(job.readbacks(), job.target.n)))
