"""Lossy boards: the law against simulation by matrix exponentials, the compensation against the law, the yield against theory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, sparse

import spucc
from spucc.arrays import frozen
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
from spucc.devices import calibrated, load_device
from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy, default_passes
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.fidelity import board_law, tolerance
from spucc.fidelity.board_law import Parts
from spucc.passes import calibrate
from spucc.passes.fit import Fit
from spucc.passes.fitting import lossy
from spucc.passes.quantizing import codebook, lossy_book
from spucc.pipeline import Context
from spucc.readback import Affine
from spucc.running.law import program_law
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


@pytest.mark.parametrize("series", [1e-3, 5.0, 40.0])
def test_equal_cells_have_a_closed_form(series: float) -> None:
    """Exact at any loss, against the integral; for small ones precision·θ = C + (r_s R/ℓ)C² (physics §5)."""
    c, theta = K * 4e-10, 1e-12
    parts = Parts(np.full(4, 1e3), np.full(4, 1e-4), np.full(4, series), np.full(4, theta / 1e3))
    law = board_law.lossy_precision(c, parts)
    np.testing.assert_allclose(
        law, theta * np.linalg.inv(simulated(c, parts)), rtol=1e-5, atol=1e-6 * law.max()
    )
    a = series * 1e3 / 1e-4
    if series < 0.1:
        np.testing.assert_allclose(law - c, a * c @ c, rtol=2e-3, atol=1e-6 * a * np.abs(c @ c).max())


def unequal(rng: np.random.Generator, n: int, series: float) -> Parts:
    resistance = rng.uniform(900, 1100, n)
    return Parts(
        resistance, rng.uniform(9e-5, 1.1e-4, n), series * rng.uniform(0.8, 1.2, n), 1e-12 / resistance
    )


def test_law_near_a_point_has_its_value_slope_and_gradient() -> None:
    """At the point exact, by Lyapunov's equation; slope and gradient by central differences of the model itself; the step
    undoes a change to first order in the losses."""
    rng = np.random.default_rng(0)
    c, parts = K * 4e-10, unequal(rng, 4, 5.0)
    near = lossy.lossy_near(c, parts)
    exact = 1e-12 * np.linalg.inv(board_law.voltage_covariance(c, parts))
    np.testing.assert_allclose(near.law(c), exact, rtol=1e-9, atol=1e-12 * exact.max())
    change = rng.normal(size=(4, 4)) * 1e-13
    change = change + change.T
    slope = (near.law(c + change) - near.law(c - change)) / 2
    x, y = near.slope(c)
    np.testing.assert_allclose(
        change + change @ x + x.T @ change - y.T @ change @ y, slope, rtol=1e-6, atol=1e-19
    )
    pull = rng.normal(size=(4, 4))
    pull = pull + pull.T
    assert np.sum(near.back(c, pull) * change) == pytest.approx(np.sum(pull * slope), rel=1e-6)
    np.testing.assert_allclose(near.step(slope), change, rtol=0.1, atol=0.02 * np.abs(change).max())


def test_lossy_codebook_finds_the_values_of_a_law() -> None:
    rng = np.random.default_rng(1)
    c, parts = K * 4e-10, unequal(rng, 4, 10.0)
    edges, _ = edge_list(sparse.csr_array(K))
    m = 4 + edges.shape[0]
    levels = codebook.uniform(np.zeros(m), np.full(m, 1e-12), np.zeros(m), np.full(m, 999.0))
    plain = codebook.springs(edges, levels, 4)
    book = lossy_book.LossyBook(**lossy_book.vars_of(plain), lossy=lossy.lossy_near(c, parts))
    v = rng.uniform(1e-10, 4e-10, (3, m))
    law = book.dense(v)
    off = law[:, edges[:, 0], edges[:, 1]]
    np.testing.assert_allclose(book.solve(np.diagonal(law, axis1=1, axis2=2), off), v, rtol=1e-6)
    np.testing.assert_allclose(book.at_law(law[0]), plain.dense(v[0]), rtol=1e-6, atol=1e-17)


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


def realised_error(target: str, p: np.ndarray, **changes: object) -> tuple[float, float, float]:
    """Worst relative error of a standard deviation and KL per variable of the law of a program's codes, as the backends' own
    code has it, and of the ledger against it."""
    board = load_device(target)
    if changes:
        board = replace(board, calibration=Calibration(**changes))  # type: ignore[arg-type]
    program = compile_energy(spucc.gaussian(0.0, precision=p), board)
    cov, sigma = program_law(program).covariance, np.linalg.inv(p)
    assert cov is not None
    sd = float(np.abs(np.sqrt(np.diag(cov) / np.diag(sigma)) - 1).max())
    excess = linalg.eigvalsh(sigma, cov) - 1
    return sd, 0.5 * float(np.sum(excess - np.log1p(excess))) / len(p), abs(program.ledger[-1].sd_error - sd)


def test_losses_cost_the_codes_of_a_board_nothing() -> None:
    """Medians over three models on eight cells at 12 bits: within 0.1 %, and within 1.5 times the error without losses (2.5
    times where each cell has its own parts, of which the search knows the effect to first order)."""
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        w = np.triu(rng.random((8, 8)), 1)
        w = w + w.T
        p = np.diag(w.sum(axis=1) + 2.4 * rng.random(8)) - w
        own = {
            "resistance": frozen(rng.uniform(980, 1020, 8)),
            "inductance": frozen(rng.uniform(98e-6, 102e-6, 8)),
        }
        lossy_board = "spu8{bits=12,circuit.series_resistance=5}"
        runs = [
            realised_error("spu8{bits=12}", p),
            realised_error(lossy_board, p),
            realised_error(lossy_board, p, **own),
        ]
        assert max(r[2] for r in runs) < 1e-9
        found.append([r[0] for r in runs])
    free, equal, apart = np.median(found, axis=0)
    assert max(equal, apart) < 1e-3
    assert equal < 1.5 * free and apart < 2.5 * free


@pytest.mark.parametrize("target", ["king-8x8", "grid-16x16"])
def test_losses_on_sparse_boards(target: str) -> None:
    """Losses tie pairs without a coupler; the scale of the capacitors is lowered until that costs no more than rounding."""
    line = 2 * np.eye(4) - np.eye(4, k=1) - np.eye(4, k=-1)
    p = np.kron(line, np.eye(4)) + np.kron(np.eye(4), line) + 0.1 * np.eye(16)
    sd, kl, ledger = realised_error(target + "{circuit.series_resistance=5}", p)
    assert sd < 0.01 and kl < 5e-5 and ledger < 1e-9


def test_large_boards_say_that_losses_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "LARGEST", 3)
    job, first = fitted(device(5.0))
    outcome = calibrate.Calibrate().apply(replace(job, value=first.value), device(5.0), Context())
    assert outcome.value is first.value and "up to 3 cells" in outcome.notes[0]


def test_the_exact_method_refuses_a_bent_law() -> None:
    passes = default_passes(load_device("spu8")).replace("quantize", "quantize{method=exact}")
    with pytest.raises(SpuccError) as caught:
        compile_energy(spucc.gaussian(0.0, precision=K), "spu8{circuit.series_resistance=5}", passes=passes)
    assert caught.value.diagnostics[0].code == "E0572"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.npz", {"resistance": np.ones(7)}),
        ("x.npz", {"resistance": np.r_[np.nan, np.ones(7)]}),
        ("x.npz", {"resistance": np.zeros(8)}),
        ("x.npz", {"inductance": np.zeros(8)}),
        ("x.npz", {"series_resistance": -np.ones(8)}),
        ("x.npz", {"resistance": np.full(8, 1e3 + 0j)}),
        ("x.npz", {"resistence": np.ones(8)}),
        ("x.npz", {"ground_levels": np.ones((8, 10))}),
        ("x.npz", b""),
        ("x.npz", b"PK\x03\x04 and no archive"),
        ("x.json", b'{"resistance": [1000.'),
        ("x.json", b'{"resistance": {"cell9": 1}}'),
        ("x.json", b'{"resistance": [1e400, 1, 1, 1, 1, 1, 1, 1]}'),
        ("x.json", b"[" * 100_000),
        ("x.json", b"\xff\xfe"),
    ],
)
def test_calibrations_that_cannot_be_used(
    tmp_path: Path, name: str, content: dict[str, np.ndarray] | bytes
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)  # type: ignore[arg-type]
    with pytest.raises(SpuccError) as caught:
        calibrated(load_device("spu8"), path)
    assert caught.value.diagnostics[0].code == "E0506" and caught.value.diagnostics[0].help


def test_couplers_measured_to_be_nothing() -> None:
    """Level tables of zeros: independent cells are served, coupled ones refused or left to the host, with no raw warning."""
    board = replace(load_device("spu8"), calibration=Calibration(coupling_levels=frozen(np.zeros((28, 256)))))
    assert compile_energy(spucc.gaussian(0.0, precision=np.eye(3)), board).ledger[-1].sd_error < 1e-3
    passes = default_passes(board).replace("realise", "realise{ways=scale}")
    with pytest.raises(SpuccError) as caught:
        compile_energy(spucc.gaussian(0.0, precision=K), board, passes=passes)
    assert caught.value.diagnostics[0].code == "E0530"


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
