"""`fit-langevin`: values in the units of the device's banks, at the device's own temperature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from spucc.arrays import FloatArray, frozen
from spucc.device import Bank, Device, Family
from spucc.diagnostics import fail
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Placed, Stage

Kind = tuple[str, FloatArray, Bank, int]
"""What a kind of value is called, its values, its bank, and the power of the scale that it goes with."""


@dataclass(frozen=True)
class FitLangevin(JobPass):
    """One scale s for all units, x = s·y: the largest at which J2 s², J s², b s and J4 s⁴, times kT, are
    within range."""

    name: ClassVar[str] = "fit-langevin"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = "the ranges are spent best once it is known which couplers are used"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        if placed.family is not Family.LANGEVIN:
            return Outcome(placed)
        kt = device.spec.circuit.temperature
        s = scale(placed, device, kt, job)
        quartic = np.zeros(placed.n) if placed.quartic is None else np.asarray(placed.quartic)
        value = replace(
            placed,
            ground=frozen(placed.ground * kt * s**2),
            coupling=frozen(placed.coupling * kt * s**2),
            bias=frozen(placed.bias * kt * s),
            quartic=frozen(quartic * kt * s**4),
            scale=kt,
        )
        back = None if s == 1.0 else Affine.diagonal(np.full(placed.n, s))
        return Outcome(value, back, () if s == 1.0 else (f"units are scaled by {1 / s:.4g}",))


def scale(placed: Placed, device: Device, kt: float, job: Job) -> float:
    """s as in the pass's docstring; 1 where no range is bounded. Raises E0559 for a sign that a bank does not
    have."""
    quartic = np.zeros(placed.n) if placed.quartic is None else np.asarray(placed.quartic)
    found = []
    for what, values, bank, power in banks(device, placed.ground, placed.coupling, placed.bias, quartic):
        if not bank.signed and (values < 0).any():
            fail(
                "E0559",
                f"`{device.name}` has no negative {what}, and the model needs one",
                help="choose a target whose bank is `signed`, such as `langevin-ideal`",
            )
        size = kt * np.abs(values).max(initial=0.0)
        if size > 0 and bank.max == 0:
            fail(
                "E0559",
                f"`{device.name}` has no {what}, and the model needs one",
                help="choose another target",
            )
        if size > 0 and np.isfinite(bank.max):
            found.append((bank.max / size) ** (1 / power))
    return min(found, default=1.0)


def banks(
    device: Device, ground: FloatArray, coupling: FloatArray, bias: FloatArray, quartic: FloatArray
) -> list[Kind]:
    """The four kinds of value. An absent bank holds nothing but 0."""
    nothing = Bank(max=0.0, signed=True)
    return [
        ("quadratic term", ground, device.spec.ground, 2),
        ("coupling", coupling, device.spec.coupling, 2),
        ("linear term", bias, device.spec.bias or nothing, 1),
        ("quartic term", quartic, device.spec.quartic or nothing, 4),
    ]
