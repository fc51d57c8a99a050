"""`trajectory`, asked in the language, against the Ornstein–Uhlenbeck process and stochastic thermodynamics.

z-tests over independent paths, thresholds 4.5 (false alarms below 1e-5 an entry for a fresh seed) plus the stated step bias.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from spucc.diagnostics import SpuccError
from spucc.driver import compile_program
from spucc.targets.langevin.paths import drive

OU = """
var x: real[2]
energy 0.5 * x[0]**2 + x[1]**2 + 0.4 * x[0] * x[1] - 0.3 * x[1]
observe {}
temperature 0.5
query path = trajectory(x, 1.5, [2, -1])
"""


def test_paths_of_coupled_springs_have_the_closed_law() -> None:
    """x' = −T ∇(E/T)·μ with the compiled scale: mean and covariance at t from the matrix exponential (physics §3)."""
    text = OU.replace("observe {}\n", "")
    found = compile_program(text, target="langevin-ideal").run(samples=8000 * 3, chains=8000).answer("path")
    assert found.value.shape == (8000, 3, 2)
    a, b, kt = np.array([[1.0, 0.4], [0.4, 2.0]]), np.array([0.0, 0.3]), 0.5
    rest = linalg.solve(a, b)
    cov = linalg.solve_continuous_lyapunov(a, 2 * kt * np.eye(2))
    # the device has kT = 1 while the model has T = 0.5: time runs with the mobility that the note states
    mobility = 1 / kt
    for k, t in enumerate(found.extra["time"]):
        e = linalg.expm(-a * mobility * t)
        mean, spread = rest + e @ (np.array([2.0, -1.0]) - rest), cov - e @ cov @ e.T
        at = found.value[:, k]
        z = (at.mean(axis=0) - mean) / np.sqrt(np.diag(spread) / 8000)
        assert np.abs(z).max() < 4.5
        assert np.abs(np.cov(at.T) / spread - 1)[np.diag_indices(2)].max() < 4.5 * np.sqrt(2 / 8000) + 2e-3
    # what the bath gets is what the energy loses
    assert found.extra["heat"].shape == (8000,)
    end = found.value[:, -1]

    def energy(x: np.ndarray) -> np.ndarray:
        return (0.5 * np.einsum("ki,ij,kj->k", x, a, x) - x @ b) / kt

    lost = energy(np.array([[2.0, -1.0]])) - energy(end)
    np.testing.assert_allclose(found.extra["heat"], lost, atol=1e-9)


def test_a_double_well_follows_its_fokker_planck_equation() -> None:
    """From x = 0.3 in V = −x² + x⁴ at kT = 0.2: mean and ⟨x²⟩ at three times against the equation on a grid."""
    text = "var x: real[1] ~ double_well(-1, 1)\ntemperature 0.2\nquery p = trajectory(x, 0.3, [0.3])"
    found = compile_program(text, target="langevin-ideal").run(samples=3 * 20_000, chains=20_000).answer("p")
    grid = np.linspace(-2.4, 2.4, 961)
    h, kt, mobility = grid[1] - grid[0], 0.2, 1 / 0.2
    v = -(grid**2) + grid**4
    # jumps between neighbours that keep e^{−V/kT}: second order in h (Scharfetter and Gummel)
    up, down = (kt * mobility / h**2 * np.exp(-sign * np.diff(v) / (2 * kt)) for sign in (1, -1))
    rate = np.diag(up, -1) + np.diag(down, 1)
    rate -= np.diag(rate.sum(axis=0))
    p = np.zeros(grid.size)
    p[np.argmin(np.abs(grid - 0.3))] = 1.0
    step = linalg.expm(rate * 0.1)
    for k in range(3):
        p = step @ p
        for power in (1, 2):
            exact = p @ grid**power
            got = found.value[:, k, 0] ** power
            assert abs(got.mean() - exact) < 4.5 * got.std() / np.sqrt(got.size) + 2e-3 * abs(exact)


def test_paths_read_linear_forms_and_observed_variables() -> None:
    text = "var x: real[3] ~ double_well(-1, 1)\nobserve x[1] = 0.5\nenergy -x[0] * x[1]\n"
    text += "query p = trajectory(x[0] + 2 * x[1], 0.1)"
    found = compile_program(text, target="langevin-ideal").run(samples=40, chains=4).answer("p")
    assert found.value.shape == (4, 10)
    assert np.abs(found.value - 1.0).max() < 2.5


def test_spins_have_no_paths() -> None:
    text = "var x: spin[2] ~ ising([[0, 1], [1, 0]], 1)\nquery p = trajectory(x, 1)"
    with pytest.raises(SpuccError, match=r"E0493.*two values"):
        compile_program(text, target="ideal-spin")


def test_driven_programs_obey_jarzynski_and_the_second_law() -> None:
    """A spring drawn from stiffness 1 to 3: ΔF = ½ log 3 kT; ⟨W⟩ ≥ ΔF; W − Q = ΔV path by path."""
    one, two = (
        compile_program(f"var x: real\nenergy 0.5 * {k} * x**2", target="langevin-ideal") for k in (1, 3)
    )
    ledger, kt = drive(one.jobs[0], two.jobs[0], one.device, duration=0.5, paths=4000)
    value, error = ledger.free_energy(kt)
    assert abs(value - 0.5 * kt * np.log(3)) < 4.5 * error + 2e-3
    assert ledger.dissipated(value).mean() > 0
    np.testing.assert_allclose(ledger.change, ledger.work - ledger.heat, atol=1e-9)


@pytest.mark.parametrize(("target", "rounded"), [("langevin-ideal", False), ("langevin-generative", True)])
def test_the_ledger_says_zero_only_where_nothing_was_rounded(target: str, rounded: bool) -> None:
    text = "var x: real[3] ~ double_well(0.9, 1)\nenergy -0.37 * x[0] * x[1] + 0.2 * x[2]\ntemperature 0.1"
    program = compile_program(text, target=target)
    last = {e.job: e for e in program.ledger}.values()
    assert all(e.basis == "exact" for e in last)
    assert any(0 < e.kl_forward < 1e-3 for e in last) == rounded
