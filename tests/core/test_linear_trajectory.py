"""`trajectory` on capacitive, resistive and ideal devices, against the circuit's equation written from physics §1 alone.

z-tests over independent paths; thresholds of 5 standard errors, fewer than 1e-4 false alarms a test for a fresh seed.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import linalg

import spucc
from spucc.cli import cli
from spucc.diagnostics import SpuccError
from spucc.readback import Affine
from spucc.stages import Configuration, Program
from spucc.targets import stepper as stepper_module
from spucc.targets.circuits import board
from spucc.targets.paths import follow

TEXT = """
var x: real[3]
energy x[0]**2 + 0.7 * x[1]**2 + x[2]**2 - 0.4 * x[0] * x[1] - 0.3 * x[1] * x[2] + 0.5 * x[0]
query path = trajectory(x, {duration}, [2, -1, 0.5])
"""
PATHS = 4000


def oracle(program: Program, start: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of x at time t, in SI units from the codes; coils start without a current."""
    configuration = program.jobs[0].value
    assert isinstance(configuration, Configuration)
    b = board(configuration.codes, 0, program.device)
    back = configuration.codes.readback[0]
    for outer in reversed(configuration.readback):
        assert isinstance(outer, Affine)
        back = outer.after(back)
    gain, n, k = back.matrix.toarray(), b.n, b.matrix.toarray()
    y0 = np.linalg.solve(gain, start - back.offset)
    if b.family == "capacitive":
        inverse = np.linalg.inv(k)
        a = np.block(
            [
                [np.diag(b.series_resistance / b.inductance), -np.diag(1 / b.inductance)],
                [inverse, inverse / b.resistance],
            ]
        )
        d = np.zeros((2 * n, 2 * n))
        d[n:, n:] = inverse @ np.diag(2 * b.noise) @ inverse
        first, rest = np.concatenate([np.zeros(n), y0]), np.zeros(2 * n)
    elif b.family == "inductive":
        inverse = np.linalg.inv(k)
        a = inverse @ np.diag(b.resistance + b.series_resistance)
        d = inverse @ np.diag(2 * b.noise) @ inverse
        first, rest = y0, np.zeros(n)
    else:
        rate = 1 / b.capacitance if b.family == "resistive" else b.mobility
        a = rate * k
        d = np.diag(2 * b.noise * (rate**2 if b.family == "resistive" else rate))
        first, rest = y0, np.linalg.solve(k, b.bias)
    # Units of one size, so that the exponential of the block loses nothing.
    unit = np.sqrt(np.diagonal(linalg.solve_continuous_lyapunov(a, d)))
    a, d = a * unit / unit[:, None], d / unit[:, None] / unit
    first, rest = first / unit, rest / unit
    m = a.shape[0]
    e = linalg.expm(np.block([[-a, d], [np.zeros((m, m)), a.T]]) * t)
    f, q = e[:m, :m], e[:m, m:] @ e[:m, :m].T
    mean, cov = rest + f @ (first - rest), q
    mean, cov = (mean * unit)[m - n :], (cov * unit[:, None] * unit)[m - n :, m - n :]
    return gain @ mean + back.offset, gain @ cov @ gain.T


