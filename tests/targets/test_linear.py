"""Exact steps of linear circuits against scipy's Lyapunov solver and matrix exponential."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from scipy import linalg, sparse

from spucc.device import Family
from spucc.diagnostics import SpuccError
from spucc.targets.circuits import Board
from spucc.targets.law import cells
from spucc.targets.linear import Linear, modes, repeated, stationary, system, transition, updated
from spucc.targets.stepper import General, Modal, stepper

from . import circuits_by_hand as hand

FAMILIES = [Family.CAPACITIVE, Family.RESISTIVE, Family.INDUCTIVE, Family.IDEAL]


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))


@pytest.mark.parametrize("family", FAMILIES)
def test_two_hundred_random_systems_of_each_family(family: Family) -> None:
    """Covariance, lag covariance and step covariance of 200 systems at five intervals each."""
    rng = np.random.default_rng(2024)
    for trial in range(200):
        n = int(rng.integers(1, 6))
        linear = system(hand.random_circuit(rng, family, n, equal=trial % 2 == 0))
        d = linear.noise @ linear.noise.T
        s = linalg.solve_continuous_lyapunov(linear.drift, d)
        assert relative(stationary(linear), s) < 1e-9
        slow = 1.0 / np.linalg.eigvals(linear.drift).real.min()
        for h in slow * np.array([1e-6, 0.01, 0.3, 3.0, 1e9]):
            f, q = transition(linear, h)
            f_oracle = linalg.expm(-linear.drift * h)
            assert np.abs(f - f_oracle).max() < 1e-8
            assert np.abs(q - (s - f_oracle @ s @ f_oracle.T)).max() < 1e-9 * np.abs(s).max()
            # The lag covariance of the chain is F S: the step leaves S as it is.
            assert np.abs(f @ s @ f.T + q - s).max() < 1e-9 * np.abs(s).max()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("h", [0.0, 1e-7, 3e-6, 1e3])
def test_modes_are_the_general_step(family: Family, h: float) -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        circuit = hand.random_circuit(rng, family, 5, equal=True)
        linear, m = system(circuit), modes(circuit)
        assert m is not None
        values, u = np.linalg.eigh(circuit.matrix.toarray())
        f, low = m.transfer(values, h)
        q = low @ low.swapaxes(1, 2)
        f_all, q_all = transition(linear, h)
        scale = linear.read_unit
        v = slice(linear.d - 5, None)
        assert np.abs((u * f[:, -1, -1]) @ u.T - f_all[v, v] * scale[:, None] / scale).max() < 1e-9
        expected = linear.read(q_all)
        assert (
            np.abs((u * q[:, -1, -1]) @ u.T - expected).max() <= 1e-9 * linear.read(stationary(linear)).max()
        )
        variance = (u * m.variance(values)) @ u.T
        assert relative(variance, linear.read(stationary(linear))) < 1e-9


def test_a_tiny_interval_keeps_its_noise() -> None:
    """h³ in the current's variance, which S − F S Fᵀ would lose: the leading terms in closed form."""
    circuit = hand.random_circuit(np.random.default_rng(0), Family.CAPACITIVE, 1, equal=True)
    c, ell, h = circuit.matrix[0, 0], circuit.inductance[0], 1e-14
    linear = system(circuit)
    q = transition(linear, h)[1] * linear.unit[:, None] * linear.unit
    kappa = circuit.noise[0]
    assert np.isclose(q[1, 1], 2 * kappa / c**2 * h, rtol=1e-6)
    assert np.isclose(q[0, 0], 2 * kappa / c**2 / ell**2 * h**3 / 3, rtol=1e-6)


def test_equal_cells_have_the_published_law() -> None:
    """physics §1: v ~ N(0, θC⁻¹), i ~ N(0, θL⁻¹), independent."""
    rng = np.random.default_rng(3)
    circuit = hand.random_circuit(rng, Family.CAPACITIVE, 4, equal=True)
    circuit = Board(**{**vars(circuit), "series_resistance": np.zeros(4)})
    linear = system(circuit)
    s = stationary(linear) * linear.unit[:, None] * linear.unit
    c = circuit.matrix.toarray()
    assert relative(s[4:, 4:], hand.THETA * np.linalg.inv(c)) < 1e-10
    assert relative(s[:4, :4], np.diag(hand.THETA / circuit.inductance)) < 1e-10
    assert np.abs(s[:4, 4:]).max() < 1e-10 * np.sqrt(s[0, 0] * s[4, 4])


