"""The board model: the figures of physics §5, calibration, converters, faults, bytes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy import sparse

from spucc.backend import Mode, Request
from spucc.conformance import check_backend, check_draws
from spucc.device import Adc, Bank, Circuit, Dead, Device, Noise
from spucc.diagnostics import SpuccError
from spucc.stages import Configuration, Job
from spucc.targets.board_model import BoardModel, calibrated_device, digitised, draw_board, true_circuit
from spucc.targets.circuits import board
from spucc.targets.law import cells, law

from . import circuits_by_hand as hand


def real_job(**more: object) -> tuple[Job, Device]:
    """Eight cells about as well conditioned as a compiled program's."""
    rng = np.random.default_rng(8)
    codes = rng.integers(150, 256, 8), rng.integers(0, 40, 28)
    return hand.board_job(*codes, **more)  # type: ignore[arg-type]


def draws(backend: BoardModel, job: Job, device: Device, request: Request) -> np.ndarray:
    return np.concatenate([c.values for c in backend.run(job, device, request)], axis=1)


def true_cov(job: Job, device: Device, number: int) -> np.ndarray:
    assert isinstance(job.value, Configuration)
    circuit, _ = true_circuit(job.value.codes, 0, device, draw_board(device, number))
    return cells(circuit).cov()


def known_cov(job: Job, device: Device) -> np.ndarray:
    assert isinstance(job.value, Configuration)
    return cells(board(job.value.codes, 0, device)).cov()


@pytest.mark.parametrize(("spread", "published"), [(0.01, 0.004), (0.05, 0.020), (0.10, 0.038)])
def test_spread_of_resistors_costs_what_was_published(spread: float, published: float) -> None:
    """physics §5: ±spread, uniform, so a standard deviation of spread/√3; median of 60 boards within 40 %:
    the figure belongs to circuits of its own."""
    job, device = real_job(circuit=Circuit(resistance_tolerance=spread / np.sqrt(3.0)))
    expected = known_cov(job, device)
    errors = [
        np.linalg.norm(true_cov(job, device, k) - expected) / np.linalg.norm(expected) for k in range(60)
    ]
    assert 0.6 * published < np.median(errors) < 1.4 * published


def test_a_calibrated_program_has_the_law_of_its_board() -> None:
    """Level tables, strays and resistors that were measured leave only the noise sources' spread, here
    none."""
    bank = Bank(unit="F", max=1.02e-9, bits=8, tolerance=0.02)
    job, device = real_job(bank=bank, circuit=Circuit(resistance_tolerance=0.05, inductance_tolerance=0.02))
    truth = draw_board(device, 3)
    measured = calibrated_device(device, truth)
    assert isinstance(job.value, Configuration)
    circuit, _ = true_circuit(job.value.codes, 0, measured, truth)
    assert np.allclose(cells(circuit).cov(), known_cov(job, measured), rtol=1e-10)
    assert np.abs(true_cov(job, device, 3) / known_cov(job, device) - 1).max() > 0.01
    report = check_backend(BoardModel(truth=truth), job, measured, draws=4000, seed=2)
    assert report.passed, str(report)
    assert not check_backend(BoardModel(truth=truth), job, device, draws=20_000, seed=2).passed
    rough = calibrated_device(device, truth, error=1e-3, seed=1).calibration
    assert rough.resistance is not None and truth.parts.resistance is not None
    off = rough.resistance / truth.parts.resistance - 1
    assert 1e-4 < np.abs(off).max() < 6e-3


def test_levels_err_by_their_binary_weights() -> None:
    bank = Bank(unit="F", max=1.02e-9, bits=8, tolerance=0.02)
    _, device = real_job(bank=bank)
    table = draw_board(device).parts.coupling_levels
    assert table is not None and table.shape == (28, 256)
    assert (table[:, 0] == 0).all()
    assert np.allclose(table[:, 5], table[:, 1] + table[:, 4])
    assert np.allclose(table[:, 255], table[:, 240] + table[:, 15])
    spread = (table[:, 128] / bank.table()[128] - 1).std()
    assert 0.01 < spread < 0.04
    by_level = Bank(unit="F", levels=(0.0, 1e-10, 5e-10), max=5e-10, tolerance=0.01)
    spec = msgspec.structs.replace(device.spec, coupling=by_level)
    levels = draw_board(replace(device, spec=spec)).parts.coupling_levels
    assert levels is not None and levels.shape == (28, 3) and (levels[:, 0] == 0).all()


@pytest.mark.parametrize("hold", ["held", "linear"])
@pytest.mark.parametrize("mode", list(Mode))
def test_noise_at_intervals_lowers_variances(hold: str, mode: Mode) -> None:
    """Draws are of the analytic law of updated noise, and not of the white one; false-alarm rate 1e-6."""
    tau = 1e-7
    job, device = real_job(noise=Noise(update_interval=tau, hold=hold))
    values = draws(BoardModel(), job, device, Request(6000, 4, seed=5, mode=mode, interval=5e-6)) / 1e3
    white = known_cov(job, device)
    c = np.linalg.eigvalsh(np.linalg.inv(white) * hand.THETA)
    low = tau / (3e3 * c) + np.pi**2 / 3 * tau**2 / (4 * np.pi**2 * 1e-4 * c)
    if hold == "linear":
        low = 7 * tau / (15e3 * c) + 2 * np.pi**2 / 3 * tau**2 / (4 * np.pi**2 * 1e-4 * c)
    w, u = np.linalg.eigh(np.linalg.inv(white) * hand.THETA)
    reduced = (u * (hand.THETA / w * (1 - low))) @ u.T
    independent = mode is Mode.INDEPENDENT
    assert check_draws(values, np.zeros(8), reduced, error=0.01, independent=independent).passed
    assert not check_draws(values, np.zeros(8), white, independent=independent).passed