@pytest.mark.parametrize(
    ("target", "duration"),
    [
        ("spu8", 2e-6),
        ("resistive-64", 1e-5),
        ("inductive-64{circuit.series_resistance=2}", 1e-5),
        ("ideal", 0.6),
    ],
)
@pytest.mark.parametrize("walked", [False, True])
def test_paths_have_the_law_of_the_circuit(
    target: str, duration: float, walked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means and covariances at three times of 4000 paths, by dense steps and by those of large circuits."""
    if walked:
        import spucc.targets.paths as module

        monkeypatch.setattr(module, "WALKED_CELLS", 0)
        assert stepper_module.WALKED_CELLS > 0
    program = spucc.compile(TEXT.format(duration=duration), target=target)
    found = program.run(samples=3 * PATHS, chains=PATHS, seed=3).answer("path")
    assert found.value.shape == (PATHS, 3, 3)
    assert np.allclose(found.extra["time"], duration * np.array([1, 2, 3]) / 3)
    for k, t in enumerate(found.extra["time"]):
        mean, cov = oracle(program, np.array([2.0, -1.0, 0.5]), t)
        at = found.value[:, k]
        sd = np.sqrt(np.diagonal(cov))
        assert np.abs((at.mean(axis=0) - mean) / sd).max() < 5 / np.sqrt(PATHS)
        off = (np.cov(at.T) - cov) / np.outer(sd, sd)
        assert np.abs(off).max() < 5 * np.sqrt(2 / PATHS)
    if target != "spu8":
        # Without coils the bath gets what E/T loses, path by path.
        def energy(x: np.ndarray) -> np.ndarray:
            quadratic = (
                x**2 @ np.array([1, 0.7, 1]) - 0.4 * x[..., 0] * x[..., 1] - 0.3 * x[..., 1] * x[..., 2]
            )
            return np.asarray(quadratic + 0.5 * x[..., 0])

        lost = energy(np.array([2.0, -1.0, 0.5])) - energy(found.value[:, -1])
        assert np.allclose(found.extra["heat"], lost, atol=1e-2 * np.abs(lost).max())


def test_coils_hold_energy_until_they_are_at_rest() -> None:
    """After a long time the heat is what the start had more than the mean of equilibrium: half a kT for each state."""
    text = "var x: real[2]\nenergy 3 * x[0]**2 + 3 * x[1]**2 - x[0] * x[1]\nquery p = trajectory(x, 1e-3, [2, 2])"
    found = spucc.compile(text, target="spu8").run(samples=PATHS, chains=PATHS, seed=1).answer("p")
    begin = 3 * 4 + 3 * 4 - 4
    heat = found.extra["heat"]
    # Four states, each with a χ²/2 in units of kT; 1 % for the codes.
    assert abs(heat.mean() - (begin - 2.0)) < 5 * np.sqrt(2.0 / PATHS) + 0.01 * begin
    assert abs(heat.var() / 2.0 - 1) < 0.2


@pytest.mark.parametrize("ending", ["nc", "npz", "json"])
def test_paths_are_written_with_their_times_and_heat(ending: str, tmp_path: Path) -> None:
    model = tmp_path / "m.spu"
    model.write_text(TEXT.format(duration=1e-6))
    place = tmp_path / f"out.{ending}"
    command = ["run", str(model), "--target", "spu8", "-n", "20", "--chains", "4", "-o", str(place)]
    ran = CliRunner().invoke(cli, command)
    assert ran.exit_code == 0 and "without discretisation error" in ran.output, ran.output
    if ending == "nc":
        with h5netcdf.File(place) as f:
            value, time, heat = (f[f"answers/path{s}"][...] for s in ("", ".time", ".heat"))
    elif ending == "npz":
        with np.load(place) as z:
            value, time, heat = (z[f"path{s}"] for s in ("", ".time", ".heat"))
    else:
        text = json.loads(place.read_text())["answers"]
        value, time, heat = (np.array(text["path"][s]) for s in ("value", "time", "heat"))
    assert value.shape == (4, 5, 3) and np.allclose(time, 1e-6 * np.arange(1, 6) / 5)
    assert heat.shape == (4,) and np.isfinite(value).all() and np.isfinite(heat).all()


def test_members_share_the_paths_and_a_seed_gives_the_same_bytes() -> None:
    from spucc.devices import load_device
    from spucc.driver import default_passes

    device = "spu8{bits=4}"
    passes = default_passes(load_device(device)).replace("quantize", "quantize{ensemble=4}")
    program = spucc.compile(TEXT.format(duration=1e-6), target=device, passes=passes)
    one, two = (program.run(samples=40, chains=8, seed=5)["path"] for _ in range(2))
    assert np.array_equal(one, two) and not np.array_equal(
        one, program.run(samples=40, chains=8, seed=6)["path"]
    )


def test_a_loop_with_the_host_has_no_path() -> None:
    a = np.random.default_rng(8).normal(size=(8, 4))
    p = a.T @ a / 4
    from spucc.devices import load_device
    from spucc.driver import default_passes

    passes = default_passes(load_device("spu8-signed")).replace("realise", "realise{ways=split}")
    program = spucc.compile(spucc.gaussian(0.0, precision=p), target="spu8-signed", passes=passes)
    with pytest.raises(SpuccError, match=r"E0493.*loop with the host"):
        follow(program.jobs[0], program.device, np.zeros(4), duration=1e-6, times=2, paths=2)
