"""`spucc drive`: nonlinear units led from one model to another, with the work and heat of every path.

The energy is led along (1 − λ) E₀ + λ E₁, λ rising evenly in the duration, from equilibrium at E₀; W − Q = ΔE for each path, and
⟨e^{−W/kT}⟩ = e^{−ΔF/kT} (Jarzynski 1997), so that W − ΔF is what the drive dissipates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Device, Family
from spucc.diagnostics import fail
from spucc.energy import Energy, Query, QueryKind, identity_form
from spucc.running.results import Answer, Result
from spucc.stages import Job


def driven(
    first: Energy, last: Energy, device: Device, *, duration: float, paths: int = 1000, seed: int = 0
) -> Result:
    """Draws `work`, `heat` and `dissipated` [paths] in kT, and `free_energy` F₁ − F₀ in kT with its standard error, by
    Jarzynski's equality; its note says how many paths carry that average.

    `duration` is in the device's unit of time. Raises E0493 for a device that is no Langevin one or a duration that is not
    positive, E0597 for models over other variables, and as the passes.
    """
    from spucc.targets.langevin.paths import drive

    if device.family is not Family.LANGEVIN:
        fail(
            "E0493",
            f"`{device.name}` is not a device whose paths are simulated",
            help="`--target langevin-ideal`, or another Langevin device",
        )
    if not 0 < duration < np.inf or paths < 2:
        fail(
            "E0493",
            f"{paths} paths of duration {duration:g} cannot be driven",
            help="ask for 2 or more, above 0",
        )
    if _holds(first) != _holds(last):
        fail(
            "E0597",
            "the two models do not have the same variables and observations, so one cannot be led to the other",
            help="keep the declarations and what is observed, and change the energy alone",
        )
    one, two = (_job(e, device) for e in (first, last))
    ledger, kt = drive(one, two, device, duration=duration, paths=paths, seed=seed)
    free, error = ledger.free_energy(kt)
    share = np.exp(-(ledger.work - ledger.work.min()) / kt)
    carry = float(share.sum() ** 2 / (share**2).sum())
    note = f"by Jarzynski's equality; {carry:.0f} of {paths} paths carry the average"
    if carry < 30:
        note += ": too few to trust, drive more slowly"

    def each(name: str, values: FloatArray) -> Answer:
        return Answer(name, QueryKind.SAMPLE, values / kt, ess=np.array(float(paths)))

    answers = (
        each("work", ledger.work),
        each("heat", ledger.heat),
        each("dissipated", ledger.dissipated(free)),
        Answer("free_energy", QueryKind.EXPECTATION, np.array(free / kt), np.array(error / kt), note=note),
    )
    return Result(answers, {"target": device.name, "seed": seed, "samples": paths, "duration": duration})


def _holds(energy: Energy) -> tuple[object, ...]:
    seen = energy.observed
    return (
        tuple((v.name, v.shape, v.domain) for v in energy.variables),
        tuple(seen.index.tolist()),
        tuple(seen.value.tolist()),
    )


def _job(energy: Energy, device: Device) -> Job:
    """The whole model as one job: what one of the two models couples the other one may not."""
    from spucc.driver import compile_energy, default_passes

    everything = tuple(
        Query(v.name, QueryKind.SAMPLE, identity_form(v, energy.n))
        for v in energy.variables
        if not v.stands_for
    )
    passes = default_passes(device).replace("split", "split{most=0}")
    (job,) = compile_energy(replace(energy, queries=everything), device, passes=passes).jobs
    return job
