"""What bad models and bad devices get: a code, a reason in the user's names, a way out; never a LinAlgError, never a warning.

pytest runs with warnings as errors, so a raw one fails these tests.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from spucc.arrays import frozen
from spucc.backend import Request
from spucc.device import Device, Family
from spucc.devices import load_device
from spucc.diagnostics import Diagnostic, SpuccError
from spucc.driver import compile_energy
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.pipeline import Context
from spucc.readback import HostLoop
from spucc.running.law import program_law
from spucc.stages import Configuration, Program
from spucc.targets.exact import Exact

ROOT = Path(__file__).resolve().parent.parent.parent
REAL = ("spu8", "spu8-signed", "king-8x8", "grid-16x16", "chimera-4x4", "resistive-64")
EVERY = ("ideal", *REAL)
PATH = np.diag([1.0, 2.0, 2.0, 1.0]) - np.diag([1.0] * 3, 1) - np.diag([1.0] * 3, -1)
_X = np.random.default_rng(0).normal(size=(6, 12))
WISHART = _X @ _X.T / 12


def model(p: object, potential: object = None) -> Energy:
    """A Gaussian energy that no front end has looked at."""
    matrix = sparse.csr_array(np.asarray(p, dtype=np.float64))
    n = matrix.shape[0]
    linear = np.zeros(n) if potential is None else -np.asarray(potential, dtype=np.float64)
    return Energy(layout([("x", (n,), Domain.REAL, None)]), frozen(linear), Quadratic(matrix))


def refusal(energy: Energy, target: str | Device, **options: object) -> Diagnostic:
    with pytest.raises(SpuccError) as caught:
        compile_energy(energy, target, **options)  # type: ignore[arg-type]
    first = caught.value.diagnostics[0]
    assert first.code is not None and first.help
    assert (ROOT / "docs" / "errors" / f"{first.code}.md").is_file()
    return first


def legal(program: Program) -> bool:
    """Every code is one of its bank's."""
    spec = program.device.spec
    for job in program.jobs:
        assert isinstance(job.value, Configuration)
        codes = job.value.codes
        for bank, values in ((spec.ground, codes.ground), (spec.coupling, codes.coupling)):
            if not bank.continuous and (np.abs(values) >= bank.codes).any():
                return False
    return True


def errors(program: Program, p: np.ndarray) -> tuple[float, float]:
    """Worst relative error of a standard deviation, worst of a correlation, against the inverse in scaled units."""
    law = program_law(program)
    assert law.covariance is not None
    unit = 1 / np.sqrt(np.diag(p))
    wanted = np.linalg.inv(p * np.outer(unit, unit))
    got = law.covariance / np.outer(unit, unit)
    sd = np.sqrt(np.diag(wanted))
    return float(np.abs(np.sqrt(np.diag(got)) / sd - 1).max()), float(
        np.abs((got - wanted) / np.outer(sd, sd)).max()
    )


# --- models ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", EVERY)
@pytest.mark.parametrize(
    ("p", "names"),
    [
        (PATH, ("x[0]", "x[1]", "x[2]", "x[3]")),
        (np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), ("x[0]", "x[1]")),
        (np.diag([1.0, -1.0]), ("x[1]",)),
    ],
)
def test_singular_and_indefinite_models_name_the_loose_direction(
    target: str, p: np.ndarray, names: tuple[str, ...]
) -> None:
    found = refusal(model(p, np.zeros(len(p))), target)
    assert found.code == "E0510"
    assert set(re.findall(r"`(.*?)`", found.notes[0])) == set(names)


@pytest.mark.parametrize("target", EVERY)
@pytest.mark.parametrize("gap", [1e-6, 1e-10])
def test_nearly_singular_models_compile(target: str, gap: float) -> None:
    """The unheld direction keeps what double precision leaves of it: some 1e-16/gap."""
    p = PATH + gap * np.eye(4)
    program = compile_energy(model(p, [1, 0, 0, -1]), target)
    assert legal(program)
    sd, correlation = errors(program, p)
    assert sd < 0.02 and correlation < 0.02


@pytest.mark.parametrize("target", EVERY)
@pytest.mark.parametrize("scale", [1e12, 1e-12])
def test_units_do_not_matter(target: str, scale: float) -> None:
    """Scaling by a power of two would give the same codes; by 1e±12 the same up to rounding."""
    program = compile_energy(model(WISHART * scale), target)
    plain = compile_energy(model(WISHART), target)
    assert legal(program)
    sd, correlation = errors(program, WISHART * scale)
    assert sd < 0.01 and correlation < 0.01
    assert sd == pytest.approx(errors(plain, WISHART)[0], abs=2e-3)


