"""Mixed models in two parts against enumeration over the spins and the Gaussian law given each state."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spucc.diagnostics import SpuccError
from spucc.driver import compile_program, elaborated
from spucc.mixed import compile_mixed, separate

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
    mixed = compile_mixed(elaborated(TEXT).energy, "ideal", "ideal-spin")
    assert mixed.gaussian.source.is_gaussian and not mixed.spins.source.domains[0].size
    result = mixed.run(samples=40_000, chains=4, seed=3)
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


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (
            "var x: real[2] ~ normal(0, 1)\nvar s: spin[2]\nenergy x[0] * s[1]",
            "E0515",
            r"resistive-64\+ideal-spin",
        ),
        ("var x: real ~ normal(0, 1)\nvar s: spin\nenergy x**2 * (1 + s)", "E0516", "stiffness of `x`"),
        ("var x: real ~ normal(0, 1)\nvar s: spin[2]\nenergy x * s[0] * s[1]", "E0516", "two spins at once"),
    ],
)
def test_one_device_is_refused_with_the_way_out(text: str, code: str, says: str) -> None:
    with pytest.raises(SpuccError) as caught:
        compile_program(text, target="ideal-spin")
    found = caught.value.diagnostics[0]
    assert found.code == code
    import re

    assert re.search(says, f"{found.title} {found.help}")


def test_queries_that_draws_do_not_answer_are_refused() -> None:
    text = "var x: real ~ normal(0, 1)\nvar s: spin\nenergy x * s\nquery best = argmin()"
    with pytest.raises(SpuccError, match="E0516"):
        compile_mixed(elaborated(text).energy, "ideal", "ideal-spin")