def test_series_resistance_to_first_order() -> None:
    """physics §5: precision·θ = C + (r_s R/ℓ) C² + O(r_s²)."""
    rng = np.random.default_rng(3)
    circuit = hand.random_circuit(rng, Family.CAPACITIVE, 4, equal=True)
    r = 1e-4
    circuit = Board(**{**vars(circuit), "series_resistance": np.full(4, r)})
    c = circuit.matrix.toarray()
    law = np.linalg.inv(cells(circuit).cov()) * hand.THETA
    slope = (law - c) / r
    assert relative(slope, circuit.resistance[0] / circuit.inductance[0] * c @ c) < 1e-3


@pytest.mark.parametrize("equal", [True, False])
def test_coupled_coils(equal: bool) -> None:
    """i ~ N(0, θL⁻¹) whatever the resistors, as long as each loop's noise is at θ (mapping §4); and not when one is hotter."""
    rng = np.random.default_rng(3)
    w = rng.standard_normal((5, 9))
    ell, r = w @ w.T * 1e-5, np.full(5, 50.0) if equal else rng.random(5) * 100 + 10
    circuit = hand.random_circuit(rng, Family.INDUCTIVE, 5, equal)
    parts = {"matrix": sparse.csr_array(ell), "resistance": r, "series_resistance": np.full(5, 3.0)}
    circuit = replace(circuit, **parts, noise=hand.THETA * (r + 3.0))
    assert circuit.equilibrium and (modes(circuit) is not None) == equal
    linear = system(circuit)
    assert relative(linear.read(stationary(linear)), hand.THETA * np.linalg.inv(ell)) < 1e-9
    assert relative(cells(circuit).cov(), hand.THETA * np.linalg.inv(ell)) < 1e-9
    hotter = replace(circuit, noise=circuit.noise * [1.5, 1, 1, 1, 1])
    assert not hotter.equilibrium
    # Written from L di = −R i dt + √(2κ) dW alone, in SI units.
    a = np.linalg.solve(ell, np.diag(r + 3.0))
    drive = np.linalg.inv(ell) @ np.diag(2 * hotter.noise) @ np.linalg.inv(ell)
    assert relative(cells(hotter).cov(), linalg.solve_continuous_lyapunov(a, drive)) < 1e-9


def test_the_drift_of_coils_is_their_resistance_over_inductance() -> None:
    """One loop forgets in L/R."""
    circuit = hand.random_circuit(np.random.default_rng(5), Family.INDUCTIVE, 1, equal=True)
    rate = (circuit.resistance[0] + circuit.series_resistance[0]) / circuit.matrix[0, 0]
    assert relative(transition(system(circuit), 2.0 / rate)[0], np.exp([[-2.0]])) < 1e-12


@pytest.mark.parametrize("hold", ["held", "linear"])
def test_noise_at_intervals_lowers_the_variance_as_published(hold: str) -> None:
    """physics §5, for small h; the next order is (h/Rc)²."""
    circuit = hand.random_circuit(np.random.default_rng(1), Family.CAPACITIVE, 1, equal=True)
    circuit = Board(**{**vars(circuit), "series_resistance": np.zeros(1)})
    c, r, ell = circuit.matrix[0, 0], circuit.resistance[0], circuit.inductance[0]
    frequency = 1.0 / (2 * np.pi * np.sqrt(ell * c))
    linear = system(circuit)
    for h in (2e-9, 1e-8):
        f, q, before = updated(linear, h, hold)
        variance = linear.read(repeated(f, q, None)[1][before:, before:])[0, 0] / (circuit.scale / c)
        x, y = h / (r * c), (frequency * h) ** 2
        low = x / 3 + np.pi**2 / 3 * y if hold == "held" else 7 * x / 15 + 2 * np.pi**2 / 3 * y
        assert abs((1 - variance) - low) < 0.15 * low


def test_noise_at_short_intervals_is_white() -> None:
    circuit = hand.random_circuit(np.random.default_rng(1), Family.CAPACITIVE, 3, equal=False)
    linear = system(circuit)
    for hold in ("held", "linear"):
        f, q, before = updated(linear, 1e-10, hold)
        assert relative(repeated(f, q, None)[1][before:, before:], stationary(linear)) < 2e-3


