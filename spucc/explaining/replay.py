"""A job of a finished program as it was after each of its passes.

A program keeps what its passes did (`Step`), not what stood between them. Passes are deterministic, so those up to the
codes can be run again from the job's own model; what they leave is held to what the program says of them. The codes and
what follows are the program's own.
"""

from __future__ import annotations

from dataclasses import replace

from spucc.diagnostics import SpuccError
from spucc.ir.equal import identical
from spucc.pipeline import Context, Pass, parse_passes, run_passes
from spucc.stages import Configuration, Job, Program, Stage, State

CELLS = 600
"""Cells up to which a job is gone through again: placing many more takes its time."""


def replayed(program: Program, job: Job) -> dict[str, Job]:
    """The job after each pass, under the pass's name. What cannot be had is missing: all before the codes for more than `CELLS`
    cells, and from the first pass on that is not installed or goes another way than in the program, which was then
    compiled with another seed or effort."""
    assert isinstance(job.value, Configuration)
    passes = _passes(job)
    if passes is None:
        return {}
    coded = next((k for k, p in enumerate(passes) if p.gives is Stage.QUANTIZED), len(passes))
    found: dict[str, Job] = {}
    start = replace(job, value=job.target, steps=())
    state = State(Stage.JOBS, program.source, program.model, program.device_of(job), (start,))
    for k, step in enumerate(passes[:coded] if job.value.codes.n <= CELLS else ()):
        try:
            state = run_passes(state, [step], Context())
        except SpuccError:
            break
        if not identical(state.jobs[0].steps[k], job.steps[k]):
            break
        found[step.name] = state.jobs[0]
    for k, step in enumerate(passes[coded:], coded):
        found[step.name] = replace(job, value=job.value.codes, steps=job.steps[: k + 1])
    return found


def _passes(job: Job) -> list[Pass] | None:
    """The passes that a job went through; None where one of them is not installed."""
    from spucc.passes import registry

    try:
        return parse_passes(",".join(step.name for step in job.steps), registry())
    except SpuccError:
        return None
