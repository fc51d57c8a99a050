"""The board model: the figures of physics §5, calibration, converters, faults, bytes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy import linalg, sparse

from spucc.backend import Mode, Request, Streams
from spucc.conformance import check_backend, check_draws
from spucc.device import Adc, Bank, Circuit, Device, Family, Faults, Noise, Strays
from spucc.diagnostics import SpuccError
from spucc.readback import Affine
from spucc.stages import Configuration, Job
from spucc.targets.board_model import (
    BoardModel,
    Power,
    board_error,
    calibrated_device,
    digitised,
    draw_board,
    true_circuit,
)
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


def resistive_job(g: np.ndarray, bias: np.ndarray, **more: object) -> tuple[Job, Device]:
    """Cells of 1 nF that conductances g [n, n] join (any sign) and currents bias [n] drive: mean g⁻¹ bias, precision g/θ."""
    job, ideal = hand.matrix_job(g, bias=bias, scales=(hand.THETA,))
    assert isinstance(job.value, Configuration)
    codes = replace(job.value.codes, family=Family.RESISTIVE)
    spec = msgspec.structs.replace(ideal.spec, family=Family.RESISTIVE, **more)
    return replace(job, value=replace(job.value, codes=codes)), replace(ideal, spec=spec)


@pytest.mark.parametrize("mode", list(Mode))
def test_drift_moves_the_fluctuations_and_not_the_mean_that_currents_hold(mode: Mode) -> None:
    """One power for all cells and chains: x − G⁻¹I = √power(t) · (what it is without drift)."""
    g = np.array([[2.0, -0.5, 0.3], [-0.5, 1.5, 0.2], [0.3, 0.2, 1.0]]) * 1e-3
    bias = np.array([5.0, -5.0, 3.0]) * 1e-3
    request = Request(4000, 3, seed=1, mode=mode, interval=1.0)
    drifting, device = resistive_job(g, bias, noise=Noise(drift=0.3))
    x = draws(BoardModel(), drifting, device, request)
    steady = draws(BoardModel(), *resistive_job(g, bias), request)
    mean = np.linalg.solve(g, bias)
    gain = (x - mean) / (steady - mean)
    assert np.allclose(gain, gain[:1, :, :1])
    power = gain[0, :, 0] ** 2
    assert power.std() > 0.05 and np.abs(np.diff(power)).max() < 2.0
    # Five of their own errors: false alarms of 1e-5 altogether.
    sd = np.sqrt(np.diagonal(hand.THETA * np.linalg.inv(g)))
    assert (np.abs(x.mean(axis=(0, 1)) - mean) < 5 * sd * np.sqrt(power.mean() / 12_000)).all()
    about = BoardModel().about([(drifting, device)], 1)
    assert about["drift"] == 0.3 and about["power_at_start"] == pytest.approx(power[0])
    variance = ((x - mean) ** 2).mean(axis=(0, 1)) / (sd**2 * power.mean())
    assert np.abs(variance - 1).max() < 5 * np.sqrt(2 * (power**2).mean() / power.mean() ** 2 / 12_000)


def test_drift_is_as_large_as_the_file_says() -> None:
    """Standard deviation of the power over 4000 boards within 5 of its own errors (6 %), its mean within 5 of its own."""
    powers = np.array([Power(0.1, Streams(k, "x")).at(np.array([0.0, 77.0])) for k in range(4000)])
    assert np.abs(powers.mean(axis=0) - 1).max() < 5 * 0.1 / np.sqrt(4000)
    assert np.abs(powers.std(axis=0) / 0.1 - 1).max() < 5 / np.sqrt(8000)


def test_drift_is_that_of_the_time_that_the_converter_lets_pass() -> None:
    job, device = real_job(noise=Noise(drift=0.3), adc=Adc(rate=2.0))
    slow, fast = (
        draws(BoardModel(), job, device, Request(500, 2, mode=Mode.TRAJECTORY, interval=h))
        for h in (0.5, 0.01)
    )
    assert np.array_equal(slow, fast)


def test_the_converters_rate_bounds_how_quickly_a_cell_is_read() -> None:
    """Lag-one correlation e^{−G/(C0·rate)} of a single cell, of draws that were asked for at once; 5 of its errors."""
    g, rate = np.array([[1e-3]]), 2e6
    job, device = resistive_job(g, np.zeros(1), adc=Adc(rate=rate))
    for asked, wanted in ((1e-9, 1 / rate), (2e-6, 2e-6)):
        x = draws(BoardModel(), job, device, Request(40_000, 2, mode=Mode.TRAJECTORY, interval=asked))[
            :, :, 0
        ]
        r = float((x[:, 1:] * x[:, :-1]).mean() / (x * x).mean())
        known = np.exp(-1e-3 / 1e-9 * wanted)
        assert abs(r - known) < 5 * np.sqrt((1 - known**2) / 80_000)


@pytest.mark.parametrize("used", [8, 5])
def test_strays_to_ground_and_across_couplers(used: int) -> None:
    """Closed form: C + ground to the diagonal, and the Maxwell matrix of a capacitor across every coupler of the board, whose
    unused cells are shorted. False-alarm rate 1e-6."""
    ground, across = 50e-12, 5e-12
    bare, device = real_job()
    _, real = real_job(strays=Strays(ground=ground, coupling=across))
    assert isinstance(bare.value, Configuration)
    codes = bare.value.codes
    inside = (codes.edges < used).all(axis=1)
    codes = replace(
        codes,
        cell=codes.cell[:used],
        chain=codes.chain[:used],
        edges=codes.edges[inside],
        ground=codes.ground[:, :used],
        coupling=codes.coupling[:, inside],
        bias=codes.bias[:, :used],
        readback=(Affine.diagonal(np.full(used, 1e3)),),
        coordinate=codes.coordinate[:used],
        role=codes.role[:used],
    )
    job = replace(bare, value=replace(bare.value, codes=codes, readback=(Affine.identity(used),)))
    c = board(codes, 0, device).matrix.toarray()
    c += ground * np.eye(used) + across * (8 * np.eye(used) - np.ones((used, used)))
    expected = hand.THETA * np.linalg.inv(c)
    assert np.allclose(cells(true_circuit(codes, 0, real, draw_board(real))[0]).cov(), expected, rtol=1e-9)
    x = draws(BoardModel(), job, real, Request(5000, 2, seed=1)) / 1e3
    assert check_draws(x, np.zeros(used), expected).passed
    off = hand.THETA * np.linalg.inv(board(codes, 0, device).matrix.toarray())
    assert not check_draws(x, np.zeros(used), off).passed


def test_faults_that_the_file_does_not_know() -> None:
    job, device = real_job()
    assert isinstance(job.value, Configuration)
    dead = BoardModel(faults=Faults(dead_cells=(2,), dead_couplers=((1, 0),)))
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


def stuck_law(faults: Faults, job: Job, device: Device) -> np.ndarray:
    """Draws' covariance is checked on the way: false-alarm rate 1e-6."""
    assert isinstance(job.value, Configuration)
    file = replace(device, spec=msgspec.structs.replace(device.spec, faults=faults))
    circuit, _ = true_circuit(job.value.codes, 0, file, draw_board(file))
    cov = cells(circuit).cov()
    x = draws(BoardModel(), job, file, Request(5000, 2, seed=1)) / 1e3
    assert check_draws(x, np.zeros(cov.shape[0]), cov).passed
    assert np.allclose(known_cov(job, file), known_cov(job, device), rtol=0)
    return cov


