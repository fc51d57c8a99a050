"""`schedule`: poles and effective sample sizes against the matrix exponential of the circuit's own equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg

from spucc.arrays import frozen
from spucc.device import Bank, Calibration, Circuit, Device, DeviceSpec, Family, TopologySpec
from spucc.devices import load_device as device_named
from spucc.passes.scheduling import pace as schedule
from spucc.readback import Affine
from spucc.running.law import program_law
from spucc.stages import Domain, Quantized, plain_roles
from spucc.topology import build

R, L = 1e3, 1e-4


def device(family: Family = Family.CAPACITIVE) -> Device:
    spec = DeviceSpec(
        name="board",
        family=family,
        topology=TopologySpec(kind="complete", nodes=4),
        ground=Bank(max=1.0),
        coupling=Bank(max=1.0),
        circuit=Circuit(resistance=R, inductance=L, capacitance=1e-9),
    )
    return Device(spec, build(spec.topology))


def codes(ground: np.ndarray, family: Family = Family.CAPACITIVE) -> Quantized:
    n = ground.size
    cells = frozen(np.arange(n), np.int64)
    edges = frozen(np.zeros((0, 2)), np.int64)
    one = frozen(np.ones(1))
    return Quantized(
        family, Domain.REAL, cells, cells, edges, frozen(ground[None]), frozen(np.zeros((1, 0))), frozen(np.zeros((1, n))),
        one, one, (Affine.identity(n),), cells, plain_roles(n),
    )  # fmt: skip


def system(c: np.ndarray, r: np.ndarray, ell: np.ndarray, series: np.ndarray) -> np.ndarray:
    """d/dt (i, v) of physics §1."""
    inverse = np.linalg.inv(c)
    return np.block([[-np.diag(series / ell), np.diag(1 / ell)], [-inverse, -inverse @ np.diag(1 / r)]])


@pytest.mark.parametrize("c", [1e-9, 1e-11, 2.5e-11])
def test_autocorrelation_is_that_of_the_equations(c: float) -> None:
    """Under-, over- and critically damped: c = ℓ/(4R²) = 2.5e-11 F is critical."""
    a = system(np.array([[c]]), np.array([R]), np.array([L]), np.zeros(1))
    t = np.linspace(0, 5e-6, 40)
    exact = [linalg.expm(a * x)[1, 1] for x in t]
    np.testing.assert_allclose(schedule.resonator_autocorrelation(t, c, R, L), exact, atol=1e-7)


def test_poles_of_unequal_lossy_cells() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5)) * 1e-5
    c, r, ell, s = (
        x @ x.T + 1e-9 * np.eye(3),
        rng.uniform(500, 2000, 3),
        rng.uniform(5e-5, 2e-4, 3),
        rng.uniform(0, 9, 3),
    )
    exact = np.sort_complex(np.linalg.eigvals(system(c, r, ell, s)))
    np.testing.assert_allclose(np.sort_complex(schedule.circuit_poles(c, r, ell, s)), exact, rtol=1e-6)


def test_effective_sample_size_by_brute_force() -> None:
    """1/(1 + 2Σρ²) from the matrix exponential at multiples of the interval, for the worst cell."""
    ground = np.array([1e-9, 4e-10, 3e-11, 2e-12])
    plan, _ = schedule.schedule_of(codes(ground), device(), 100, 2, None, 7.0)
    worst = np.inf
    for c in ground:
        a = system(np.array([[c]]), np.array([R]), np.array([L]), np.zeros(1))
        step = linalg.expm(a * plan.interval)
        power, total = np.eye(2), 0.0
        for _ in range(3000):
            power = power @ step
            total += power[1, 1] ** 2
        worst = min(worst, 1 / (1 + 2 * total))
    assert plan.ess_per_draw == pytest.approx(worst, rel=1e-4)
    assert plan.host_operations == 7.0
    # What is left of a cold start: the slowest pole, squared.
    slowest = min(
        -np.linalg.eigvals(system(np.array([[c]]), np.array([R]), np.array([L]), np.zeros(1))).real.max()
        for c in ground
    )
    assert np.exp(-2 * slowest * plan.settle) == pytest.approx(1e-4, rel=1e-6)


def test_series_resistance_and_unequal_resistors_use_the_general_poles() -> None:
    measured = Calibration(
        resistance=frozen([900.0, 1100, 1000, 1000]), series_resistance=frozen([5.0, 0, 1, 2])
    )
    board = replace(device(), calibration=measured)
    ground = np.full(4, 1e-9)
    plan, _ = schedule.schedule_of(codes(ground), board, 100, 2, None, 0.0)
    poles = np.linalg.eigvals(
        system(
            np.diag(ground),
            np.asarray(measured.resistance),
            np.full(4, L),
            np.asarray(measured.series_resistance),
        )
    )
    assert plan.interval == pytest.approx(1 / (-poles.real).min(), rel=1e-6)


def test_resistive_rates() -> None:
    ground = np.array([1e-3, 1e-4])
    plan, _ = schedule.schedule_of(
        codes(ground, Family.RESISTIVE), device(Family.RESISTIVE), 10, 1, None, 0.0
    )
    assert plan.interval == pytest.approx(1e-9 / 1e-4)
    assert plan.ess_per_draw == pytest.approx(1 / (1 + 2 / (np.exp(2) - 1)), rel=1e-4)


def test_draws_for_an_error_hold_empirically() -> None:
    """Relative Frobenius error of the covariance of N independent draws, averaged over 400 repetitions: within 10 %."""
    ground = np.array([1e-9, 5e-10, 2e-10, 1e-10])
    eps = 0.05
    plan, notes = schedule.schedule_of(codes(ground), device(), 100, 4, eps, 0.0, (Affine.identity(4),))
    effective = plan.draws * 4 * plan.ess_per_draw
    sigma = 1 / ground
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(400):
        x = rng.normal(size=(int(effective), 4)) * np.sqrt(sigma)
        s = x.T @ x / x.shape[0]
        errors.append(np.sum((s - np.diag(sigma)) ** 2) / np.sum(sigma**2))
    assert np.sqrt(np.mean(errors)) == pytest.approx(eps, rel=0.1)
    assert any("draws a chain" in n for n in notes)


def exact_pace(drift: np.ndarray, cov: np.ndarray, interval: float, keep: slice) -> tuple[float, float]:
    """Effective draws a draw for the variance of the worst direction and of the worst cell of dz = A z dt + noise with stationary
    covariance S: lag k has the covariance e^{Ak·interval} S, and a direction u the autocorrelation u'W_k u after whitening.
    Σ_k (u'W_k u)² is raised by steps along its gradient from many starts."""
    spread = cov[keep, keep]
    white = np.linalg.inv(np.linalg.cholesky(spread))
    step, power, lags, cells = linalg.expm(drift * interval), np.eye(len(drift)), [], np.zeros(len(spread))
    for _ in range(4000):
        power = power @ step
        lag = (power @ cov)[keep, keep]
        cells += (np.diag(lag) / np.diag(spread)) ** 2
        lags.append(white @ (lag + lag.T) @ white.T / 2)
        if np.abs(lags[-1]).max() < 1e-9:
            break
    w, worst, rng = np.array(lags), 0.0, np.random.default_rng(0)
    for _ in range(40):
        u = rng.normal(size=len(spread))
        for _ in range(200):
            u = np.einsum("k,kij,j->i", np.einsum("kij,i,j->k", w, u, u), w, u)
            u /= np.linalg.norm(u)
        worst = max(worst, float(np.sum(np.einsum("kij,i,j->k", w, u, u) ** 2)))
    return 1 / (1 + 2 * worst), float((1 / (1 + 2 * cells)).min())


def coupled(rng: np.random.Generator, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ground values, edges and couplings of four cells that are all coupled."""
    edges = np.array([(i, j) for i in range(4) for j in range(i + 1, 4)])
    return scale * rng.uniform(0.2, 2, 4), edges, scale * rng.uniform(0, 0.5, len(edges))


@pytest.mark.parametrize("kind", ["equal", "lossy", "uneven"])
@pytest.mark.parametrize("scale", [1e-9, 1e-11, 2.5e-11])
def test_promised_draws_of_coupled_resonators(kind: str, scale: float) -> None:
    """Under-, over- and nearly critically damped: exactly what the worst combination of cells has where parts are equal, never
    more and at least three quarters of it elsewhere."""
    rng = np.random.default_rng(3)
    ground, edges, value = coupled(rng, scale)
    uneven = kind == "uneven"
    r = R * (rng.uniform(0.7, 1.4, 4) if uneven else np.ones(4))
    ell = L * (rng.uniform(0.7, 1.4, 4) if uneven else np.ones(4))
    series = {"equal": np.zeros(4), "lossy": np.full(4, 10.0), "uneven": rng.uniform(0, 20, 4)}[kind]
    measured = Calibration(resistance=frozen(r), inductance=frozen(ell), series_resistance=frozen(series))
    cells = replace(codes(ground), edges=frozen(edges, np.int64), coupling=frozen(value[None]))
    plan, _ = schedule.schedule_of(cells, replace(device(), calibration=measured), 100, 1, None, 0.0)
    i, j = edges.T
    c = np.diag(ground + np.bincount(i, value, 4) + np.bincount(j, value, 4))
    c[i, j] = c[j, i] = -value
    a = system(c, r, ell, series)
    noise = np.zeros((8, 4))
    noise[4:] = np.linalg.inv(c) @ np.diag(np.sqrt(2 / r))
    cov = linalg.solve_continuous_lyapunov(a, -noise @ noise.T)
    worst, cell = exact_pace(a, cov, plan.interval, slice(4, 8))
    assert plan.ess_per_draw <= min(worst * (1 + 1e-6), cell)
    assert plan.ess_per_draw >= worst * (1 - 1e-5 if kind == "equal" else 0.75)


def test_promised_draws_of_coupled_resistive_cells() -> None:
    rng = np.random.default_rng(4)
    ground, edges, value = coupled(rng, 1e-3)
    i, j = edges.T
    ground = ground + 1e-3 + np.bincount(i, value, 4) + np.bincount(j, value, 4)
    cells = replace(
        codes(ground, Family.RESISTIVE), edges=frozen(edges, np.int64), coupling=frozen(value[None])
    )
    plan, _ = schedule.schedule_of(cells, device(Family.RESISTIVE), 100, 1, None, 0.0)
    g = np.diag(ground)
    g[i, j] = g[j, i] = -value
    worst, cell = exact_pace(-g / 1e-9, np.linalg.inv(g), plan.interval, slice(0, 4))
    assert plan.ess_per_draw == pytest.approx(worst, rel=1e-4) and plan.ess_per_draw <= cell


@pytest.mark.parametrize("target", ["spu8", "resistive-64"])
def test_scheduled_error_is_reached_along_trajectories(target: str) -> None:
    """20 runs of one device's trajectory with the draws for an error ε: the mean squared error is at most ε² but for chance. It
    is a mean of 20 sums of squares of at least three effective degrees each: twice ε² is passed once in 10⁶."""
    import spucc
    from spucc.driver import compile_energy, default_passes

    p, eps = 2 * np.eye(4) - 0.9 * (np.eye(4, k=1) + np.eye(4, k=-1)), 0.05
    text = default_passes(device_named(target)).replace("schedule", f"schedule{{rel-error={eps}}}")
    program = compile_energy(spucc.gaussian(0, precision=p), target, passes=text)
    wanted = program_law(program).covariance
    assert wanted is not None
    errors = []
    for seed in range(20):
        x = program.run(seed=seed, mode="trajectory")["x"].reshape(-1, 4)
        errors.append(np.sum((x.T @ x / len(x) - wanted) ** 2) / np.sum(wanted**2))
    assert eps**2 / 4 < np.mean(errors) < 2 * eps**2
