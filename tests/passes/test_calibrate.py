"""Lossy boards: the law against simulation by matrix exponentials, the compensation against the law, the yield against theory."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy import linalg, sparse

from spucc import board_law, tolerance
from spucc.arrays import frozen
from spucc.board_law import Parts
from spucc.circuit import network
from spucc.device import (
    Adc,
    Bank,
    Calibration,
    Circuit,
    Device,
    DeviceSpec,
    Family,
    Noise,
    Strays,
    TopologySpec,
)
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes import calibrate
from spucc.passes.fit import Fit
from spucc.pipeline import Context
from spucc.readback import Affine
from spucc.stages import Configuration, Job, Placed, Quantized, Schedule, edge_list, plain_roles
from spucc.topology import build

K = np.array([[2.0, -0.7, -0.3, 0], [-0.7, 1.5, 0, -0.4], [-0.3, 0, 1.0, -0.2], [0, -0.4, -0.2, 1.2]])


def device(series: float = 0.0, spread: float = 0.0, family: Family = Family.CAPACITIVE) -> Device:
    spec = DeviceSpec(
        name="board",
        family=family,
        topology=TopologySpec(kind="complete", nodes=4),
        ground=Bank(unit="F", max=1e-9, tolerance=spread),
        coupling=Bank(unit="F", max=1e-9, signed=family is Family.RESISTIVE),
        circuit=Circuit(series_resistance=series, theta_min=1e-18, theta_max=1e-6),
        strays=Strays(ground=5e-12 if family is Family.CAPACITIVE else 0.0),
        noise=Noise(),
        adc=Adc(full_scale=4.0),
    )
    return Device(spec, build(spec.topology))


def energy() -> Energy:
    return Energy(layout([("x", (4,), Domain.REAL, None)]), np.zeros(4), Quadratic(sparse.csr_array(K)))


def fitted(board: Device):
    edges, values = edge_list(sparse.csr_array(K))
    ground = np.diag(K).copy()
    if board.family.springs:
        ground -= np.bincount(edges[:, 0], np.abs(values), 4) + np.bincount(edges[:, 1], np.abs(values), 4)
    cells = frozen(np.arange(4), np.int64)
    placed = Placed(
        board.family, Domain.REAL, cells, cells, edges, frozen(ground), frozen(-values), frozen(np.zeros(4)), 1.0, cells,
        plain_roles(4),
    )  # fmt: skip
    job = Job("x", energy(), cells, placed)
    outcome = Fit().apply(job, board, Context())
    return job, outcome


def simulated(c: np.ndarray, parts: Parts) -> np.ndarray:
    """Stationary covariance as ∫ e^(As) N e^(Aᵀs) ds by doubling, from Van Loan's block exponential: no Lyapunov solver."""
    n = len(c)
    ci = np.linalg.inv(c)
    a = np.block(
        [
            [-np.diag(parts.series / parts.inductance), np.diag(1 / parts.inductance)],
            [-ci, -ci @ np.diag(1 / parts.resistance)],
        ]
    )
    q = np.zeros((2 * n, 2 * n))
    q[n:, n:] = ci @ np.diag(2 * parts.noise) @ ci
    h = 1e-9
    block = linalg.expm(np.block([[-a, q], [np.zeros_like(a), a.T]]) * h)
    f = block[2 * n :, 2 * n :].T
    s = f @ block[: 2 * n, 2 * n :]
    for _ in range(40):
        s, f = s + f @ s @ f.T, f @ f
    return s[n:, n:]


def test_law_of_lossy_unequal_boards_against_the_integral() -> None:
    rng = np.random.default_rng(0)
    c = K * 4e-10
    parts = Parts(
        rng.uniform(800, 1200, 4),
        rng.uniform(8e-5, 1.2e-4, 4),
        rng.uniform(0, 9, 4),
        rng.uniform(1e-15, 2e-15, 4),
    )
    np.testing.assert_allclose(board_law.voltage_covariance(c, parts), simulated(c, parts), rtol=1e-5)


