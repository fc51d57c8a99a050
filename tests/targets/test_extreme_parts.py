"""Any value of any part: draws that are finite, or an error that says what is wrong. Warnings are errors here."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import spucc
from spucc.backend import Mode, Request
from spucc.device import Calibration
from spucc.devices import load_device
from spucc.diagnostics import SpuccError
from spucc.stages import Program
from spucc.targets.board_model import BoardModel
from spucc.targets.exact import Exact

FIELDS = (
    "circuit.resistance circuit.inductance circuit.series_resistance circuit.capacitance circuit.mobility circuit.temperature "
    "strays.ground strays.coupling noise.drift noise.temperature_tolerance noise.update_interval adc.noise adc.rate "
    "adc.full_scale"
).split()
VALUES = (1e-300, 1e-30, 1e12, 1e30, 1e300, np.inf, np.nan, 0.0, -1.0)
CODES = {"E0503", "E0720", "E0721", "E0723", "E0726"}


@cache
def compiled(target: str) -> Program:
    model = "var x: real[3] ~ multi_normal([5, -5, 3], [[1, 0.6, 0], [0.6, 1, 0.3], [0, 0.3, 1]])\nquery x = sample(x)\n"
    return spucc.compile(model, target=target)


def finite_or_refused(target: str, change: dict[str, float], calibration: Calibration | None = None) -> int:
    """How many of the ways to run the program on a changed device gave draws."""
    (job,), ran = compiled(target).jobs, 0
    for engine in (Exact(), BoardModel(number=1)):
        for mode in Mode:
            try:
                braces = " ".join(f"{field}={value}" for field, value in change.items())
                device = load_device(f"{target}{{{braces}}}")
                if calibration is not None:
                    device = replace(device, calibration=calibration)
                chunks = engine.run(job, device, Request(10, 1, seed=1, mode=mode))
                assert np.isfinite(np.concatenate([c.values for c in chunks], axis=1)).all(), (
                    change,
                    engine.name,
                    mode,
                )
                ran += 1
            except SpuccError as error:
                assert error.diagnostics[0].code in CODES and error.diagnostics[0].help, (
                    change,
                    engine.name,
                    mode,
                )
    return ran


@pytest.mark.parametrize("target", ["spu8", "resistive-64", "ideal"])
def test_any_part_of_any_size(target: str) -> None:
    ran = sum(finite_or_refused(target, {field: value}) for field in FIELDS for value in VALUES)
    assert ran > 100


@pytest.mark.parametrize("value", VALUES[:5])
def test_any_measured_part_of_any_size(value: float) -> None:
    """As a calibration gives them: cells that differ, so that the general equation is stepped."""
    for name, usual in (("resistance", 1e3), ("inductance", 1e-4), ("series_resistance", 1.0)):
        parts = np.full(8, usual)
        parts[::2] = value
        finite_or_refused("spu8", {}, Calibration(**{name: parts}))


def test_a_resistance_that_no_part_has_is_named() -> None:
    (job,), measured = compiled("spu8").jobs, Calibration(resistance=np.full(8, 1e300))
    device = replace(load_device("spu8"), calibration=measured)
    for mode in Mode:
        with pytest.raises(SpuccError, match=r"E0720.*resistance is 1e\+300 Ω"):
            next(Exact().run(job, device, Request(1, mode=mode)))
    with pytest.raises(SpuccError, match=r"E0503.*circuit.resistance is 1e\+300"):
        load_device("spu8{circuit.resistance=1e300}")
    with pytest.raises(SpuccError, match=r"E0503.*circuit.inductance is inf"):
        load_device("spu8{circuit.inductance=inf}")
    # Each part could be built, a coil with a resistor of 10⁷ of its natural impedance and one of 10⁻⁷ not be followed.
    spread = Calibration(resistance=np.array([1e9, 1e-5] * 4))
    with pytest.raises(SpuccError, match=r"E0720.*double precision"):
        next(
            Exact().run(
                job,
                replace(load_device("spu8"), calibration=spread),
                Request(1, mode=Mode.TRAJECTORY, interval=1e-6),
            )
        )
    with pytest.raises(SpuccError, match=r"E0720.*stands still"):
        next(BoardModel().run(job, load_device("spu8{noise.update_interval=1e9}"), Request(1)))