def test_unstable_and_impassable_circuits_are_errors() -> None:
    rng = np.random.default_rng(1)
    good = hand.random_circuit(rng, Family.CAPACITIVE, 3, equal=True)
    cases = [
        ("resistance", np.array([1e3, -1e3, 1e3]), "E0720"),
        ("inductance", np.array([1e-4, 0.0, 1e-4]), "E0720"),
        ("series_resistance", np.array([-1.0, 0.0, 0.0]), "E0720"),
        ("matrix", sparse.csr_array(np.diag([1e-9, -1e-9, 1e-9])), "E0721"),
        ("scale", np.nan, "E0720"),
    ]
    for name, value, code in cases:
        with pytest.raises(SpuccError, match=code):
            stationary(system(Board(**{**vars(good), name: value})))
    swinging = Linear(np.array([[-0.1, 1.0], [-1.0, 0.0]]), np.eye(2), np.zeros(2), np.ones(2), 1)
    with pytest.raises(SpuccError, match="E0720"):
        stationary(swinging)
    for h in (-1.0, np.nan):
        with pytest.raises(SpuccError, match="E0723"):
            transition(system(good), h)
        with pytest.raises(SpuccError, match="E0723"):
            stepper(good, h, 0.0)
    with pytest.raises(SpuccError, match="E0723"):
        stepper(good, inf, 0.0)


@pytest.mark.parametrize("kind", ["one", "two", "any"])
@pytest.mark.parametrize("n", [1, 40])
def test_tiles_are_the_plain_recursion(kind: str, n: int) -> None:
    """One tile after the other, and two at once, from the map of single steps."""
    rng = np.random.default_rng(0)
    chains, states = 3, 2
    path: Modal | General
    if kind == "any":
        f, low = 0.5 * rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal((n, n))
        weights = rng.random(n)
        path = General(f, low, np.eye(n), weights, np.zeros(n), np.float64)
        states = 1
        whole, kick, show = f, low, np.diag(weights)
    else:
        states = 1 if kind == "one" else 2
        f = 0.6 * rng.standard_normal((n, states, states))
        low = np.tril(rng.standard_normal((n, states, states)))
        weights = rng.standard_normal((n, n))
        path = Modal(f, low, low, weights, np.zeros(n), np.float64)
        whole, kick = linalg.block_diag(*f), linalg.block_diag(*low)
        show = np.zeros((n * states, n))
        show[states - 1 :: states] = weights
    z = rng.standard_normal((chains, 2 * path.tile, n * states))
    state = rng.standard_normal((chains, n * states))
    # Which number belongs to which step: in modes' tiles by the mode, in the others' by the place in a block.
    if kind == "any":
        blocks, block = path._blocks, path._block
        steps = z.reshape(chains, 2, block, blocks, n).swapaxes(2, 3)
    else:
        steps = z.reshape(chains, 2, n, path.tile, states).swapaxes(2, 3)
    x, expected = state, []
    for xi in steps.reshape(chains, 2 * path.tile, -1).swapaxes(0, 1).copy():
        x = x @ whole.T + xi @ kick.T
        expected.append(x @ show)
    once, end = path.steps(state, z.copy())
    assert np.allclose(once.swapaxes(0, 1), expected, atol=1e-9)
    assert np.allclose(end, x, atol=1e-9)
    first, middle = path.steps(state, z[:, : path.tile].copy())
    second, last = path.steps(middle, z[:, path.tile :].copy())
    assert np.array_equal(np.concatenate([first, second], axis=1), once) and np.array_equal(last, end)
    assert np.array_equal(path.steps(state[1:2], z[1:2].copy())[0], once[1:2])