def test_first_order_and_closed_form() -> None:
    """Small losses: precision·θ = C + (r_s R/ℓ)C², and the closed form undoes exactly that."""
    c, theta, series = K * 4e-10, 1e-12, 1e-3
    parts = Parts(np.full(4, 1e3), np.full(4, 1e-4), np.full(4, series), np.full(4, theta / 1e3))
    a = series * 1e3 / 1e-4
    law = theta * np.linalg.inv(board_law.voltage_covariance(c, parts))
    np.testing.assert_allclose(law - c, a * c @ c, rtol=2e-3, atol=1e-6 * a * np.abs(c @ c).max())
    big = 5 * a * 1e3
    c_set = calibrate.closed_form(c, big)
    np.testing.assert_allclose(c_set + big * c_set @ c_set, c, rtol=1e-12, atol=1e-24)


@pytest.mark.parametrize("series", [1.0, 5.0])
def test_compensation_undoes_series_resistance(series: float) -> None:
    board = device(series)
    board = replace(board, calibration=Calibration(resistance=frozen([900.0, 1100, 1000, 1050])))
    job, first = fitted(board)
    outcome = calibrate.Calibrate().apply(replace(job, value=first.value), board, Context())
    assert isinstance(outcome.readback, Affine) and isinstance(first.readback, Affine)
    back = first.readback.after(outcome.readback)

    def error(value: Placed, through: Affine) -> float:
        matrix = network(board, value.cell, value.edges, value.ground, value.coupling)
        _, cov = through.moments(
            np.zeros(4), simulated(matrix.toarray(), board_law.parts_of(board, value.cell, value.scale))
        )
        sigma = np.linalg.inv(K)
        return float(np.abs(cov - sigma).max() / np.abs(sigma).max())

    before, after = error(first.value, first.readback), error(outcome.value, back)
    assert before > 4e-3 * series and after < before / 20


def test_nothing_to_calibrate_is_left_alone() -> None:
    board = device()
    job, first = fitted(board)
    outcome = calibrate.Calibrate().apply(replace(job, value=first.value), board, Context())
    assert outcome.value is first.value and outcome.readback is None


def program(board: Device) -> Job:
    job, first = fitted(board)
    value = first.value
    codes = Quantized(
        value.family, value.domain, value.cell, value.chain, value.edges,
        frozen(value.ground[None]), frozen(value.coupling[None]), frozen(value.bias[None]),
        frozen([value.scale]), frozen([1.0]), (Affine.identity(4),), value.coordinate, value.role,
    )  # fmt: skip
    return replace(job, value=Configuration(codes, Schedule(), (first.readback,)))


@pytest.mark.parametrize("family", [Family.CAPACITIVE, Family.RESISTIVE])
def test_perfect_boards_all_serve(family: Family) -> None:
    board = device(family=family)
    found = tolerance.tolerance_analysis(program(board), board, 3, np.random.default_rng(0))
    assert found.sd_error.max() < 1e-9 and found.kl.max() < 1e-12 and found.share(1e-6) == 1.0


def test_spread_of_ground_capacitors_is_that_of_the_gradient() -> None:
    """To first order Var(x_i) moves by −Σ_p δ_p g_p (Σ_v)_ip² scaled; the standard deviation over 4000 boards within 6 %."""
    board = device(spread=0.01)
    job = program(board)
    rng = np.random.default_rng(1)
    configuration = job.value
    assert isinstance(configuration, Configuration)
    laws = [
        tolerance.drawn_law(configuration.codes, board, configuration.readback, rng)[1][0, 0]
        for _ in range(4000)
    ]
    codes = configuration.codes
    c = network(board, codes.cell, codes.edges, codes.ground[0], codes.coupling[0]).toarray()
    s = np.linalg.inv(c)
    relative = 0.01 * codes.ground[0] * s[0] ** 2 / s[0, 0]
    assert np.std(laws) / np.mean(laws) == pytest.approx(np.sqrt(np.sum(relative**2)), rel=0.06)
    found = tolerance.tolerance_analysis(job, board, 50, rng)
    assert 0 < found.quantiles()[1] < 0.02 and found.share(0.5) == 1.0
    assert tolerance.exact_parts(board).spec.ground.tolerance == 0.0
    assert msgspec.structs.asdict(board.spec.ground)["tolerance"] == 0.01
