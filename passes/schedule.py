"""`schedule`: when to read, and how many draws to take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from spucc.device import Device
from spucc.passes.scheduling.pace import schedule_of
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import HostLoop
from spucc.stages import Configuration, Job, Stage


@dataclass(frozen=True)
class Schedule(JobPass):
    """Settle time, interval and predicted effective sample size from the poles of the circuit that the codes make, and the
    host's work for one draw. `rel_error` asks for as many draws as bring the covariance within it. A compiled program can be
    scheduled anew."""

    name: ClassVar[str] = "schedule"
    takes: ClassVar[Stage] = Stage.PROGRAM
    gives: ClassVar[Stage] = Stage.PROGRAM
    why: ClassVar[str] = "only the codes say what the circuit will be, and so how fast it mixes"

    rel_error: float | None = None
    draws: int = 1000
    chains: int = 4

    def __post_init__(self) -> None:
        if self.draws < 1 or self.chains < 1:
            raise ValueError("`draws` and `chains` are at least 1")
        if self.rel_error is not None and not 0 < self.rel_error < 1:
            raise ValueError("`rel-error` lies between 0 and 1")

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        configuration = job.value
        assert isinstance(configuration, Configuration)
        host = 0.0
        for step in configuration.readback:
            sweeps = step.sweeps if isinstance(step, HostLoop) else 0
            matrix = step.precision if isinstance(step, HostLoop) else getattr(step, "matrix", None)
            host += max(sweeps, 1) * (matrix.nnz if matrix is not None else 0)
        schedule, notes = schedule_of(
            configuration.codes, device, self.draws, self.chains, self.rel_error, host, configuration.readback
        )
        return Outcome(replace(configuration, schedule=schedule), None, notes)
