"""The energy ledger against the circuits' own power and counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spucc.driver import compile_program
from spucc.running.energy_ledger import MULTIPLY_ADD, EnergyLedger, energy_ledger, energy_line, energy_table

CHAIN = "var x: real[4]\nx[0] ~ normal(0, 1)\nx[1:] ~ normal(0.6 * x[:-1], 1)"
ISING = "var s: spin[5]\nenergy -0.5 * sum(s[1:] * s[:-1])"


def test_a_capacitive_board_loses_what_its_voltages_drive_through_the_resistors() -> None:
    """⟨v²⟩/R summed over the cells, the covariance of v from the codes one by one."""
    program = compile_program(CHAIN, target="spu8")
    value = program.jobs[0].value
    codes, spec = value.codes, program.device.spec
    c = np.zeros((4, 4))
    for p in range(4):
        c[p, p] += spec.ground.min + codes.ground[0, p] * spec.ground.step
    for k, (p, q) in enumerate(codes.edges.tolist()):
        f = spec.coupling.min + codes.coupling[0, k] * spec.coupling.step
        c[p, p] += f
        c[q, q] += f
        c[p, q] -= f
        c[q, p] -= f
    # strays to ground, and those of couplers that lead to unused cells
    unused = 8 - 4
    c += np.eye(4) * (spec.strays.ground + unused * spec.strays.coupling)
    pairs = 0.5 * spec.strays.coupling * (np.ones((4, 4)) - np.eye(4))
    c += 2 * (np.diag(pairs.sum(axis=1)) - pairs)
    voltage = float(codes.scale[0]) * np.linalg.inv(c)
    power = np.trace(voltage) / spec.circuit.resistance
    ledger = energy_ledger(program, 1000)
    heat = next(i for i in ledger.device if "modes" in i.what)
    seconds = value.schedule.settle * value.schedule.chains + value.schedule.interval * 1000
    assert heat.price == float(codes.scale[0])
    assert heat.joules == pytest.approx(power * seconds, rel=1e-9)


def test_a_resistive_board_loses_its_noise_power_in_every_cell() -> None:
    program = compile_program(CHAIN, target="resistive-64")
    heat = next(i for i in energy_ledger(program, 10).device if "conductances" in i.what)
    assert heat.price == float(program.jobs[0].value.codes.scale[0])
    assert heat.joules is not None and heat.joules > 0


def test_spins_are_counted_and_unknown_prices_stay_unknown() -> None:
    program = compile_program(ISING, target="ideal-spin")
    plan = program.jobs[0].value.schedule
    ledger = energy_ledger(program, 100)
    sweeps = plan.settle * plan.chains + 100 * plan.interval
    counts = {i.what: i for i in ledger.device + ledger.digital}
    assert counts["updates of p-bits"].count == 5 * sweeps
    assert counts["updates of p-bits"].joules is None
    assert counts["multiply-adds of the same sweeps"].joules == pytest.approx(2 * 4 * sweeps * MULTIPLY_ADD)
    assert "device: unknown" in energy_line(ledger)
    known, missing = EnergyLedger.total(ledger.device)
    assert known == 0.0 and missing == 3


def test_a_price_in_the_device_file_is_used() -> None:
    program = compile_program(
        ISING, target="ideal-spin{energy.update=2e-15 energy.sample=0 energy.configure=1e-9}"
    )
    ledger = energy_ledger(program, 100)
    updates = next(i for i in ledger.device if "updates" in i.what)
    known, missing = EnergyLedger.total(ledger.device)
    assert missing == 0
    assert known == pytest.approx(2e-15 * updates.count + 1e-9)
    assert "2e-15" in energy_table(ledger)


def test_a_band_is_found_whatever_the_order() -> None:
    """A path of 40 in random order: Cholesky of a band of 2."""
    order = np.random.default_rng(1).permutation(40)
    text = "data p: int[40]\nvar x: real[40]\nx ~ normal(0, 1)\nenergy 0.3 * sum(x[p[1:]] * x[p[:-1]])"
    program = compile_program(text, data={"p": order}, target="ideal")
    ledger = energy_ledger(program, 10)
    assert not ledger.device
    assert next(i for i in ledger.digital if "Cholesky" in i.what).count == 40 * 2**2 / 2
