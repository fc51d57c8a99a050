"""ngspice on emitted netlists: against a linear simulation path by path, and against the compiled law.

False alarms: draws are compared at 5 of their own standard errors, fewer than 1e-4 of runs a program.
"""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import linalg, sparse

from spucc.backend import Request, Streams
from spucc.diagnostics import SpuccError
from spucc.running.estimates import frobenius_bound
from spucc.running.law import program_law
from spucc.running.moments import effective_sample_size
from spucc.stages import Program
from spucc.targets import emit_spice
from spucc.targets.linear import system
from spucc.targets.netlist import ACCURATE, FIXED_STEP, Load, currents, load, netlist
from spucc.targets.netlist_check import diagnose_netlist
from spucc.targets.ngspice import finish_ngspice, read_raw, start_ngspice
from spucc.targets.noise_file import RHO, coloured, write_noise
from spucc.targets.spice import Spice, Timing, lost_share, timing

_path = Path(__file__).parents[1] / "core" / "program_zoo.py"
_spec = importlib.util.spec_from_file_location("program_zoo", _path)
assert _spec is not None and _spec.loader is not None
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

SPICE_ZOO = (
    "plain",
    "gauge",
    "signed",
    "double-cover",
    "charge",
    "readout",
    "resistive",
    "inductive",
    "measured coils",
    "ensemble",
    "calibrated",
)


def first_load(program: Program) -> tuple[Load, Timing]:
    job = program.jobs[0]
    one = load(job.value.codes, 0, program.device, job.target, "n")
    return one, timing(one.board, job.value.schedule)


def walk(
    one: Load, noise: NDArray[np.float64], times: NDArray[np.float64], rule: str, swap: float = 1.0
) -> NDArray[np.float64]:
    """The cells' voltages at `times` from 0, driven by currents that are linear between the rows of `noise`.

    Written from physics §1 alone: (i, v) in SI units; `rule` is `exact` (matrix exponential of the held
    ramp) or `trapezoid`. `swap` multiplies the largest coupler.
    """
    b, n = one.board, one.board.n
    c = b.matrix.toarray()
    if swap != 1.0:
        p, q = divmod(int(np.argmax(np.abs(np.triu(c, 1)))), n)
        extra = (swap - 1.0) * c[p, q]
        c[[p, q], [p, q]] += abs(extra)
        c[[p, q], [q, p]] += extra
    inverse = np.linalg.inv(c)
    a = np.block(
        [
            [np.diag(-b.series_resistance / b.inductance), np.diag(1 / b.inductance)],
            [-inverse, -inverse @ np.diag(1 / b.resistance)],
        ]
    )
    drive = np.vstack([np.zeros((n, n)), inverse])
    x = np.zeros(2 * n)
    out = [x]
    maps: dict[float, tuple[NDArray[np.float64], ...]] = {}
    for k, h in enumerate(np.round(np.diff(times), 15)):
        if h not in maps:
            if rule == "exact":
                block = np.zeros((4 * n, 4 * n))
                block[: 2 * n, : 2 * n], block[: 2 * n, 2 * n : 3 * n] = a * h, drive * h
                block[2 * n : 3 * n, 3 * n :] = np.eye(n)
                e = linalg.expm(block)[: 2 * n]
                maps[h] = e[:, : 2 * n], e[:, 2 * n : 3 * n] - e[:, 3 * n :], e[:, 3 * n :]
            else:
                m = np.linalg.inv(np.eye(2 * n) - a * h / 2)
                maps[h] = m @ (np.eye(2 * n) + a * h / 2), m @ drive * h / 2, m @ drive * h / 2
        f, left, right = maps[h]
        x = f @ x + left @ noise[k] + right @ noise[k + 1]
        out.append(x)
    return np.array(out)[:, n:]