def circuit_map(path: Modal | General, chains: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the first draw of a tile comes from: the linear maps of state and of random numbers."""
    d = path.states
    zero = np.zeros((d, path.tile, d))
    by_state = path.steps(np.eye(d), zero)[0][:, 0]
    kick = zero.copy()
    if isinstance(path, General):
        kick[:, 0] = np.eye(d)
    else:
        # The numbers of a mode's first step stand at the start of its part of the tile.
        k = d // path.mean.size
        modes = kick.reshape(d, d // k, path.tile, k)
        modes[:, :, 0] = np.eye(d).reshape(d, d // k, k)
    by_noise = path.steps(np.zeros((d, d)), kick)[0][:, 0]
    return by_state, by_noise


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("n", [3, 60])
def test_steppers_have_the_analytic_covariances(family: Family, equal: bool, n: int) -> None:
    """Variance of the first draw and covariance with the second from the stepper's own maps, no
    statistics."""
    rng = np.random.default_rng(n)
    circuit = hand.random_circuit(rng, family, n, equal)
    linear = system(circuit)
    h = 0.4 / np.abs(np.linalg.eigvals(linear.drift)).max()
    path = stepper(circuit, h, 0.0)
    assert isinstance(path, Modal | General)
    mean = linear.mean_read()
    begin = path.start(np.eye(path.width))
    by_state, by_noise = circuit_map(path, 1)
    by_state, by_noise = by_state - mean, by_noise - mean
    s = linalg.solve_continuous_lyapunov(linear.drift, linear.noise @ linear.noise.T)
    carried = begin @ by_state
    variance = carried.T @ carried + by_noise.T @ by_noise
    assert relative(variance, linear.read(s)) < 1e-8
    state_two = path.steps(begin, np.zeros((path.width, path.tile, path.states)))[0]
    lag = (state_two[:, 0] - mean).T @ (state_two[:, 1] - mean)
    f = linalg.expm(-linear.drift * h)
    assert relative(lag, linear.read(f @ s @ f.T @ f.T)) < 1e-7


def test_large_sparse_paths_never_densify_and_agree_with_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    from spucc.targets import stepper as module

    for family, unit in ((Family.CAPACITIVE, 1e-9), (Family.RESISTIVE, 1e-3), (Family.INDUCTIVE, 1e-4)):
        k = hand.lattice(7, 8, 0.5)
        base = hand.random_circuit(np.random.default_rng(0), family, 56, equal=True)
        circuit = Board(**{**vars(base), "matrix": sparse.csr_array(k * unit)})
        linear = system(circuit)
        f, q = transition(linear, 1e-6)
        with monkeypatch.context() as patch:
            patch.setattr(module, "MODAL_CELLS", 10)
            path = stepper(circuit, 1e-6, 0.0)
        assert path.tile == 1
        d = path.states
        start = path.start(np.eye(d))
        zero, eye = np.zeros((d, 1, d)), np.eye(d)[:, None]
        cells_of_start = path.steps(start, zero)[0][:, 0] - linear.mean_read()
        cells_of_noise = path.steps(np.zeros((d, d)), eye)[0][:, 0] - linear.mean_read()
        s = linalg.solve_continuous_lyapunov(linear.drift, linear.noise @ linear.noise.T)
        assert relative(cells_of_noise.T @ cells_of_noise, linear.read(q)) < 1e-8
        assert relative(cells_of_start.T @ cells_of_start, linear.read(f @ s @ f.T)) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("family", [Family.CAPACITIVE, Family.RESISTIVE])
def test_a_path_of_ten_thousand_cells(family: Family) -> None:
    """A periodic lattice, whose modes are plane waves: variances and lag covariances of every mode by Fourier
    transform, against the closed forms, 6 standard errors of 1000 modes at a time."""
    m, chains = 100, 8
    ring = np.eye(m, k=1) + np.eye(m, k=1 - m)
    ring = sparse.csr_array(2 * np.eye(m) - ring - ring.T)
    eye = sparse.eye_array(m)
    unit = 1e-9 if family is Family.CAPACITIVE else 1e-3
    matrix = unit * (sparse.kron(ring, eye) + sparse.kron(eye, ring) + 0.5 * sparse.eye_array(m * m))
    one = np.ones(m * m)
    theta = 1e-12
    kappa = theta / 1e3 if family is Family.CAPACITIVE else theta * 1e-9
    circuit = Board(
        family,
        sparse.csr_array(matrix),
        0 * one,
        1e3 * one,
        1e-4 * one,
        0 * one,
        kappa * one,
        1e-9,
        1.0,
        theta,
    )
    h = 1e-6
    path = stepper(circuit, h, 0.0)
    assert path.tile == 1 and path.states >= m * m
    rng = np.random.default_rng(1)
    state = path.start(rng.standard_normal((chains, path.width)))
    cells, _ = path.steps(state, rng.standard_normal((chains, 3, path.width)))
    wave = 2 - 2 * np.cos(2 * np.pi * np.arange(m) / m)
    c = unit * (wave[:, None] + wave + 0.5)
    f = np.fft.fft2(cells.reshape(chains, 3, m, m)) / m
    if family is Family.CAPACITIVE:
        g = 1 / (2e3 * c)
        omega = np.sqrt((1 / (1e-4 * c) - g * g).astype(complex))
        rho = (np.exp(-g * h) * (np.cos(omega * h) - g / omega * np.sin(omega * h))).real
    else:
        rho = np.exp(-c / 1e-9 * h)
    order = np.argsort(c.ravel())
    for lag, expected in ((0, np.ones_like(c)), (1, rho)):
        product = (f[:, lag:] * f[:, : 3 - lag].conj()).real.mean(axis=(0, 1)) * c / theta
        off = (product - expected).ravel()[order].reshape(10, -1)
        # A real field has every mode twice; each average is of 8 chains, draws of one counted once.
        assert np.abs(off.mean(axis=1)).max() < 6 * np.sqrt(2.0 / (off.shape[1] * chains))