@pytest.mark.parametrize("target", EVERY)
def test_variables_of_very_different_units(target: str) -> None:
    d = np.diag(10.0 ** np.array([-6, 6, 0, -6, 6, 0]))
    p = d @ WISHART @ d
    mean = 10.0 ** -np.array([-6.0, 6, 0, -6, 6, 0])
    program = compile_energy(model(p, p @ mean), target)
    sd, correlation = errors(program, p)
    assert sd < 0.01 and correlation < 0.01
    np.testing.assert_allclose(program_law(program).mean, mean, rtol=0.05)


@pytest.mark.parametrize("target", ["spu8", "king-8x8"])
def test_a_split_takes_any_units(target: str) -> None:
    """Units from 1e-9 to 1e9 cost no more sweeps than equal ones, and the draws have the law: 12 whitened means and variances
    of 4000 independent draws, false alarm 1e-6 a model (5.4 standard deviations)."""
    d, mean = 10.0 ** np.array([-9.0, 9, 0, 5, -5, 2]), np.arange(6.0)
    sweeps = []
    for unit in (np.ones(6), d):
        p = WISHART * np.outer(unit, unit)
        program = compile_energy(model(p, p @ (mean / unit)), target, passes=_forced("split"))
        assert legal(program)
        (job,) = program.jobs
        assert isinstance(job.value, Configuration)
        (loop,) = (b for b in job.value.readback if isinstance(b, HostLoop))
        sweeps.append(loop.sweeps)
        chunks = Exact().run(job, program.device, Request(4000))
        x = np.concatenate([c.values for c in chunks], axis=1).reshape(-1, 6)
        white = (x * unit - mean) @ np.linalg.cholesky(WISHART)
        assert np.abs(white.mean(axis=0)).max() < 5.4 / np.sqrt(4000)
        assert np.abs(white.var(axis=0) - 1).max() < 5.4 * np.sqrt(2 / 4000)
    assert sweeps[0] == sweeps[1]


@pytest.mark.parametrize("target", EVERY)
@pytest.mark.parametrize(
    ("p", "jobs"),
    [
        (np.kron(np.eye(3), [[2.0, -1.0], [-1.0, 2.0]]), 3),
        (np.eye(5), 5),
        ([[3.0]], 1),
        ([[1e-200]], 1),
        ([[1e200]], 1),
    ],
)
def test_disconnected_uncoupled_and_single_variables(target: str, p: object, jobs: int) -> None:
    program = compile_energy(model(p), target)
    assert len(program.jobs) == jobs and legal(program)
    assert max(e.sd_error for e in program.ledger) < 1e-4


# --- devices --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", REAL)
def test_a_device_whose_cells_are_all_dead(target: str) -> None:
    device = load_device(target)
    found = refusal(model(WISHART), device.without(cells=range(device.topology.nodes or 0)))
    assert found.code == "E0542"


@pytest.mark.parametrize("target", REAL)
def test_a_device_without_couplers(target: str) -> None:
    """The host does all but the cells' own noise, unless that is not allowed."""
    device = load_device(target)
    bare = device.without(couplers=[(int(i), int(j)) for i, j in device.topology.edges])
    program = compile_energy(model(WISHART, np.arange(6.0)), bare)
    assert errors(program, WISHART)[0] < 1e-9
    np.testing.assert_allclose(program_law(program).mean, np.linalg.solve(WISHART, np.arange(6.0)), rtol=1e-9)
    words = "cannot hold the model" if device.family is Family.RESISTIVE else "0 couplings on the board"
    assert any(words in n for s in program.jobs[0].steps for n in s.notes)
    assert errors(compile_energy(model(np.eye(5)), bare), np.eye(5))[0] < 1e-9
    found = refusal(model(WISHART), bare, passes=_forced("signed+split"))
    assert found.code in ("E0512", "E0543", "E0544")


