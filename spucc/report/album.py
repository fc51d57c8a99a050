"""An observer that keeps the states between the passes, for a page that steps through them."""

from __future__ import annotations

from dataclasses import dataclass, field

from spucc.pipeline import Observer, Pass
from spucc.stages import Job, State


@dataclass
class Album(Observer):
    """The state after each pass, in order, under the pass as it prints."""

    states: list[tuple[str, State]] = field(default_factory=list)

    def after(self, step: Pass, before: State, after: State) -> State:
        self.states.append((str(step), after))
        return after

    def jobs(self, name: str) -> dict[str, Job]:
        """What job `name` was after each pass that it went through."""
        return {step: job for step, state in self.states for job in state.jobs if job.name == name}