def test_parts_that_are_stuck_at_a_code() -> None:
    """By hand: 4 pF a step; a stuck coupler moves both diagonals and the entry between them, a stuck bank one diagonal."""
    step = 1.02e-9 / 255
    job, device = real_job()
    assert isinstance(job.value, Configuration)
    codes = job.value.codes
    c = board(codes, 0, device).matrix.toarray()
    before = int(codes.coupling[0, 1]), int(codes.ground[0, 3])  # coupler (0, 2), the bank of cell 3
    by_hand = c.copy()
    more = (200 - before[0]) * step
    by_hand[[0, 2], [0, 2]] += more
    by_hand[[0, 2], [2, 0]] -= more
    by_hand[3, 3] += (17 - before[1]) * step
    found = stuck_law(Faults(stuck_cells=((3, 17),), stuck_couplers=((2, 0, 200),)), job, device)
    assert np.allclose(found, hand.THETA * np.linalg.inv(by_hand), rtol=1e-10)
    # A coupler that the program leaves open, and one to a cell that it does not use, which is shorted.
    inside = [k for k, (i, j) in enumerate(codes.edges.tolist()) if max(i, j) < 7 and (i, j) != (0, 1)]
    fewer = replace(
        codes,
        cell=codes.cell[:7],
        chain=codes.chain[:7],
        edges=codes.edges[inside],
        ground=codes.ground[:, :7],
        coupling=codes.coupling[:, inside],
        bias=codes.bias[:, :7],
        readback=(Affine.diagonal(np.full(7, 1e3)),),
        coordinate=codes.coordinate[:7],
        role=codes.role[:7],
    )
    small = replace(job, value=replace(job.value, codes=fewer, readback=(Affine.identity(7),)))
    by_hand = board(fewer, 0, device).matrix.toarray()
    by_hand[[0, 1], [0, 1]] += 90 * step
    by_hand[[0, 1], [1, 0]] -= 90 * step
    by_hand[4, 4] += 33 * step
    found = stuck_law(Faults(stuck_couplers=((0, 1, 90), (7, 4, 33))), small, device)
    assert np.allclose(found, hand.THETA * np.linalg.inv(by_hand), rtol=1e-10)


