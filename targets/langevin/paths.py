"""Paths of a compiled job: the overdamped dynamics of the device's units from a given start, with the heat that
each one gives to its bath.

In the device's units y, y' = −μ ∂V/∂y + √(2μ kT) η (physics §3). Through the read-back x = A y + b a path is one of
the model's coordinates, at the device's own time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Device
from spucc.energy import Domain
from spucc.readback import Affine
from spucc.stages import Configuration, Job
from spucc.targets.langevin.potential import Potential
from spucc.targets.langevin.step_choice import transient_step
from spucc.targets.langevin.walkers import Walkers
from spucc.targets.nonlinear import units
from spucc.targets.paths import cells_at
from spucc.targets.pbit import configuration_of, seed_of

if TYPE_CHECKING:
    from spucc.targets.langevin.work import Ledger


@dataclass(frozen=True, eq=False)
class Paths:
    """`values` [paths, times, n] of the job's coordinates; `heat` [paths] given to the bath, in units of kT, which at
    a fixed potential is what V has fallen by; the time `step` and the `bias` of ⟨x²⟩ that it leaves; the `mobility` with
    which E/T drives a coordinate, the largest of all, per unit of the device's time."""

    values: FloatArray
    heat: FloatArray
    step: float
    bias: float
    mobility: float


def follow(
    job: Job,
    device: Device,
    start: FloatArray,
    *,
    duration: float,
    times: int,
    paths: int,
    seed: int = 0,
    tolerance: float = 1e-3,
    threads: int = 1,
) -> Paths:
    """`paths` paths from `start` [n] (the job's coordinates), read at the times k·duration/times, k = 1 … times.

    The step is the longest whose bias stays below `tolerance` and that divides the time between two readings. Raises
    E0726 and E0728 for a job of another kind, E0554 for a path that escapes.
    """
    configuration = configuration_of(job, Domain.REAL)
    codes = configuration.codes
    potential, kt, mu = units(codes, 0, device), float(codes.scale[0]), device.spec.circuit.mobility
    back = back_of(configuration)
    first = cells_at(back, start)
    walkers = Walkers(
        potential,
        paths,
        (*seed_of(seed, job.name), 0x9A7),
        temperature=kt,
        mobility=mu,
        start=first,
        threads=threads,
    )
    chosen = transient_step(potential, kt, np.full(potential.n, mu), tolerance)
    inner = _inner(duration / times, chosen.length)
    step = duration / times / inner
    values: FloatArray = np.empty((paths, times, job.target.n))
    begin = walkers.energies()
    for k in range(times):
        walkers.heun(step, inner)
        values[:, k] = back.draws(walkers.positions())
    heat = (begin - walkers.energies()) / kt
    # the scheme is of second order
    bias = chosen.bias * min(step / chosen.length, 1.0) ** 2 if np.isfinite(chosen.length) else 0.0
    gain = np.asarray(back.matrix.multiply(back.matrix).sum(axis=1)).ravel()
    return Paths(values, heat, step, bias, mu * kt * float(gain.max(initial=0.0)))


def drive(
    job: Job,
    final: Job,
    device: Device,
    *,
    duration: float,
    paths: int,
    seed: int = 0,
    settle: int = 2000,
    tolerance: float = 1e-3,
) -> tuple[Ledger, float]:
    """Lead `job` from equilibrium to `final` in `duration` of the device's time, λ rising evenly: work, heat and change of V
    of each path (in the device's units of energy), and kT. Both jobs are compiled for `device` on the same cells.

    Raises E0728 where their cells or temperatures differ.
    """
    from spucc.diagnostics import fail
    from spucc.targets.langevin.work import drive as lead
    from spucc.targets.nonlinear import tuned

    one, other = configuration_of(job, Domain.REAL).codes, configuration_of(final, Domain.REAL).codes
    backs = [back_of(configuration_of(j, Domain.REAL)) for j in (job, final)]
    apart = abs(backs[0].matrix - backs[1].matrix)
    same = np.array_equal(one.cell, other.cell) and float(one.scale[0]) == float(other.scale[0])
    if not same or apart.nnz or not np.array_equal(backs[0].offset, backs[1].offset):
        fail(
            "E0728",
            f"`{job.name}` and `{final.name}` have other cells, temperatures or units, so one cannot be led to the other",
            help="compile both for a device with unlimited couplers and ranges, such as `langevin-ideal`",
        )
    kt, mu = float(one.scale[0]), device.spec.circuit.mobility
    ends: list[Potential] = [units(one, 0, device), units(other, 0, device)]
    key = (*seed_of(seed, job.name), 0xD21)
    walkers = Walkers(ends[0], paths, key, temperature=kt, mobility=mu)
    walkers.adjusted(tuned(Walkers(ends[0], 16, (*key, 1), temperature=kt, mobility=mu)), settle)
    length = min(transient_step(p, kt, np.full(p.n, mu), tolerance).length for p in ends)
    count = _inner(duration, length)
    return lead(walkers, ends[1], np.arange(1, count + 1) / count, duration / count), kt


def _inner(time: float, length: float) -> int:
    """How many steps of at most `length` a time takes."""
    return max(1, int(np.ceil(time / length * (1 - 1e-12)))) if np.isfinite(length) else 1


def back_of(configuration: Configuration) -> Affine:
    """Cells to the job's coordinates, as one affine map."""
    total = configuration.codes.readback[0]
    for back in reversed(configuration.readback):
        assert isinstance(back, Affine)
        total = back.after(total)
    return total