def run_load(
    one: Load, folder: Path, step: float, steps: int, options: str, rho: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Times of the noise's rows, the rows in A, and ngspice's voltages there."""
    sd = currents(one.board, step)
    noise = write_noise(folder / "a.noise", "a.noise", Streams(1, "x"), 0, sd, step, steps, rho=rho)
    (folder / "a.cir").write_text(netlist([one], [noise], title="test", options=options))
    waves = finish_ngspice(start_ngspice(folder, "a.cir", "a.raw"), folder, "a.raw")
    rows = np.loadtxt(folder / "a.noise")
    time = rows[:, 0] * step
    keep = time <= waves.time[-1]
    columns = [waves.names.index(f"v({node})") + 1 for node in one.nodes]
    seen = np.stack([np.interp(time[keep], waves.time, waves.table[:, k]) for k in columns], axis=1)
    return time[keep], rows[keep, 1:] * noise.unit, seen


def away(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Relative distance of two paths once their start is forgotten."""
    s = slice(400, -3)
    return float(np.linalg.norm(a[s] - b[s]) / np.linalg.norm(a[s]))


@pytest.mark.spice
@pytest.mark.parametrize("name", ["plain", "signed"])
def test_path_is_that_of_a_linear_simulation(name: str, tmp_path: Path) -> None:
    """Physics §6: the same noise to both within 0.1 %, and one coupler 5 % wrong shows."""
    one, plan = first_load(zoo.ZOO[name]())
    time, noise, seen = run_load(one, tmp_path, plan.step, 1500, ACCURATE, 0.0)
    assert away(walk(one, noise, time, "exact"), seen) < 1e-3
    assert away(walk(one, noise, time, "exact", swap=1.05), seen) > 3e-3


@pytest.mark.spice
def test_fixed_steps_are_the_trapezoidal_rule(tmp_path: Path) -> None:
    one, plan = first_load(zoo.ZOO["signed"]())
    time, noise, seen = run_load(one, tmp_path, plan.step, 2000, FIXED_STEP, RHO)
    # From row 1 on: the first step is cut up by ngspice.
    assert away(walk(one, noise[1:], time[1:], "trapezoid"), seen[1:]) < 3e-4


@pytest.mark.spice
@pytest.mark.parametrize("name", ["plain", "signed", "resistive", "calibrated"])
def test_nothing_depends_on_the_loose_tolerances(name: str, tmp_path: Path) -> None:
    """A hundred times looser, or a thousand times tighter where it is the solution's: the same bytes."""
    one, plan = first_load(zoo.ZOO[name]())
    looser = "method=trap reltol=0.9 abstol=0.1 vntol=100 chgtol=1e-4 trtol=1000"
    tighter = "method=trap reltol=0.1 abstol=1e-6 vntol=1e-3 chgtol=1e-6 trtol=1000"
    found = [run_load(one, tmp_path, plan.step, 1500, o, RHO)[2] for o in (FIXED_STEP, looser, tighter)]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_noise_keeps_the_covariance_under_the_trapezoidal_rule() -> None:
    """The stationary covariance of x' = F x + G (u_k + u_{k+1}), exactly, by the Lyapunov equation of x and
    u together."""
    w0, step = 1.0, 2 * np.pi / 20
    a = np.array([[0.0, 1.0], [-(w0**2), -0.3]])
    m = np.linalg.inv(np.eye(2) - a * step / 2)
    f, g = m @ (np.eye(2) + a * step / 2), m @ np.array([0.0, 1.0]) * step / 2
    for rho, tolerance in ((RHO, 1.5e-3), (0.0, 0.1)):
        # u' = (1 + ρ) w − ρ u;  x' = F x + G (u + u').
        big = np.zeros((3, 3))
        big[:2, :2], big[:2, 2], big[2, 2] = f, g * (1 - rho), -rho
        push = np.append(g * (1 + rho), 1 + rho)
        s = linalg.solve_discrete_lyapunov(big, np.outer(push, push) / step)
        exact = linalg.solve_continuous_lyapunov(a, -np.diag([0.0, 1.0]))
        assert np.abs(s[:2, :2] / exact[1, 1] - exact / exact[1, 1]).max() < tolerance
        if rho == 0:
            assert np.abs(s[1, 1] / exact[1, 1] - 1) > 1e-2


@pytest.mark.parametrize("name", ["plain", "signed", "resistive", "inductive", "calibrated"])
def test_what_the_step_takes_is_below_what_is_stated(name: str) -> None:
    """The stationary covariance of a load under the trapezoidal rule, by the Lyapunov equation of states and noise."""
    one, plan = first_load(zoo.ZOO[name]())
    linear, h, w = system(one.board), plan.step, one.board.n
    d = linear.d
    m = np.linalg.inv(np.eye(d) + linear.drift * h / 2)
    f, g = m @ (np.eye(d) - linear.drift * h / 2), m @ linear.noise * h / 2
    big = np.block([[f, g * (1 - RHO)], [np.zeros((w, d)), -RHO * np.eye(w)]])
    push = np.concatenate([g * (1 + RHO), (1 + RHO) * np.eye(w)])
    s = linear.read(linalg.solve_discrete_lyapunov(big, push @ push.T / h)[:d, :d])
    known = linear.read(linalg.solve_continuous_lyapunov(linear.drift, linear.noise @ linear.noise.T))
    # The worst direction of all, not only the cells.
    lost = 1 - linalg.eigvalsh(s, known)
    stated = lost_share(one.board, h)
    assert lost.min() > -1e-6 and 0.1 * stated < lost.max() < 1.01 * stated < 0.02


def test_noise_file_is_the_same_for_a_seed_and_bounded_parts_join(tmp_path: Path) -> None:
    sd = np.array([1e-3, 2e-3])
    for name in ("a", "b", "c"):
        write_noise(tmp_path / name, name, Streams(5 if name != "c" else 6, "j"), 0, sd, 1e-7, 70_000)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
    rows = np.loadtxt(tmp_path / "a")
    assert rows.shape == (70_003, 3) and not rows[0].any()
    assert rows[1, 0] == 1 and np.allclose(rows[2:, 0], np.arange(1, 70_002) + 0.96)
    u = rows[1:, 1:] / rows[1:, 1:].std(axis=0)
    lag = (u[1:] * u[:-1]).mean(axis=0)
    assert np.abs(lag + RHO).max() < 0.02
    pairs = 0.5 * (u[1:] + u[:-1])
    # Of the means' spectrum 1/(1 + (ωτ)²) in the trapezoidal rule's frequency: ((1 − ρ)/2) to the next.
    assert np.abs((pairs[1:] * pairs[:-1]).mean(axis=0) / pairs.var(axis=0)).max() < 0.05
    w = np.random.default_rng(0).normal(size=(100, 2))
    whole = coloured(w, np.zeros(2), RHO)
    halves = [coloured(w[:40], np.zeros(2), RHO)]
    halves.append(coloured(w[40:], halves[0][-1], RHO))
    assert np.allclose(whole, np.concatenate(halves), atol=1e-12)


def agreement(name: str, samples: int) -> tuple[float, float, float]:
    """Relative Frobenius distance of the realised covariance from the compiled one, its stated bound, and the worst entry in
    its own standard errors."""
    program = zoo.ZOO[name]()
    law = program_law(program)
    result = program.run(samples=samples, chains=2, seed=2, backend="spice")
    answer = result.answer("x")
    draws = result["x"].reshape(2, -1, law.mean.size)
    ess = effective_sample_size((draws - draws.mean(axis=(0, 1))) ** 2)
    cov = np.cov(result["x"].T)
    assert law.covariance is not None and answer.ess is not None
    error = np.sqrt((np.outer(law.variance, law.variance) + law.covariance**2) / np.sqrt(np.outer(ess, ess)))
    mean_error = np.sqrt(law.variance / answer.ess)
    assert np.abs((result["x"].mean(axis=0) - law.mean) / mean_error).max() < 5
    relative = float(np.linalg.norm(cov - law.covariance) / np.linalg.norm(law.covariance))
    stated = frobenius_bound(law.covariance, ess, 0.9999)
    return relative, stated, float(np.abs((cov - law.covariance) / error).max())


@pytest.mark.spice
@pytest.mark.parametrize("name", SPICE_ZOO)
def test_draws_are_of_the_compiled_law(name: str) -> None:
    relative, stated, worst = agreement(name, 600)
    assert worst < 5 and relative < min(stated, 0.5)


@pytest.mark.spice
@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "signed"])
def test_twenty_thousand_draws_are_within_three_percent(name: str) -> None:
    relative, stated, worst = agreement(name, 20_000)
    assert relative < min(stated, 0.03) and worst < 5