def test_what_a_run_says_of_its_board() -> None:
    """Closed forms: converter noise and a rounding of step²/12 on every diagonal; a dead cell is off by all of its sd."""
    adc = Adc(bits=6, full_scale=0.16, noise=5e-3)
    job, device = real_job(adc=adc)
    cov = known_cov(job, device)
    seen = cov + (25e-6 + 0.005**2 / 12) * np.eye(8)
    error = board_error(job, device, BoardModel().circuits(job, device, 3))
    assert error is not None
    ratio = np.sqrt(np.diagonal(seen) / np.diagonal(cov)) - 1

    def correlation(m: np.ndarray) -> np.ndarray:
        return np.asarray(m / np.sqrt(np.outer(np.diagonal(m), np.diagonal(m))))

    worst = np.abs(correlation(seen) - correlation(cov)).max()
    assert np.allclose([error.sd, error.mean, error.correlation], [ratio.max(), 0.0, worst], rtol=1e-9)
    clean, device = real_job()
    dead = BoardModel(faults=Faults(dead_cells=(2,)))
    assert dead.about([(clean, device)], 0)["sd_error"] == pytest.approx(1.0)
    perfect = BoardModel().about([(clean, device)], 0)
    assert max(perfect.values()) < 1e-9 and "drift" in perfect
    g, bias = np.diag([1e-3, 2e-3]), np.array([1e-3, 0.0])
    # A conductance is stuck at twice its value: its mean is half, two hundredths of a volt where the sd is 32 µV.
    biased, of = resistive_job(g, bias)
    stuck = BoardModel(faults=Faults(stuck_cells=((0, 2e-3),))).about([(biased, of)], 0)
    assert stuck["mean_error_in_sd"] == pytest.approx(0.5 / np.sqrt(hand.THETA / 1e-3))
    assert stuck["sd_error"] == pytest.approx(1 - np.sqrt(0.5))


def test_the_seed_draws_the_board_unless_one_is_chosen() -> None:
    job, device = real_job(bank=Bank(unit="F", max=1.02e-9, bits=8, tolerance=0.02))
    request = Request(50, 1, seed=7)
    seventh = draws(BoardModel(), job, device, request)
    assert np.array_equal(seventh, draws(BoardModel().on_board(7, 1), job, device, request))
    assert BoardModel().on_board(None, 4).number == 4 and BoardModel(number=3).on_board(None, 4).number == 3
    third = draws(BoardModel(number=3), job, device, request)
    assert not np.array_equal(seventh, third)
    # The same parts, other noise.
    assert BoardModel(number=3).about([(job, device)], 1) == BoardModel(number=3).about([(job, device)], 2)
    assert BoardModel().about([(job, device)], 1) != BoardModel().about([(job, device)], 2)


