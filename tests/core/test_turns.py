"""Devices that take turns: spike and slab, two spins at once, and quartic units with spins, against enumeration over the spins
with the Gaussian law (or quadrature) given each state.

Draws follow one another: thresholds are 4.5 of the run's own standard errors (false alarms below 1e-5 an entry).
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate

from spucc.arrays import frozen
from spucc.diagnostics import SpuccError
from spucc.driver import compile_program
from spucc.grammar import elaborate
from spucc.ir import identical, read_program
from spucc.running.energy_ledger import energy_ledger
from spucc.running.run import run_program
from spucc.running.turns import takes_turns
from spucc.stages import Program

X = np.array([[1.0, 0.2, -0.3], [0.1, 0.9, 0.4], [-0.5, 0.3, 1.1], [0.7, -0.8, 0.2]])
Y = np.array([0.8, 0.3, -0.4, 0.6])
SLAB = """
data X: real[4, 3]
data y: real[4]
var s: bit[3] ~ bernoulli_logit(-0.4)
var b: real[3] ~ normal(0, 1.2)
y ~ normal(X @ (s * b), 0.7)
query m = mean(concat(b, s))
query V = cov(b)
query e = expectation(s[0] * b[0])
"""


def slab(target: str = "ideal+ideal-spin", queries: str = "") -> Program:
    return compile_program(SLAB + queries, {"X": X, "y": Y}, target)


def spike_and_slab() -> tuple[np.ndarray, np.ndarray]:
    """Mean and second moments of (b, s): over the 8 states of s the evidence of a linear regression and its posterior."""
    total, mean, second = 0.0, np.zeros(6), np.zeros((6, 6))
    for s in itertools.product((0.0, 1.0), repeat=3):
        z = X * np.array(s)
        precision = np.eye(3) / 1.2**2 + z.T @ z / 0.49
        at = np.linalg.solve(precision, z.T @ Y / 0.49)
        evidence = np.exp(0.5 * at @ precision @ at - 0.5 * np.linalg.slogdet(precision)[1] - 0.4 * sum(s))
        both = np.concatenate([at, s])
        square = np.outer(both, both)
        square[:3, :3] += np.linalg.inv(precision)
        total, mean, second = total + evidence, mean + evidence * both, second + evidence * square
    return mean / total, second / total


@pytest.mark.parametrize(
    "target", ["ideal+ideal-spin", pytest.param("resistive-64{bits=12}+ideal-spin", marks=pytest.mark.slow)]
)
def test_spike_and_slab_has_the_law_of_enumeration(target: str) -> None:
    """On the board each load is rounded to 12 bits, far below the errors of the draws."""
    program = slab(target)
    assert takes_turns(program)
    result = program.run(samples=1000, seed=2)
    mean, second = spike_and_slab()
    for name, want in (
        ("m", mean),
        ("e", second[0, 3]),
        ("V", second[:3, :3] - np.outer(mean[:3], mean[:3])),
    ):
        answer = result.answer(name)
        assert answer.error is not None
        # a covariance's error supposes Gaussian draws; these have the tails of a mixture
        assert (np.abs(answer.value - want) < (7 if name == "V" else 4.5) * answer.error).all(), name
    m = result.answer("m")
    assert m.rhat is not None and m.rhat.max() < 1.1
    assert m.ess is not None and m.ess.min() < result.provenance["samples"]


def test_two_spins_at_once_push_a_real_variable() -> None:
    """x ~ N(a s₀s₁, 1) given the spins: ⟨x s₀ s₁⟩ is not asked; ⟨x⟩ = a⟨s₀s₁⟩ by enumeration."""
    text = """
var x: real ~ normal(0, 1)
var s: spin[2]
energy -0.9 * x * s[0] * s[1] - 0.3 * s[0] * s[1] - 0.2 * s[0]
query m = mean(concat([x], s))
"""
    states = list(itertools.product((-1.0, 1.0), repeat=2))
    weight = np.array([np.exp(0.3 * p * q + 0.2 * p + 0.5 * (0.9 * p * q) ** 2) for p, q in states])
    weight /= weight.sum()
    want = weight @ [(0.9 * p * q, p, q) for p, q in states]
    answer = compile_program(text, target="ideal+ideal-spin").run(samples=600, seed=1).answer("m")
    assert answer.error is not None
    assert (np.abs(answer.value - want) < 4.5 * answer.error).all()


def test_a_double_well_whose_tilt_a_spin_sets() -> None:
    """Not Gaussian given the spin: a Langevin device and a p-bit. Quadrature for each state of the spin."""
    text = """
