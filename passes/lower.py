"""`lower`: quantized jobs become configurations, with the folded way back to the user's variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spucc.device import Device
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import fold
from spucc.stages import Configuration, Job, Quantized, Schedule, Stage


@dataclass(frozen=True)
class Lower(JobPass):
    """Folds the read-backs of all passes. Its schedule is that of independent draws, until `schedule` knows the circuit."""

    name: ClassVar[str] = "lower"
    takes: ClassVar[Stage] = Stage.QUANTIZED
    gives: ClassVar[Stage] = Stage.PROGRAM
    why: ClassVar[str] = "the codes are final, and so is every step of the way back"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        codes = job.value
        assert isinstance(codes, Quantized)
        return Outcome(Configuration(codes, Schedule(), fold(job.readbacks(), job.target.n)))