def test_a_board_is_the_same_whatever_the_targets_braces_change() -> None:
    from spucc.devices import load_device

    plain, changed = (draw_board(load_device(t), 5) for t in ("spu8", "spu8{noise.drift=0.3}"))
    assert np.array_equal(plain.parts.resistance, changed.parts.resistance)  # type: ignore[arg-type]
    assert not np.array_equal(plain.parts.resistance, draw_board(load_device("spu8"), 6).parts.resistance)  # type: ignore[arg-type]


def test_a_perfect_board_is_the_exact_backend() -> None:
    job, device = real_job()
    from spucc.targets.exact import Exact

    for mode in Mode:
        request = Request(300, 2, seed=4, mode=mode, interval=1e-6)
        exact = np.concatenate([c.values for c in Exact().run(job, device, request)], axis=1)
        assert np.array_equal(draws(BoardModel(), job, device, request), exact)


def test_a_path_is_that_of_the_boards_own_parts() -> None:
    """Mean of 4000 paths against e^{At} of (i, v) with the board's resistors and coils, written from physics §1 alone, at 5 of
    its errors; the nominal parts' is far away. A perfect board's paths are the exact ones."""
    from spucc.targets.paths import follow

    job, device = real_job(
        circuit=Circuit(resistance_tolerance=0.3, inductance_tolerance=0.1), adc=Adc(noise=1e-3)
    )
    start = np.linspace(-300.0, 400.0, 8)
    options = {"duration": 2e-6, "times": 4, "paths": 4000, "seed": 2}
    found = BoardModel(number=1).follow(job, device, start, **options).values  # type: ignore[arg-type]
    assert isinstance(job.value, Configuration)
    c = board(job.value.codes, 0, device).matrix.toarray()

    def mean(r: np.ndarray, ell: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(c)
        a = np.block([[np.zeros((8, 8)), np.diag(1 / ell)], [-inverse, -inverse @ np.diag(1 / r)]])
        return np.array(
            [
                (linalg.expm(a * t) @ np.concatenate([np.zeros(8), start]))[8:]
                for t in (0.5e-6, 1e-6, 1.5e-6, 2e-6)
            ]
        )

    parts = draw_board(device, 1).parts
    assert parts.resistance is not None and parts.inductance is not None
    error = found.std(axis=0) / np.sqrt(4000)
    assert (np.abs(found.mean(axis=0) - mean(parts.resistance, parts.inductance)) < 5 * error).all()
    assert (np.abs(found.mean(axis=0) - mean(np.full(8, 1e3), np.full(8, 1e-4))) > 20 * error).any()
    plain, perfect = real_job()
    same = BoardModel().follow(plain, perfect, start, **options).values  # type: ignore[arg-type]
    assert np.array_equal(same, follow(plain, perfect, start, **options).values)  # type: ignore[arg-type]
    dead = BoardModel(faults=Faults(dead_cells=(2,))).follow(plain, perfect, start, **options).values  # type: ignore[arg-type]
    assert (dead[..., 2] == 0).all() and (dead[..., 3] != 0).all()


def test_paths_that_a_board_or_a_backend_cannot_follow() -> None:
    import spucc

    text = "var x: real[2] ~ multi_normal([1, 2], [[1, 0.6], [0.6, 1]])\nquery p = trajectory(x, 2e-5)"
    program = spucc.compile(text, target="spu8")
    with pytest.raises(SpuccError, match=r"E0738.*`spice`"):
        program.run(samples=40, backend="spice")
    with pytest.raises(SpuccError, match=r"E0738.*samples a second"):
        program.run(samples=4000, backend="board-model")
    own = program.run(samples=400, backend="board-model", seed=1)["p"]
    assert own.shape == (4, 100, 2) and not np.array_equal(own, program.run(samples=400, seed=1)["p"])
    slow = spucc.compile(text, target="spu8{noise.update_interval=1e-7}")
    with pytest.raises(SpuccError, match=r"E0738.*intervals"):
        slow.run(samples=400, backend="board-model")


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
