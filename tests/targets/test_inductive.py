"""Coupled coils read as currents, from the device file to the draws: L di = −R i dt + √(2κ) dW, so i ~ N(0, θL⁻¹) (mapping §4).

Every figure is held to an equation written here in SI units, to answers that other software computed, or to ngspice.
Statistical tests reject at 5 standard errors: fewer than 1e-4 false alarms a test for a fresh seed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy import linalg, sparse

import spucc
from spucc.arrays import frozen
from spucc.backend import Request, Streams
from spucc.cli import cli
from spucc.device import Calibration, Device
from spucc.devices import load_device
from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy, compile_program
from spucc.fidelity import tolerance
from spucc.passes.fitting.conductance_fit import jacobi_scale
from spucc.passes.scheduling.pace import schedule_of
from spucc.report.settling import poles_of
from spucc.running.energy_ledger import energy_ledger
from spucc.running.law import program_law
from spucc.stages import Configuration, Program
from spucc.targets.board_model import BoardModel, draw_board
from spucc.targets.circuits import board
from spucc.targets.netlist import ACCURATE, Load, currents, load, netlist
from spucc.targets.netlist_check import diagnose_netlist
from spucc.targets.ngspice import finish_ngspice, start_ngspice
from spucc.targets.noise_file import Noise, write_noise
from spucc.targets.spice import timing

ROOT = Path(__file__).resolve().parents[2]
Array = NDArray[np.float64]


def wishart(n: int, seed: int) -> Array:
    x = np.random.default_rng(seed).normal(size=(2 * n, n))
    return np.asarray(x.T @ x / n)


def on_coils(precision: Array, target: str | Device = "inductive-64") -> Program:
    device = load_device(target) if isinstance(target, str) else target
    return compile_energy(
        spucc.gaussian(np.zeros(precision.shape[0]), precision=precision), device, optimize=0
    )


def configuration(program: Program) -> Configuration:
    value = program.jobs[0].value
    assert isinstance(value, Configuration)
    return value


def coils(program: Program) -> Array:
    """L [n, n] in H from the codes one by one."""
    codes, spec = configuration(program).codes, program.device.spec
    own, mutual = spec.ground, spec.coupling
    step, across = (own.max - own.min) / 255, mutual.max / 255
    ell = np.diag(own.min + step * codes.ground[0] + spec.strays.ground)
    for (p, q), code in zip(codes.edges.tolist(), codes.coupling[0].tolist()):
        # A positive coupling attracts: the currents' precision is negative there, and the windings oppose.
        ell[p, q] = ell[q, p] = -across * code
    return np.asarray(ell)


# --- what a configuration makes ---------------------------------------------------------------------------------------


def test_the_codes_make_inductances_whose_diagonal_does_not_grow_with_couplings() -> None:
    program = on_coils(wishart(6, 1))
    value = configuration(program)
    ell, theta = coils(program), float(value.codes.scale[0])
    b = board(value.codes, 0, program.device)
    assert np.allclose(b.matrix.toarray(), ell, rtol=1e-12)
    assert (np.sign(value.codes.coupling) < 0).any() and (np.sign(value.codes.coupling) > 0).any()
    assert np.allclose(b.noise, theta * program.device.spec.circuit.resistance) and b.equilibrium
    scale = value.codes.readback[0].matrix.toarray()
    for back in reversed(value.readback):
        scale = back.matrix.toarray() @ scale  # type: ignore[union-attr]
    assert np.allclose(
        program_law(program).covariance, theta * scale @ np.linalg.inv(ell) @ scale.T, rtol=1e-10
    )


def test_no_code_couples_two_coils_beyond_what_coils_can() -> None:
    """The banks' ends allow no more, and a pair near the limit is made."""
    spec = load_device("inductive-64").spec
    least = spec.ground.min + spec.strays.ground
    assert spec.coupling.max / least <= spec.circuit.coil_coupling < 1
    ell = coils(on_coils(np.array([[1.0, -0.94], [-0.94, 1.0]])))
    k = abs(ell[0, 1]) / np.sqrt(ell[0, 0] * ell[1, 1])
    assert abs(k - 0.94) < 2e-3 < spec.circuit.coil_coupling - k


