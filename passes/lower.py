"""`lower`: quantized jobs become configurations with a schedule, and the folded way back to the user's variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spucc.device import Device
from spucc.passes.schedule import schedule_of
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import HostLoop, fold
from spucc.stages import Configuration, Job, Quantized, Stage


@dataclass(frozen=True)
class Lower(JobPass):
    """Adds the schedule: settle time, interval and predicted effective sample size from the poles of the circuit that the
    codes make. `rel_error` asks for as many draws as bring the covariance within it."""

    name: ClassVar[str] = "lower"
    takes: ClassVar[Stage] = Stage.QUANTIZED
    gives: ClassVar[Stage] = Stage.PROGRAM
    why: ClassVar[str] = "only the codes say what the circuit will be, and so how fast it mixes"

    rel_error: float | None = None
    draws: int = 1000
    chains: int = 4

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        codes = job.value
        assert isinstance(codes, Quantized)
        back = fold(job.readbacks(), job.target.n)
        host = 0.0
        for step in back:
            sweeps = step.sweeps if isinstance(step, HostLoop) else 0
            matrix = step.precision if isinstance(step, HostLoop) else getattr(step, "matrix", None)
            host += max(sweeps, 1) * (matrix.nnz if matrix is not None else 0)
        schedule, notes = schedule_of(codes, device, self.draws, self.chains, self.rel_error, host, back)
        return Outcome(Configuration(codes, schedule, back), None, notes)
