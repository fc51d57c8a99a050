"""Langevin units against quadrature, the transfer matrix, closed forms, and the theorems of stochastic
thermodynamics.

Each z-test compares the mean of independent trajectories with an exact number; thresholds are stated where
they stand, and give a false-alarm rate below 1e-3 a test for a fresh seed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, sparse

from spucc.arrays import frozen
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Monomials, Quadratic, layout
from spucc.targets.langevin.potential import Potential, potential_of
from spucc.targets.langevin.step_choice import cell_bias, choose_step, stationary_moments
from spucc.targets.langevin.walkers import Walkers
from spucc.targets.langevin.work import drive


def cell(j2: float, j4: float, b: float) -> Potential:
    return Potential(frozen([b]), sparse.csr_array([[2.0 * j2]]), frozen([j4]))


def ring(n: int, j2: float, j4: float, j: float, b: float) -> Potential:
    q = sparse.lil_array((n, n))
    for i in range(n):
        q[i, i] = 2 * j2
        if n > 1:
            q[i, (i + 1) % n] += j
            q[(i + 1) % n, i] += j
    return Potential(frozen(np.full(n, b)), sparse.csr_array(q), frozen(np.full(n, j4)))


def exact(f: object, j2: float, j4: float, b: float, kt: float) -> float:
    def weight(x: float) -> float:
        return float(np.exp(-(j2 * x**2 + j4 * x**4 + b * x) / kt))

    z = integrate.quad(weight, -6, 6, limit=400)[0]
    return float(integrate.quad(lambda x: f(x) * weight(x), -6, 6, limit=400)[0] / z)  # type: ignore[operator]


def z_score(values: np.ndarray, want: float) -> float:
    """Of the mean over the first axis of independent values."""
    return float((values.mean() - want) / (values.std(ddof=1) / np.sqrt(values.size)))


CELLS = [(0.0, 1.0, 0.0, 1.0), (1.0, 1.0, 0.5, 1.0), (-1.0, 1.0, 0.1, 0.5)]


@pytest.mark.parametrize("j2, j4, b, kt", CELLS)
def test_adjusted_draws_have_the_exact_moments(j2: float, j4: float, b: float, kt: float) -> None:
    walkers = Walkers(cell(j2, j4, b), 1024, (1,), temperature=kt)
    walkers.adjusted(0.15, 400)
    total = np.zeros((1024, 2))
    for _ in range(300):
        share = walkers.adjusted(0.15, 3)
        x = walkers.positions()[:, 0]
        total += np.stack([x, x**2], axis=1) / 300
    assert share.mean() > 0.5
    assert abs(z_score(total[:, 0], exact(lambda x: x, j2, j4, b, kt))) < 3.9
    assert abs(z_score(total[:, 1], exact(lambda x: x * x, j2, j4, b, kt))) < 3.9


def test_the_step_has_weak_order_two_and_the_kernel_the_predicted_bias() -> None:
    """The bias by the transfer operator falls fourfold with half the step; a run with a coarse step shows it
    (4 se)."""
    coarse, fine = (cell_bias(1.0, 1.0, 0.5, 1.0, h) for h in (0.04, 0.02))
    assert 3.4 < coarse / fine < 4.6
    j2, j4, b, kt, h = 1.0, 1.0, 0.0, 1.0, 0.09
    want = stationary_moments(j2, j4, b, kt, h)[1]
    true = exact(lambda x: x * x, j2, j4, b, kt)
    walkers = Walkers(cell(j2, j4, b), 4096, (2,), temperature=kt)
    walkers.overdamped(h, 60)
    total = np.zeros(4096)
    for _ in range(400):
        walkers.overdamped(h, 2)
        total += walkers.positions()[:, 0] ** 2 / 400
    assert abs(z_score(total, want)) < 4
    assert abs(z_score(total, true)) > 4


def test_a_linear_cell_has_no_bias() -> None:
    """For J4 = 0 the scheme's stationary variance is exact: kT / (2 J2)."""
    assert stationary_moments(1.5, 0.0, 0.3, 0.8, 0.1)[1] == pytest.approx(0.8 / 3 + 0.1**2, rel=1e-8)


@pytest.mark.parametrize("j2, j4, b, kt", CELLS)
def test_the_chosen_step_keeps_its_word(j2: float, j4: float, b: float, kt: float) -> None:
    step = choose_step(cell(j2, j4, b), kt, np.ones(1), tolerance=2e-3)
    assert 0 < step.bias <= 2e-3
    assert step.length > 1e-3
    halved = choose_step(cell(j2, j4, b), kt, np.full(1, 2.0), tolerance=2e-3)
    assert halved.length == pytest.approx(step.length / 2)