@pytest.mark.spice
def test_calibrated_board_with_series_resistance_and_unequal_parts() -> None:
    """The measured values are in the netlist, so what ngspice draws is the law of the measured circuit."""
    program = zoo.ZOO["plain"]()
    rng = np.random.default_rng(3)
    measured = replace(
        program.device.calibration,
        resistance=1e3 * (1 + 0.1 * rng.uniform(-1, 1, 8)),
        inductance=1e-4 * (1 + 0.1 * rng.uniform(-1, 1, 8)),
        series_resistance=20 * rng.uniform(0.5, 1, 8),
        stray_ground=2e-11 * rng.uniform(0.5, 1, 8),
    )
    nominal = program_law(program)
    program = replace(program, device=replace(program.device, calibration=measured))
    law = program_law(program)
    x = program.run(samples=2000, chains=2, seed=1, backend="spice")["x"]
    shift = np.diagonal(np.cov(x.T)) / law.variance
    assert np.abs(shift - 1).max() < 0.2
    # Series resistance is a cold bath: the variances are well below the nominal ones, and ngspice sees that.
    assert (law.variance / nominal.variance).max() < 0.9
    assert np.abs(shift.mean() - 1) < 0.05


@pytest.mark.spice
def test_same_seed_same_bytes_and_runs_go_on() -> None:
    program = zoo.ZOO["plain"]()
    job = program.jobs[0]

    def draws(**options: int) -> NDArray[np.float64]:
        request = Request(chains=2, **options)
        return np.concatenate([c.values for c in Spice().run(job, program.device, request)], axis=1)

    whole = draws(draws=60, seed=-7)
    assert np.array_equal(whole, draws(draws=60, seed=-7))
    assert np.array_equal(whole[:, 20:], draws(draws=40, seed=-7, first=20))
    assert not np.allclose(whole, draws(draws=60, seed=7))
    assert not np.allclose(whole[0], whole[1])