var x: real ~ double_well(-1, 1)
var s: spin
energy -0.6 * x * s - 0.2 * s
query m = mean(concat([x], [s]))
query e = expectation(x * s)
query q = expectation(x**2)
"""

    def moments(s: float) -> np.ndarray:
        weight = lambda x: np.exp(-(x**4 - x**2 - 0.6 * x * s - 0.2 * s))  # noqa: E731
        return np.array([integrate.quad(lambda x, k=k: x**k * weight(x), -5, 5)[0] for k in range(3)])

    up, down = moments(1.0), moments(-1.0)
    z = up[0] + down[0]
    want = {
        "m": [(up[1] + down[1]) / z, (up[0] - down[0]) / z],
        "e": (up[1] - down[1]) / z,
        "q": (up[2] + down[2]) / z,
    }
    result = compile_program(text, target="langevin-ideal+ideal-spin").run(samples=1000, seed=4)
    for name, value in want.items():
        answer = result.answer(name)
        assert answer.error is not None
        assert (np.abs(answer.value - value) < 4.5 * answer.error).all(), name


def regression(rows: int, columns: int) -> tuple[Program, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(rows, columns))
    y = x[:, ::3] @ np.full(x[:, ::3].shape[1], 1.3) + 0.5 * rng.normal(size=rows)
    text = (
        SLAB.split("query")[0].replace("[4", f"[{rows}").replace("3]", f"{columns}]")
        + "query best = argmin()\n"
    )
    return compile_program(text, {"X": x, "y": y}, "ideal+ideal-spin"), x, y


def ridge(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> float:
    """The least over b of the slab's energy given s, up to what s does not change."""
    z = x * s
    b = np.linalg.solve(z.T @ z / 0.49 + np.eye(s.size) / 1.44, z.T @ y / 0.49)
    return float(((y - z @ b) ** 2).sum() / 0.98 + (b**2).sum() / 2.88 + 0.4 * s.sum())


def test_the_least_energy_of_a_spike_and_slab_is_that_of_all_subsets() -> None:
    program, x, y = regression(12, 6)
    answer = program.run(samples=4, chains=1).answer("best")
    assert "no state has less" in answer.note
    subsets = np.array(list(itertools.product((0.0, 1.0), repeat=6)))
    best = subsets[np.argmin([ridge(x, y, s) for s in subsets])]
    np.testing.assert_array_equal(answer.value[:6], best)
    z = x * best
    np.testing.assert_allclose(
        answer.value[6:], np.linalg.solve(z.T @ z / 0.49 + np.eye(6) / 1.44, z.T @ y / 0.49), atol=1e-9
    )


def test_beyond_twelve_spins_no_flip_lowers_the_energy_that_is_found() -> None:
    program, x, y = regression(20, 13)
    answer = program.run(samples=2, chains=1).answer("best")
    assert "no flip of one lowers it" in answer.note
    s = answer.value[:13]
    found = ridge(x, y, s)
    for k in range(13):
        other = s.copy()
        other[k] = 1 - s[k]
        assert ridge(x, y, other) >= found - 1e-9


def test_what_a_backend_says_of_its_draws_comes_through_the_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    from spucc.targets.exact import Exact

    plain = Exact.run

    def frank(self: Exact, *given: object) -> object:
        for chunk in plain(self, *given):  # type: ignore[arg-type]
            yield dataclasses.replace(chunk, note="means are off by 3 %")

    monkeypatch.setattr(Exact, "run", frank)
    said = slab().run(samples=4, chains=1).provenance["simulation"]
    assert said == {"reals": "means are off by 3 %"}


def test_files_chunks_and_stops_leave_the_same_draws(tmp_path: Path) -> None:
    program = slab(queries="query draws = sample(concat(b, s))\n")
    program.save(tmp_path / "m.spuc")
    back = read_program(tmp_path / "m.spuc")
    assert identical(program, back)
    whole = run_program(back, samples=150, chains=1, stream=tmp_path / "whole.nc")
    calls = [0]

    def stopped() -> bool:
        calls[0] += 1
        return calls[0] == 1

    part = run_program(program, samples=150, chains=1, stream=tmp_path / "part.nc", stopped=stopped)
    assert not part.complete
    run_program(program, samples=150, chains=1, stream=tmp_path / "part.nc", resume=True)
    assert (tmp_path / "part.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()
    np.testing.assert_array_equal(whole["draws"], program.run(samples=150, chains=1)["draws"])


def test_every_draw_is_a_load_in_the_ledger() -> None:
    loads = next(i for i in energy_ledger(slab(), 500).device if i.what == "loads of a configuration")
    assert loads.count == 500  # that of the spins; an ideal device of reals has no prices


def test_a_state_of_the_spins_without_a_proper_law_is_named() -> None:
    """The front end finds it in a program; in an energy of other makers the compiler does."""
    text = "var x: real ~ normal(0, 1)\nvar s: spin\nenergy {} * x**2 * s"
    with pytest.raises(SpuccError, match="E0409") as caught:
        compile_program(text.format(1.0), target="ideal+ideal-spin")
    assert caught.value.diagnostics[0].notes == ("where s = -1",)
    energy = elaborate(text.format(0.4))
    (terms,) = energy.higher
    energy = dataclasses.replace(
        energy, higher=(dataclasses.replace(terms, coefficient=frozen(2.5 * terms.coefficient)),)
    )
    with pytest.raises(SpuccError, match="E0515") as caught:
        compile_program(energy, target="ideal+ideal-spin")
    assert "given s = -1" in caught.value.diagnostics[0].title
