"""`project`: couplings for which the board has no coupler are projected out in KL (mapping §2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spucc.device import Device
from spucc.pipeline import Context, JobPass, Outcome
from spucc.stages import Job, Placed, Stage


@dataclass(frozen=True)
class Project(JobPass):
    """The nearest law, in KL, whose couplings lie on the board's couplers. Nothing is done when they all do."""

    name: ClassVar[str] = "project"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = "only placed cells know which couplings have a coupler"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        if device.topology.nodes is None or not placed.edges.size:
            return Outcome(placed)
        ids = device.coupler_ids(placed.cell[placed.edges])
        if (ids >= 0).all() and device.live_edges[ids].all():
            return Outcome(placed)
        raise NotImplementedError