def test_underdamped_dynamics_has_the_law_and_the_temperature() -> None:
    j2, j4, b, kt = 1.0, 1.0, 0.5, 1.0
    walkers = Walkers(cell(j2, j4, b), 2048, (3,), temperature=kt)
    walkers.underdamped(0.1, 100)
    total = np.zeros(2048)
    for _ in range(300):
        walkers.underdamped(0.1, 4)
        total += walkers.positions()[:, 0] ** 2 / 300
    want = exact(lambda x: x * x, j2, j4, b, kt)
    assert abs(total.mean() / want - 1) < 4 * total.std(ddof=1) / np.sqrt(2048) / want + 2e-3


@pytest.mark.parametrize(
    ("scheme", "order"), [("underdamped", 2.0), ("heun", 2.0), ("overdamped", 1.0)], ids=lambda v: str(v)
)
def test_the_order_on_the_way_to_equilibrium(scheme: str, order: float) -> None:
    """At a temperature of next to nothing a path is that of an ordinary differential equation (scipy's, to 1e-11): the error at
    a time t falls as h^order, measured from h = 0.02 and 0.01."""
    j2, j4, b, start, t = 1.0, 0.7, 0.3, 1.5, 1.0

    def force(x: float) -> float:
        return -(2 * j2 * x + 4 * j4 * x**3 + b)

    if scheme == "underdamped":
        flow, first = lambda _, y: [y[1], force(y[0]) - y[1]], [start, 0.0]
    else:
        flow, first = lambda _, y: [force(y[0])], [start]
    want = integrate.solve_ivp(flow, (0, t), first, rtol=1e-11, atol=1e-13).y[0, -1]
    errors = []
    for h in (0.02, 0.01):
        walkers = Walkers(cell(j2, j4, b), 1, (1,), temperature=1e-24, start=np.array([start]))
        getattr(walkers, scheme)(h, round(t / h))
        errors.append(abs(walkers.positions()[0, 0] - want))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_relaxation_of_a_linear_unit_in_time() -> None:
    """⟨x(t)⟩ = x₀ e^{−2μJ2 t}, Var = kT/(2J2) (1 − e^{−4μJ2 t}): the trajectory, not only its end (4 se +
    h²)."""
    mu, j2, kt, h = 0.7, 1.0, 0.5, 0.01
    walkers = Walkers(cell(j2, 0.0, 0.0), 8192, (4,), temperature=kt, mobility=mu, start=np.array([2.0]))
    for count, t in ((30, 0.3), (70, 1.0)):
        walkers.overdamped(h, count)
        x = walkers.positions()[:, 0]
        assert abs(x.mean() - 2 * np.exp(-2 * mu * j2 * t)) < 4 * x.std() / np.sqrt(8192) + 4e-3
        var = kt / (2 * j2) * (1 - np.exp(-4 * mu * j2 * t))
        assert abs(x.var() / var - 1) < 4 * np.sqrt(2 / 8192) + 0.02


def test_mixed_terms_enter_energy_and_slope() -> None:
    rng = np.random.default_rng(5)
    n = 6
    cubic = Monomials(frozen([[0, 1, 2], [3, 3, 4], [5, 5, 5]], np.int64), frozen([0.3, -0.2, 0.1]))
    fourth = Monomials(frozen([[0, 0, 1, 1], [2, 3, 4, 5], [1, 1, 1, 2]], np.int64), frozen([0.5, 0.1, 0.05]))
    a = rng.normal(size=(n, n))
    p = Potential(frozen(rng.normal(size=n)), sparse.csr_array(a + a.T), frozen(np.ones(n)), (cubic, fourth))
    x = rng.normal(size=(20, n))
    walkers = Walkers(p, 20, (1,), start=x)
    np.testing.assert_allclose(walkers.energies(), p.energy(x), rtol=1e-12)
    slope = walkers._slope(walkers._x[0])[:, :20].T
    for i in range(n):
        e = np.zeros(n)
        e[i] = 1e-6
        np.testing.assert_allclose(
            slope[:, i], (p.energy(x + e) - p.energy(x - e)) / 2e-6, rtol=1e-6, atol=1e-6
        )


def test_dense_and_sparse_products_agree() -> None:
    rng = np.random.default_rng(6)
    n = 80
    a = rng.normal(size=(n, n)) * 0.05
    p = Potential(frozen(np.zeros(n)), sparse.csr_array(a + a.T + 2 * np.eye(n)), frozen(np.ones(n)))
    assert p.dense is not None
    thin = Potential(p.linear, p.quadratic, p.quartic)
    thin.__dict__["dense"] = None
    x = rng.normal(size=(10, n))
    one, two = Walkers(p, 10, (1,), start=x), Walkers(thin, 10, (1,), start=x)
    np.testing.assert_allclose(one.energies(), two.energies(), rtol=1e-6)
    np.testing.assert_allclose(one.energies(), p.energy(x), rtol=1e-6)
    one.overdamped(1e-3, 5)
    two.overdamped(1e-3, 5)
    np.testing.assert_allclose(one.positions(), two.positions(), atol=1e-6)


