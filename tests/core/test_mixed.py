"""Mixed models in two parts against enumeration over the spins and the Gaussian law given each state."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from spucc.diagnostics import SpuccError
from spucc.driver import compile_program, elaborated
from spucc.ir import identical, read_program
from spucc.running.mixed import separate

TEXT = """
var x: real[3]
var s: spin[2]
var b: bit[2]
observe b[1] = 1
x ~ rw1(0.8)
x[0] ~ normal(0.3, 1)
energy -0.7 * x[0] * s[0] - 0.5 * x[2] * b[0] + 0.4 * x[1] * b[1]
energy 0.6 * s[0] * s[1] * b[0] - 0.3 * s[1]
temperature 0.8
query m = mean(concat(x, s))
query c = cov(x)
query e = expectation(x[0] * s[0])
query bits = mean(b)
"""


def exact() -> tuple[np.ndarray, np.ndarray]:
    """Mean and second moments of (x, s, b₀): E is written out again here, term by term."""
    t, moments, total, mean = 0.8, np.zeros((6, 6)), 0.0, np.zeros(6)
    a = np.zeros((3, 3))
    for i, j in ((0, 1), (1, 2)):
        a[[i, j], [i, j]] += 1 / 0.64
        a[[i, j], [j, i]] -= 1 / 0.64
    a[0, 0] += 1.0
    for s0, s1, b0 in itertools.product((-1, 1), (-1, 1), (0, 1)):
        pull = np.array([0.3 + 0.7 * s0, -0.4, 0.5 * b0])
        at = np.linalg.solve(a, pull)
        # the Gaussian integral over x given the spins
        weight = np.exp((0.5 * pull @ at - 0.6 * s0 * s1 * b0 + 0.3 * s1) / t)
        y = np.concatenate([at, [s0, s1, b0]])
        second = np.outer(y, y)
        second[:3, :3] += t * np.linalg.inv(a)
        total, mean, moments = total + weight, mean + weight * y, moments + weight * second
    return mean / total, moments / total


def test_both_parts_together_have_the_law_of_the_model() -> None:
    """4.5 standard errors an entry, as the run states them (false alarms below 1e-5 each)."""
    result = compile_program(TEXT, target="ideal+ideal-spin").run(samples=40_000, chains=4, seed=3)
    mean, second = exact()
    m, e = result.answer("m"), result.answer("e")
    assert m.error is not None and e.error is not None
    assert (np.abs(m.value - mean[:5]) < 4.5 * m.error).all()
    assert abs(e.value - second[0, 3]) < 4.5 * e.error
    cov = second[:3, :3] - np.outer(mean[:3], mean[:3])
    found = result.answer("c")
    assert found.error is not None
    assert (np.abs(found.value - cov) < 4.5 * found.error).all()
    assert abs(result["bits"][0] - mean[5]) < 4.5 * result.answer("bits").error[0]
    assert result["bits"][1] == 1.0
    assert m.rhat is None, "the two parts are drawn independently"
    assert result.provenance["target"] == "ideal+ideal-spin"


def test_separation_keeps_the_energy_up_to_the_completed_square() -> None:
    """E(x(η, s), s) − E_G(η) − E_S(s) = 0 at random points."""
    energy = elaborated(TEXT).energy
    parts = separate(energy)
    rng = np.random.default_rng(0)
    for _ in range(20):
        eta, two = rng.normal(size=3), np.append(rng.choice([-1.0, 1.0], 2), rng.integers(0, 2))
        x = parts.readback.draws(np.concatenate([eta, two]))
        assert energy.at(x) == pytest.approx(parts.gaussian.at(eta) + parts.spins.at(two), abs=1e-10)


def test_a_file_of_the_program_runs_alike_whatever_the_order_of_the_targets(tmp_path: Path) -> None:
    program = compile_program(TEXT, target="ideal-spin+ideal")
    assert program.device.name == "ideal+ideal-spin"
    program.save(tmp_path / "m.spuc")
    back = read_program(tmp_path / "m.spuc")
    assert identical(program, back)
    one, other = program.run(samples=200), back.run(samples=200)
    for a, b in zip(one.answers, other.answers):
        np.testing.assert_array_equal(a.value, b.value)


def test_argmin_finds_the_state_of_least_energy() -> None:
    """Against enumeration; in a model of pairs the search proves it."""
    for text in (TEXT, TEXT.replace("0.6 * s[0] * s[1] * b[0]", "0.6 * s[0] * s[1]")):
        best = (
            compile_program(text + "query best = argmin()\n", target="ideal+ideal-spin")
            .run(samples=400)
            .answer("best")
        )
        energy = elaborated(text).energy
        least = min(
            energy.at(np.concatenate([pulled(s0, b0), [s0, s1, b0, 1.0]]))
            for s0, s1, b0 in itertools.product((-1.0, 1.0), (-1.0, 1.0), (0.0, 1.0))
        )
        assert energy.at(best.value) == pytest.approx(least, abs=1e-9)
    assert "no state has less" in best.note


def pulled(s0: float, b0: float) -> np.ndarray:
    """The reals of least energy given the spins."""
    a = np.array([[1 / 0.64 + 1, -1 / 0.64, 0], [-1 / 0.64, 2 / 0.64, -1 / 0.64], [0, -1 / 0.64, 1 / 0.64]])
    return np.linalg.solve(a, [0.3 + 0.7 * s0, -0.4, 0.5 * b0])


@pytest.mark.parametrize(
    ("target", "text", "code", "says"),
    [
        (
            "ideal-spin",
            "var x: real[2] ~ normal(0, 1)\nvar s: spin[2]\nenergy x[0] * s[1]",
            "E0515",
            "resistive-64.ideal-spin",
        ),
        (
            "ideal+ideal",
            "var x: real ~ normal(0, 1)\nvar s: spin\nenergy x * s",
            "E0515",
            "a pair is one device of real",
        ),
        ("ideal+ideal-spin", "var x: real ~ normal(0, 1)\nquery m = mean(x)", "E0515", "not mixed"),
        (
            "ideal+ideal-spin",
            "var x: real ~ normal(0, 1)\nvar s: spin\nenergy x * s\nquery p = trajectory(x, 1.0)",
            "E0516",
            "no pair of devices",
        ),
    ],
)
def test_what_no_pair_carries_is_refused(target: str, text: str, code: str, says: str) -> None:
    with pytest.raises(SpuccError) as caught:
        compile_program(text, target=target)
    found = caught.value.diagnostics[0]
    assert found.code == code
    assert re.search(says, f"{found.title} {found.help}")