@pytest.mark.spice
def test_emitted_netlist_runs_as_it_is(tmp_path: Path) -> None:
    program = zoo.ZOO["double-cover"]()
    text = emit_spice(program, tmp_path / "model.cir", seed=3)
    (tmp_path / "model.cir").write_text(text)
    assert (tmp_path / "model.noise").exists()
    waves = finish_ngspice(start_ngspice(tmp_path, "model.cir", "out.raw"), tmp_path, "out.raw")
    assert len(waves.names) == 8 and np.isfinite(waves.table[-1]).all()
    assert "stands for x[0]+" in text and "stands for x[3]-" in text


def test_netlist_is_commented_and_has_switch_states() -> None:
    text = emit_spice(zoo.ZOO["signed"]())
    assert "transformer" in text and "code " in text and "filesource" in text
    assert list(diagnose_netlist(text)) == []
    assert "whatever the tolerances" in text
    assert emit_spice(zoo.ZOO["ensemble"]()).count(".model") == 4


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("Rbad n0 0 1e-9", "no part"),
        ("Cfloat nowhere other 1e-9", "DC path"),
        ("Cbad n0 0 1n", "base units"),
        ("Lbad n0 0 nan", "nan"),
        ("Fbad n0 0 Enone 1", "not there"),
    ],
)
def test_netlist_check_finds_faults(line: str, word: str) -> None:
    text = emit_spice(zoo.ZOO["plain"]()).replace(".end\n", line + "\n.end\n")
    assert any(word in d.title and d.code == "E0735" for d in diagnose_netlist(text))


def test_ideal_device_is_no_circuit() -> None:
    with pytest.raises(SpuccError, match="E0731"):
        emit_spice(zoo.ZOO["ideal"]())


def test_without_ngspice_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert shutil.which("ngspice") is None
    with pytest.raises(SpuccError, match="E0730") as caught:
        zoo.ZOO["plain"]().run(samples=10, backend="spice")
    assert "apt-get install ngspice" in caught.value.diagnostics[0].help


def test_runs_that_fill_the_disk_are_refused() -> None:
    if shutil.which("ngspice") is None:
        pytest.skip("the estimate comes after ngspice is found")
    program = zoo.ZOO["plain"]()
    with pytest.raises(SpuccError, match="E0734"):
        next(Spice().run(program.jobs[0], program.device, Request(draws=10**9)))


def test_raw_files_that_are_none(tmp_path: Path) -> None:
    for content in (b"", b"Title: x\nBinary:\n", b"No. Variables: 2\nNo. Points: 0\nFlags: real\nBinary:\n"):
        (tmp_path / "x.raw").write_bytes(content)
        with pytest.raises(SpuccError, match="E0732"):
            read_raw(tmp_path / "x.raw")


def test_stray_is_part_of_the_netlist() -> None:
    """Capacitors to ground and couplers of the text add up to the Maxwell matrix of the circuit."""
    one, _ = first_load(zoo.ZOO["gauge"]())
    text = emit_spice(zoo.ZOO["gauge"]())
    place = {node: k for k, node in enumerate(one.nodes)}
    c = np.zeros((one.board.n, one.board.n))
    for line in text.splitlines():
        if line.startswith("C"):
            _, a, b, value = line.split()
            c[place[a], place[a]] += float(value)
            if b != "0":
                c[place[b], place[b]] += float(value)
                c[place[a], place[b]] -= float(value)
                c[place[b], place[a]] -= float(value)
    assert np.allclose(c, sparse.csr_array(one.board.matrix).toarray(), rtol=1e-8, atol=1e-20)