def test_jarzynski_and_the_first_law() -> None:
    """A cell is driven from one quartic well to another: the estimate of ΔF against quadrature (4 se), and V
    = W − Q."""
    kt = 0.8

    def log_z(j2: float, j4: float, b: float) -> float:
        return float(
            np.log(integrate.quad(lambda x: np.exp(-(j2 * x**2 + j4 * x**4 + b * x) / kt), -8, 8)[0])
        )

    walkers = Walkers(cell(1.0, 0.5, 0.0), 8192, (7,), temperature=kt)
    walkers.adjusted(0.15, 200)
    ledger = drive(walkers, cell(-1.0, 1.0, 0.8), np.linspace(0, 1, 101)[1:], 0.01)
    np.testing.assert_allclose(ledger.change, ledger.work - ledger.heat, atol=1e-12)
    want = -kt * (log_z(-1.0, 1.0, 0.8) - log_z(1.0, 0.5, 0.0))
    got, error = ledger.free_energy(kt)
    assert error < 0.02
    assert abs(got - want) < 4 * error
    assert ledger.dissipated(want).mean() > 5 * error


def test_fluctuation_theorem_of_a_dragged_well() -> None:
    """The minimum of a linear unit is dragged: W is Gaussian and Crooks' theorem asks Var(W) = 2kT⟨W − ΔF⟩ (5
    %)."""
    kt, k, far = 0.6, 2.0, 1.5
    first = cell(k / 2, 0.0, 0.0)
    last = cell(k / 2, 0.0, -k * far)
    walkers = Walkers(first, 16384, (8,), temperature=kt)
    walkers.adjusted(0.2, 200)
    ledger = drive(walkers, last, np.linspace(0, 1, 201)[1:], 0.004)
    change = -0.5 * k * far**2
    loss = ledger.dissipated(change).mean()
    assert ledger.work.var() / (2 * kt * loss) == pytest.approx(1.0, abs=0.05)
    # backwards: the same distribution of dissipated work, by symmetry
    back = Walkers(last, 16384, (9,), temperature=kt, start=np.array([far]))
    back.adjusted(0.2, 200)
    returned = drive(back, first, np.linspace(0, 1, 201)[1:], 0.004)
    assert returned.dissipated(-change).mean() == pytest.approx(
        loss, abs=4 * np.sqrt(2) * ledger.work.std() / 128
    )


def test_a_trajectory_is_the_same_whatever_stands_beside_it_and_resumes() -> None:
    p = ring(8, 1.0, 1.0, -0.8, 0.2)
    few, many = Walkers(p, 3, (1,)), Walkers(p, 150, (1,), threads=2)
    few.overdamped(0.02, 30)
    many.overdamped(0.02, 30)
    np.testing.assert_array_equal(few.positions(), many.positions()[:3])
    resumed = Walkers(p, 150, (5,))
    half = Walkers(p, 150, (1,))
    half.overdamped(0.02, 10)
    resumed.restore(half.export())
    resumed.overdamped(0.02, 20)
    np.testing.assert_array_equal(resumed.positions(), many.positions())
    with pytest.raises(SpuccError, match="E0555"):
        Walkers(p, 10, (1,)).restore(half.export())


def energy_of(linear: list[float], q: np.ndarray, higher: tuple[Monomials, ...] = ()) -> Energy:
    variables = layout([("x", (len(linear),), Domain.REAL, None)])
    return Energy(variables, frozen(linear), Quadratic(sparse.csr_array(q)), higher=higher)


def quartics(rows: list[list[int]], coefficients: list[float]) -> Monomials:
    return Monomials(frozen(rows, np.int64), frozen(coefficients))


@pytest.mark.parametrize(
    "q, higher, names",
    [
        (np.eye(2), (quartics([[0, 0, 0, 0]], [-1.0]),), "x[0]"),
        (np.diag([1.0, -1.0]), (), "x[1]"),
        (np.diag([1.0, -1.0]), (quartics([[0, 0, 0, 0]], [1.0]),), "x[1]"),
        (np.eye(2), (quartics([[1, 1, 1]], [0.1]),), "x[1]"),
        (np.eye(2), (quartics([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], [1.0, -3.0, 1.0]),), "x["),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), (), "x["),
    ],
)
def test_unbounded_energies_are_refused(q: np.ndarray, higher: tuple[Monomials, ...], names: str) -> None:
    with pytest.raises(SpuccError) as caught:
        potential_of(energy_of([0.0, 0.0], q, higher))
    found = caught.value.diagnostics[0]
    assert found.code == "E0551"
    assert names in found.title