@pytest.mark.parametrize("seed", range(3))
def test_strong_couplings_are_held_exactly_up_to_the_limit_of_the_coils(seed: int) -> None:
    """Two pairs near the limit: the linear program of the scales knows that coils do not begin at 0."""
    rng = np.random.default_rng(seed)
    k = np.eye(4)
    k[0, 1] = k[1, 0] = -0.94
    k[2, 3] = k[3, 2] = 0.9
    k[1, 2] = k[2, 1] = 0.05
    d = np.exp(rng.normal(size=4))
    program = on_coils(k * np.outer(d, d), "inductive-64{bits=12}")
    assert not any("nearest network" in note for step in program.jobs[0].steps for note in step.notes)
    assert program.ledger[-1].sd_error < 1e-3 and program.ledger[-1].kl_forward < 1e-6
    low, high, top = np.full(4, 1.0), np.full(4, 2.0), 0.95
    found = jacobi_scale(sparse.csr_array(k), high, top, low)
    assert ((found**2 >= low - 1e-9) & (found**2 <= high + 1e-9)).all()
    assert (np.abs(np.triu(k, 1)) * np.outer(found, found)).max() <= top + 1e-9


WITHOUT_READOUT = (
    "normalise,condition,reduce,split,realise{forbid=readout},"
    "place,project,embed,fit,calibrate,quantize,lower,schedule"
)
TIGHT = "var x: real ~ normal(0, 1)\nvar y: real ~ normal(x, 0.05)\nquery c = cov(concat([x], [y]))"


def test_partial_correlations_beyond_the_coils_are_read_out_or_refused_by_name() -> None:
    program = compile_program(TIGHT, target="inductive-64")
    (note,) = [n for s in program.jobs[0].steps for n in s.notes if n.startswith("way: readout")]
    assert "`x` and `y`" in note and "0.9988" in note and "0.955" in note
    assert program.ledger[-1].sd_error < 1e-3
    law = program_law(program)
    assert np.allclose(law.covariance, [[1, 1], [1, 1.0025]], rtol=1e-4)
    with pytest.raises(SpuccError) as caught:
        compile_program(TIGHT, target="inductive-64", passes=WITHOUT_READOUT)
    found = caught.value.diagnostics[0]
    assert found.code == "E0530" and "inductance" in found.title and "readout" in found.help


def test_boards_of_one_winding_sense_flip_signs_and_refuse_odd_cycles() -> None:
    target = "inductive-64{coupling.signed=false}"
    balanced = np.array([[2.0, 0.5, -0.4], [0.5, 2.0, 0.3], [-0.4, 0.3, 2.0]])
    program = on_coils(balanced, target)
    assert (configuration(program).codes.coupling >= 0).all()
    assert np.allclose(program_law(program).covariance, np.linalg.inv(balanced), atol=1e-3)
    with pytest.raises(SpuccError, match="E0512"):
        compile_energy(
            spucc.gaussian(np.zeros(3), precision=np.abs(balanced)),
            load_device(target),
            passes=WITHOUT_READOUT,
        )


def test_chains_of_coils_on_a_lattice() -> None:
    """Five variables, all coupled, on 16 coils with eight neighbours each: chains, within 2 % of every sd."""
    program = on_coils(0.3 * np.ones((5, 5)) + np.eye(5), "king(4,4){family=inductive}")
    assert configuration(program).codes.n > 5
    assert program.ledger[-1].sd_error < 0.02
    assert np.allclose(
        program_law(program).covariance, np.linalg.inv(0.3 * np.ones((5, 5)) + np.eye(5)), atol=0.03
    )


# --- unequal parts, schedule, energy, poles ---------------------------------------------------------------------------


def uneven(seed: int = 0) -> Program:
    device = load_device("inductive-64")
    rng = np.random.default_rng(seed)
    measured = Calibration(
        resistance=frozen(10.0 * rng.uniform(0.7, 1.3, 64)), series_resistance=frozen(rng.uniform(0, 3, 64))
    )
    return on_coils(wishart(5, 3), replace(device, calibration=measured))


def test_known_resistors_cost_nothing_and_set_the_pace() -> None:
    """Each source is at its own loop's resistance, so the law is θL⁻¹; the poles are those of −L⁻¹R."""
    program = uneven()
    value, device = configuration(program), program.device
    cells, ell = value.codes.cell, coils(program)
    r = device.calibration.resistance[cells] + device.calibration.series_resistance[cells]  # type: ignore[index]
    theta = float(value.codes.scale[0])
    b = board(value.codes, 0, device)
    assert np.allclose(b.noise, theta * r) and b.equilibrium
    assert program.ledger[-1].sd_error < 2e-3
    rates = np.sort(np.linalg.eigvals(np.linalg.solve(ell, np.diag(r))).real)
    poles = poles_of(value.codes, device)
    assert (
        poles is not None and np.allclose(np.sort(-poles[:, 0]), rates, rtol=1e-9) and not poles[:, 1].any()
    )
    plan = schedule_of(value.codes, device, 100, 4, None, 0.0)[0]
    assert plan.interval == pytest.approx(1 / rates[0], rel=1e-9)
    # What is left of a variance after the settling time, by the matrix exponential.
    left = linalg.expm(-2 * rates[0] * plan.settle * np.eye(1))[0, 0]
    assert plan.settle == value.schedule.settle and left == pytest.approx(1e-4, rel=1e-6)