def test_a_resistive_device_whose_couplers_have_one_sign() -> None:
    """A balanced model by flipped signs, means by currents included; a frustrated one by a read-out; a reason without it."""
    target = "resistive-64{coupling.signed=false}"
    flip = np.diag([1.0, -1, 1, -1])
    p = flip @ (PATH + 0.5 * np.eye(4)) @ flip
    program = compile_energy(model(p, p @ [1.0, 2, 3, 4]), target)
    assert legal(program) and errors(program, p)[0] < 0.01
    np.testing.assert_allclose(program_law(program).mean, [1, 2, 3, 4], rtol=0.02)
    ring = np.array([[1.0, 0.3, 0.3], [0.3, 1.0, 0.3], [0.3, 0.3, 1.0]])
    program = compile_energy(model(ring), target)
    assert legal(program) and errors(program, ring)[0] < 0.01
    found = refusal(model(ring), target, passes=_forced("gauge"))
    assert found.code == "E0512" and "odd cycles" in found.title


@pytest.mark.parametrize("target", REAL)
def test_models_larger_than_the_device(target: str) -> None:
    n = (load_device(target).topology.nodes or 0) + 1
    p = np.diag(np.full(n, 2.0)) - np.diag(np.full(n - 1, 0.5), 1) - np.diag(np.full(n - 1, 0.5), -1)
    found = refusal(model(p), target)
    assert found.code in ("E0512", "E0541") and str(n) in found.title


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("spu8{coupling.min=9e-10}", "E0530"),
        ("spu8{adc.full_scale=1e-6}", "E0531"),
        ("resistive-64{ground.max=1e-9}", "E0573"),
        ("resistive-64{coupling.max=1e-8}", "E0573"),
    ],
)
def test_ranges_that_exclude_the_model(target: str, code: str) -> None:
    found = refusal(model(PATH + 0.1 * np.eye(4)), target)
    assert found.code == code
    text = f"{found.title} {' '.join(found.notes)}"
    assert "`x[" in text or "`0:x`" in text


def test_a_tolerance_that_is_missed_names_the_pass_that_spent_it() -> None:
    found = refusal(model(WISHART), "spu8", tolerance=1e-9)
    assert found.code == "E0592"
    assert "quantize" in " ".join(found.notes)


@pytest.mark.parametrize("target", REAL)
def test_one_bit_is_served_or_refused_but_never_wrong_in_silence(target: str) -> None:
    try:
        program = compile_energy(model(WISHART), f"{target}{{bits=1}}")
    except SpuccError as error:
        assert error.diagnostics[0].code in ("E0571", "E0573")
        return
    assert legal(program)
    assert errors(program, WISHART)[0] < 0.1 or any(
        "predicted" in n for s in program.jobs[0].steps for n in s.notes
    )


# --- stopping -------------------------------------------------------------------------------------------------------------


def long_model(side: int = 24) -> np.ndarray:
    """A lattice whose codes are searched for seconds."""
    line = 2 * np.eye(side) - np.eye(side, k=1) - np.eye(side, k=-1)
    return np.kron(line, np.eye(side)) + np.kron(np.eye(side), line) + 0.05 * np.eye(side * side)


def test_a_stopped_compilation_has_legal_codes() -> None:
    context = Context(optimize=2)
    timer = threading.Timer(0.3, context.stop.set)
    timer.start()
    p = long_model()
    program = compile_energy(model(p), "king-32x32", context=context)
    timer.cancel()
    assert legal(program) and np.isfinite(program.ledger[-1].kl_forward)
    assert errors(program, p)[0] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
def test_ctrl_c_keeps_the_best_when_asked_to(tmp_path: Path, keep: bool) -> None:
    """The signal comes once the pass before `quantize` has written its stage."""
    program = tmp_path / "long.spu"
    program.write_text(
        "var x: real[30, 30]\nx ~ normal(0, 4)\nx[1:, :] ~ normal(x[:-1, :], 1)\nx[:, 1:] ~ normal(x[:, :-1], 1)\n"
    )
    command = [sys.executable, "-m", "spucc", "compile", str(program), "-t", "king-32x32", "-O", "2"]
    command += ["--dump-dir", str(tmp_path / "stages"), "-o", str(tmp_path / "out.spuc")]
    process = subprocess.Popen(
        command + ["--keep-best"] * keep, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not list((tmp_path / "stages").glob("*calibrate.spuc")) and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=240)
    assert process.returncode == (0 if keep else 130), err
    assert (tmp_path / "out.spuc").is_file() == keep
    assert ("best so far" in err) == keep


def _forced(ways: str) -> str:
    board = "condition,reduce,split,realise,place,project,embed,fit,calibrate,quantize,lower"
    return board.replace("realise", f"realise{{ways={ways}}}")