def test_bounded_energies_pass() -> None:
    mixed = quartics([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], [1.0, -1.5, 1.0])
    potential_of(energy_of([1.0, 0.0], np.diag([-3.0, -1.0]), (mixed,)))
    potential_of(energy_of([1.0, 0.0], np.diag([-3.0, 1.0]), (quartics([[0, 0, 0, 0]], [1.0]),)))


def test_zero_temperature_and_escape_are_refused() -> None:
    with pytest.raises(SpuccError, match="E0553"):
        Walkers(cell(1, 1, 0), 4, (1,), temperature=0.0)
    with pytest.raises(SpuccError, match="E0554"):
        Walkers(cell(1, 1, 0), 64, (1,)).overdamped(2.0, 50)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("j2, b, kt", [(-3.0, 0.4, 0.5), (-4.0, 0.1, 0.2)])
def test_deep_wells_are_crossed_whatever_the_unit_of_length(
    j2: float, b: float, kt: float, size: float
) -> None:
    """Barriers of 4.5 and 20 kT between unequal wells: R̂ and the mean by quadrature (4.5 standard errors)."""
    from spucc.driver import compile_program

    text = f"""
var x: real[1]
energy {j2!r} * (x[0] / {size!r})**2 + (x[0] / {size!r})**4 + {b!r} * x[0] / {size!r}
temperature {kt!r}
query m = mean(x)
"""
    answer = compile_program(text, target="langevin-ideal").run(samples=8000, chains=40, seed=3).answer("m")
    assert answer.rhat is not None and answer.error is not None
    assert answer.rhat.max() < 1.02
    assert abs(answer.value[0] / size - exact(lambda x: x, j2, 1.0, b, kt)) < 4.5 * answer.error[0] / size


def test_a_chain_that_turns_over_as_a_whole() -> None:
    """Couplings far above kT hold six units together: the sign of all of them still changes."""
    from spucc.driver import compile_program

    text = """
var x: real[6] ~ double_well(0, 1)
energy -6 * sum(x[1:] * x[:-1])
query m = mean(x)
"""
    answer = compile_program(text, target="langevin-ideal").run(samples=4000, chains=20, seed=1).answer("m")
    assert answer.rhat is not None and answer.rhat.max() < 1.02
    assert answer.error is not None and (np.abs(answer.value) < 4.5 * answer.error).all()


@pytest.mark.workloads
@pytest.mark.skipif("SPUCC_WORKLOADS" not in os.environ, reason="SPUCC_WORKLOADS names no folder")
@pytest.mark.parametrize("name", ["single_pure", "single_J2J4", "double_well", "ring8", "ring8_double_well"])
def test_quartic_rings(name: str) -> None:
    """Within 3 standard errors for the adjusted sampler; the dynamics within 3 and the step's stated bias."""
    folder = Path(os.environ["SPUCC_WORKLOADS"]) / "quartic_rings"
    case = json.loads((folder / "model.json").read_text())["cases"][name]
    want = json.loads((folder / "oracle.json").read_text())[name]
    kt = case["kT"]
    p = ring(case["N"], case["J2"], case["J4"], case["J"], case["b"])
    start = np.random.default_rng(1).normal(size=(1024, case["N"]))
    walkers = Walkers(p, 1024, (11,), temperature=kt, start=start)
    step = choose_step(p, kt, np.ones(p.n))
    for adjusted in (True, False):
        totals = {"x": 0.0, "x2": 0.0, "x4": 0.0, "x_x1": 0.0}
        length, move = (0.12, walkers.adjusted) if adjusted else (step.length, walkers.overdamped)
        move(length, 2000 if adjusted else 3000)
        for _ in range(200):
            move(length, 10)
            x = walkers.positions()
            totals["x"] += x.mean(axis=1) / 200
            totals["x2"] += (x**2).mean(axis=1) / 200
            totals["x4"] += (x**4).mean(axis=1) / 200
            totals["x_x1"] += (x * np.roll(x, 1, axis=1)).mean(axis=1) / 200
        for key, got in totals.items():
            if want[key] is not None:
                bias = 0 if adjusted else 3 * step.bias * max(want["x2"], want["x4"])
                allowed = 3 * got.std(ddof=1) / 32 + bias
                assert abs(got.mean() - want[key]) < allowed, (key, adjusted)