def test_the_heat_is_what_the_currents_leave_in_the_resistors() -> None:
    program = on_coils(wishart(4, 5), "inductive-64{circuit.series_resistance=2}")
    value = configuration(program)
    theta, r = float(value.codes.scale[0]), program.device.spec.circuit.resistance + 2
    power = r * theta * np.trace(np.linalg.inv(coils(program)))
    heat = next(i for i in energy_ledger(program, 1000).device if "modes" in i.what)
    seconds = value.schedule.settle * value.schedule.chains + value.schedule.interval * 1000
    assert heat.joules == pytest.approx(power * seconds, rel=1e-9)


class _Fixed:
    """In place of a generator: the same factors every time they are asked for."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def standard_normal(self, count: int) -> Array:
        return np.resize(self.values, count)


def test_tolerances_are_those_of_the_drawn_circuit() -> None:
    """Every part off by the same known factors, and the law from L di = −R i dt alone."""
    program = on_coils(wishart(3, 7))
    value, spec = configuration(program), program.device.spec
    off = np.array([1.0, -2.0, 0.5])
    mean, cov = tolerance.drawn_law(value.codes, program.device, value.readback, _Fixed(off))  # type: ignore[arg-type]
    theta, r = float(value.codes.scale[0]), spec.circuit.resistance
    stray = spec.strays.ground
    ell = coils(program)
    mutual = ell - np.diag(np.diagonal(ell))
    for k, (p, q) in enumerate(value.codes.edges.tolist()):
        mutual[p, q] *= 1 + 0.01 * off[k]
        mutual[q, p] = mutual[p, q]
    ell = mutual + np.diag((np.diagonal(ell) - stray) * (1 + 0.01 * off) + stray)
    inverse = np.linalg.inv(ell)
    s = linalg.solve_continuous_lyapunov(
        inverse @ np.diag(r * (1 + 0.01 * off)), inverse @ np.diag(2 * theta * r * (1 + 0.01 * off)) @ inverse
    )
    scale = value.codes.readback[0].matrix.toarray()
    for step in reversed(value.readback):
        scale = step.matrix.toarray() @ scale  # type: ignore[union-attr]
    assert np.allclose(cov, scale @ s @ scale.T, rtol=1e-9) and not mean.any()


# --- draws ------------------------------------------------------------------------------------------------------------


def compared(draws: Array, mean: Array, cov: Array, effective: float) -> None:
    sd = np.sqrt(np.diagonal(cov))
    assert np.abs((draws.mean(axis=0) - mean) / sd).max() < 5 / np.sqrt(effective)
    error = np.sqrt((np.outer(sd, sd) ** 2 + cov**2) / effective)
    assert np.abs((np.cov(draws.T) - cov) / error).max() < 5


@pytest.mark.parametrize("mode", ["independent", "trajectory"])
@pytest.mark.parametrize("name", ["eight_schools", "kidscore"])
def test_examples_on_coils_against_answers_of_other_software(name: str, mode: str) -> None:
    program = compile_program(
        ROOT / "examples" / f"{name}.spu",
        files=[str(ROOT / "examples" / f"{name}.json")],
        target="inductive-64",
    )
    with np.load(ROOT / "tests" / "oracles" / f"{name}.npz", allow_pickle=False) as known:
        mean, cov = known["mean"], known["cov"]
    options = {"mode": "trajectory"} if mode == "trajectory" else {}
    result = program.run(samples=20_000, seed=3, **options)
    effective = 20_000 * (0.5 * configuration(program).schedule.ess_per_draw if options else 1.0)
    compared(result["draws"], mean, cov, effective)


def test_a_drawn_board_is_the_circuit_of_its_parts() -> None:
    """The law of board 3 from its true parts and the noise that the controller believes in, and its draws within it."""
    program = on_coils(wishart(4, 2), "inductive-64{adc.noise=0 noise.temperature_tolerance=0.2}")
    value, device = configuration(program), program.device
    truth = draw_board(device, 3)
    cells, theta = value.codes.cell, float(value.codes.scale[0])
    assert truth.parts.ground_levels is not None and truth.parts.coupling_levels is not None
    ell = np.diag(
        truth.parts.ground_levels[cells, value.codes.ground[0]] + truth.parts.stray_ground[cells]  # type: ignore[index]
    )
    ids = device.coupler_ids(cells[value.codes.edges])
    for e, (p, q), code in zip(ids, value.codes.edges.tolist(), value.codes.coupling[0].tolist()):
        ell[p, q] = ell[q, p] = -np.sign(code) * truth.parts.coupling_levels[e, abs(code)]
    r = truth.parts.resistance[cells]  # type: ignore[index]
    kappa = theta * device.spec.circuit.resistance * truth.temperature[cells]
    inverse = np.linalg.inv(ell)
    s = linalg.solve_continuous_lyapunov(inverse @ np.diag(r), inverse @ np.diag(2 * kappa) @ inverse)
    scale = value.codes.readback[0].matrix.toarray()
    for back in reversed(value.readback):
        scale = back.matrix.toarray() @ scale  # type: ignore[union-attr]
    cov = scale @ s @ scale.T
    assert np.abs(np.diagonal(cov) / np.diagonal(program_law(program).covariance) - 1).max() > 0.02
    request = Request(draws=10_000, chains=2, seed=1)
    draws = np.concatenate(
        [c.values for c in BoardModel(truth=truth).run(program.jobs[0], device, request)], axis=1
    )
    compared(draws.reshape(-1, 4), np.zeros(4), cov, 20_000)


def test_verify_and_explain_and_the_report_speak_of_coils(tmp_path: Path) -> None:
    model = tmp_path / "m.spu"
    model.write_text(
        "var x: real[3]\nx[0] ~ normal(0, 1)\nx[1:] ~ normal(0.6 * x[:-1], 1)\nquery m = mean(x)\n"
    )
    run = CliRunner().invoke
    compiled = run(
        cli,
        [
            "compile",
            str(model),
            "--target",
            "inductive-64",
            "-o",
            str(tmp_path / "m.spuc"),
            "--report",
            str(tmp_path / "r.html"),
        ],
    )
    assert compiled.exit_code == 0, compiled.output
    assert (
        "inductive" in (tmp_path / "r.html").read_text()
        and "no poles" not in (tmp_path / "r.html").read_text()
    )
    verified = run(cli, ["verify", str(tmp_path / "m.spuc"), "--samples", "4000", "--mode", "trajectory"])
    assert verified.exit_code == 0, verified.output
    explained = run(cli, ["explain", str(tmp_path / "m.spuc"), "x[1]"])
    assert "µH" in explained.output and "J" in explained.output and "couplers" in explained.output
    assert "inductive-64" in run(cli, ["targets"]).output


# --- the netlist ------------------------------------------------------------------------------------------------------


def first_load(program: Program) -> Load:
    return load(configuration(program).codes, 0, program.device, program.jobs[0].target, "n")


def test_the_netlist_is_sound_and_faults_in_it_are_found() -> None:
    one = first_load(on_coils(wishart(3, 4)))
    noise = Noise("a.noise", 1e-7, 10, currents(one.board, 1e-7))
    text = netlist([one], [noise], title="t")
    assert list(diagnose_netlist(text)) == []
    assert "windings opposed" in text and "windings aiding" in text and text.count("\nK") == 3
    for wrong, word in (
        ("Kbad Ln0 Ln1 1.2", "beyond 1"),
        ("Kbad Ln0 Lnone 0.5", "not there"),
        ("Hbad n9 0 Vnone 1", "not there"),
    ):
        found = list(diagnose_netlist(text.replace(".end\n", f"{wrong}\n.end\n")))
        assert any(word in d.title and d.code == "E0735" for d in found), wrong


@pytest.mark.spice
def test_ngspice_follows_the_equation_of_coils_path_by_path(tmp_path: Path) -> None:
    """The same noise to ngspice and to L i' = u − R i with u linear between rows, written here: within 0.1 %; with the sign of
    one winding turned, or one coupling 5 % wrong, it shows."""
    program = uneven(1)
    one = first_load(program)
    b = one.board
    step, steps = timing(b, configuration(program).schedule).step, 1500
    noise = write_noise(
        tmp_path / "a.noise", "a.noise", Streams(1, "x"), 0, currents(b, step), step, steps, rho=0.0
    )
    (tmp_path / "a.cir").write_text(netlist([one], [noise], title="test", options=ACCURATE))
    waves = finish_ngspice(start_ngspice(tmp_path, "a.cir", "a.raw"), tmp_path, "a.raw")
    rows = np.loadtxt(tmp_path / "a.noise")
    time = rows[:, 0] * step
    time = time[time <= waves.time[-1]]
    u = rows[: time.size, 1:] * noise.unit
    columns = [waves.names.index(f"v({node})") + 1 for node in one.nodes]
    seen = np.stack([np.interp(time, waves.time, waves.table[:, k]) for k in columns], axis=1)
    ell, r = b.matrix.toarray(), b.resistance + b.series_resistance

    def away(inductance: Array) -> float:
        n = r.size
        a, drive = -np.linalg.solve(inductance, np.diag(r)), np.linalg.inv(inductance)
        i, path = np.zeros(n), [np.zeros(n)]
        for k, h in enumerate(np.diff(time)):
            block = np.zeros((3 * n, 3 * n))
            block[:n, :n], block[:n, n : 2 * n], block[n : 2 * n, 2 * n :] = a * h, drive * h, np.eye(n)
            e = linalg.expm(block)[:n]
            i = e[:, :n] @ i + (e[:, n : 2 * n] - e[:, 2 * n :]) @ u[k] + e[:, 2 * n :] @ u[k + 1]
            path.append(i)
        s = slice(400, -3)
        return float(np.linalg.norm(np.array(path)[s] - seen[s]) / np.linalg.norm(seen[s]))

    assert away(ell) < 1e-3
    p, q = divmod(int(np.argmax(np.abs(np.triu(ell, 1)))), r.size)
    for factor, least in ((1.05, 5e-3), (-1.0, 0.1)):
        wrong = ell.copy()
        wrong[p, q] = wrong[q, p] = factor * ell[p, q]
        assert away(wrong) > least


# --- bad device files -------------------------------------------------------------------------------------------------

MINE = """name = "mine"
family = "inductive"
[topology]
kind = "complete"
nodes = 3
[ground]
unit = "H"
min = 50e-6
max = 100e-6
bits = 8
[coupling]
unit = "H"
max = 40e-6
bits = 8
signed = true
[circuit]
resistance = 10.0
theta_max = 1e-6
"""


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (MINE.replace("max = 40e-6", "max = 60e-6"), 13, "5e-05 H"),
        (MINE.replace("min = 50e-6\n", ""), 12, "coils"),
        (MINE.replace("bits = 8\nsigned", "levels = [0.0, 1e-5, 6e-5]\nsigned"), 13, "6e-05"),
        (MINE + "coil_coupling = 0.5\n", 13, "0.5"),
        (MINE + "coil_coupling = 1.5\n", 19, "1"),
        (MINE + "coil_coupling = 0\n", 19, "0"),
        (MINE + "[strays]\ncoupling = 20e-6\n", 13, "3e-05"),
        (MINE.replace('unit = "H"\nmin', "signed = true\nmin"), 7, "negative"),
        (MINE + "[bias]\nmax = 1.0\n", 19, "read-out"),
    ],
)
def test_bad_files_name_the_line_and_the_way_out(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(SpuccError) as caught:
        load_device(str(tmp_path / "mine.toml"))
    found = caught.value.diagnostics[0]
    assert found.code == "E0503" and found.span is not None and found.help
    assert found.span.line == line and words in found.title + found.help


def test_any_value_of_any_field_runs_or_is_a_clear_error(tmp_path: Path) -> None:
    """Every number of the file, one after the other, replaced by bad and extreme ones: an error with a code of spucc's own that
    is not its fault, or draws that are finite."""
    (tmp_path / "mine.toml").write_text(MINE)
    precision = wishart(3, 6)
    assert np.isfinite(on_coils(precision, str(tmp_path / "mine.toml")).run(samples=10)["x"]).all()
    fields = (
        "ground.min ground.max ground.bits coupling.min coupling.max circuit.resistance circuit.theta_min circuit.theta_max "
        "circuit.series_resistance circuit.coil_coupling strays.ground strays.coupling adc.full_scale adc.noise adc.rate "
        "noise.update_interval topology.nodes ground.tolerance"
    ).split()
    ran = 0
    for field in fields:
        for value in ("0", "-1", "nan", "inf", "1e300", "1e-300", "1e-5", "true", '"x"', "[]"):
            try:
                program = on_coils(precision, f"{tmp_path}/mine.toml{{{field}={value}}}")
                for options in ({}, {"mode": "trajectory"}, {"backend": "board-model"}):
                    assert np.isfinite(program.run(samples=10, **options)["x"]).all(), (field, value, options)
                    ran += 1
            except SpuccError as error:
                assert error.diagnostics[0].code != "E0600" and error.diagnostics[0].help, (field, value)
    assert ran > 60