def test_the_converter_steps_clips_and_adds_noise() -> None:
    adc = Adc(bits=4, full_scale=0.08)
    x = np.array([-1.0, -0.08, -0.004, 0.0, 0.0051, 0.07, 1.0])
    assert np.allclose(digitised(x, adc), [-0.08, -0.08, 0.0, 0.0, 0.01, 0.07, 0.07])
    assert np.allclose(digitised(x, Adc(full_scale=0.08)), np.clip(x, -0.08, 0.08))
    assert digitised(x, Adc()) is x
    job, device = real_job(adc=Adc(bits=14, full_scale=0.5, noise=5e-3))
    report = check_draws(
        draws(BoardModel(), job, device, Request(5000, 4, seed=5)) / 1e3,
        np.zeros(8),
        known_cov(job, device) + 25e-6 * np.eye(8),
    )
    assert report.passed, str(report)


def test_the_converter_sets_the_shortest_interval() -> None:
    job, device = real_job(adc=Adc(rate=1e6))
    slow = draws(BoardModel(), job, device, Request(500, 2, mode=Mode.TRAJECTORY, interval=1e-6))
    fast = draws(BoardModel(), job, device, Request(500, 2, mode=Mode.TRAJECTORY, interval=1e-9))
    assert np.array_equal(slow, fast)


def test_temperatures_differ_by_cell() -> None:
    job, device = real_job(noise=Noise(temperature_tolerance=0.1))
    ratio = np.diagonal(true_cov(job, device, 1)) / np.diagonal(known_cov(job, device))
    factor = draw_board(device, 1).temperature
    assert np.corrcoef(ratio, factor)[0, 1] > 0.9 and np.ptp(ratio) > 0.05


def test_drift_moves_the_noise_power_slowly() -> None:
    job, device = real_job(noise=Noise(drift=0.2))
    x = draws(BoardModel(), job, device, Request(4000, 2, seed=1, mode=Mode.TRAJECTORY, interval=1.0))
    steady = draws(
        BoardModel(), job, real_job()[1], Request(4000, 2, seed=1, mode=Mode.TRAJECTORY, interval=1.0)
    )
    gain = x / steady
    assert np.allclose(gain, gain[:, :, :1])
    power = gain[:, :, 0] ** 2
    assert 0.05 < (power - 1).std() < 0.4 and np.abs(np.diff(power, axis=1)).max() < 2.0


def test_faults_that_the_file_does_not_know() -> None:
    job, device = real_job()
    assert isinstance(job.value, Configuration)
    dead = BoardModel(faults=Dead(cells=(2,), couplers=((0, 1),)))
    x = draws(dead, job, device, Request(5000, 2, seed=1)) / 1e3
    assert (x[..., 2] == 0).all()
    c = board(job.value.codes, 0, device).matrix.toarray()
    # The dead cell's couplers lead to ground: its row goes, the diagonals stay; the open coupler leaves
    # nothing.
    c[0, 0] += c[0, 1]
    c[1, 1] += c[0, 1]
    c[0, 1] = c[1, 0] = 0.0
    keep = [0, 1, 3, 4, 5, 6, 7]
    expected = hand.THETA * np.linalg.inv(c[np.ix_(keep, keep)])
    report = check_draws(x[..., keep], np.zeros(7), expected)
    assert report.passed, str(report)


def test_a_perfect_board_is_the_exact_backend() -> None:
    job, device = real_job()
    from spucc.targets.exact import Exact

    for mode in Mode:
        request = Request(300, 2, seed=4, mode=mode, interval=1e-6)
        exact = np.concatenate([c.values for c in Exact().run(job, device, request)], axis=1)
        assert np.array_equal(draws(BoardModel(), job, device, request), exact)


def test_boards_differ_and_stay_the_same() -> None:
    job, device = real_job(
        bank=Bank(unit="F", max=1.02e-9, bits=8, tolerance=0.01), noise=Noise(drift=0.1), adc=Adc(noise=1e-3)
    )
    request = Request(400, 2, seed=4, mode=Mode.TRAJECTORY, interval=1e-6)
    one = draws(BoardModel(number=1), job, device, request)
    assert np.array_equal(one, draws(BoardModel(number=1), job, device, request))
    assert not np.array_equal(one, draws(BoardModel(number=2), job, device, request))
    pieces = list(BoardModel(number=1).run(job, device, replace(request, memory=50_000)))
    assert len(pieces) > 2 and np.array_equal(np.concatenate([p.values for p in pieces], axis=1), one)
    first = pieces[0].values.shape[1]
    rest = replace(request, first=first, state=pieces[0].state, draws=400 - first)
    assert np.array_equal(draws(BoardModel(number=1), job, device, rest), one[:, first:])


def test_boards_that_do_not_fit() -> None:
    job, device = real_job(noise=Noise(update_interval=1e-7, hold="spline"))
    with pytest.raises(SpuccError, match="E0720"):
        draws(BoardModel(), job, device, Request(1))
    bank = Bank(unit="F", max=1.0, bits=32, tolerance=0.1)
    spec = msgspec.structs.replace(device.spec, coupling=bank)
    with pytest.raises(SpuccError, match="E0724"):
        draw_board(replace(device, spec=spec))
    assert isinstance(job.value, Configuration)
    assert law(job.value, device).gaussian
    assert sparse.issparse(law(job.value, device).precision) or law(job.value, device).covariance is not None
