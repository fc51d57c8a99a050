"""The exact backend end to end: laws, bytes, seeds, ensembles, host loops, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from spucc.arrays import frozen
from spucc.backend import Mode, Normals, Request, Streams, block_length, members_of
from spucc.conformance import check_backend, check_draws
from spucc.device import Circuit, Device, Strays
from spucc.diagnostics import SpuccError
from spucc.readback import Affine, HostLoop, Majority
from spucc.stages import Configuration, Job, Schedule
from spucc.targets import BACKENDS, load_backend
from spucc.targets.exact import Exact
from spucc.targets.law import law

from . import circuits_by_hand as hand


def draws(job: Job, device: Device, request: Request) -> np.ndarray:
    return np.concatenate([c.values for c in Exact().run(job, device, request)], axis=1)


def wishart(n: int) -> np.ndarray:
    w = np.random.default_rng(n).standard_normal((n, 3 * n))
    return np.asarray(w @ w.T / (3 * n))


def board(n: int = 5, **more: object) -> tuple[Job, Device]:
    rng = np.random.default_rng(n)
    codes = rng.integers(60, 256, n), rng.integers(0, 80, n * (n - 1) // 2)
    return hand.board_job(*codes, **more)  # type: ignore[arg-type]


def test_codes_decode_to_the_law_of_the_circuit() -> None:
    job, device = board(4, strays=Strays(ground=10e-12, coupling=1e-12))
    assert isinstance(job.value, Configuration)
    codes = job.value.codes
    step = 1.02e-9 / 255
    c = np.zeros((4, 4))
    for (i, j), code in zip(codes.edges, codes.coupling[0]):
        c[i, j] = c[j, i] = -(code * step + 1e-12)
    np.fill_diagonal(c, codes.ground[0] * step + 10e-12 - c.sum(axis=1))
    # The member's read-back multiplies volts by 1000.
    expected = hand.THETA * np.linalg.inv(c) * 1e6
    assert np.allclose(law(job.value, device).cov(), expected, rtol=1e-10)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("n", [1, 5, 30])
def test_draws_are_of_the_law(mode: Mode, n: int) -> None:
    """Conformance of both modes; false-alarm rate 1e-6 each."""
    job, device = board(n)
    report = check_backend(Exact(), job, device, draws=5000, seed=11, mode=mode, interval=3e-6)
    assert report.passed, str(report)


@pytest.mark.parametrize("series", [0.0, 30.0])
def test_series_resistance_in_draws(series: float) -> None:
    job, device = board(5, circuit=Circuit(series_resistance=series))
    report = check_backend(Exact(), job, device, draws=5000, seed=3)
    assert report.passed, str(report)
    # A law that forgets the series resistance is 10 to 20 % off, which the suite must see.
    plain = law(job.value, replace(device, spec=board(5)[1].spec)).cov()  # type: ignore[arg-type]
    values = draws(job, device, Request(5000, 4, seed=3))
    assert check_draws(values, np.zeros(5), plain).passed is (series == 0.0)


@pytest.mark.parametrize(
    "break_it", ["sign", "scale", "swap", "correlated", "stale seed", "repeated", "shifted"]
)
def test_the_suite_catches_broken_samplers(break_it: str) -> None:
    job, device = board(5)
    values = draws(job, device, Request(5000, 4, seed=1))
    known = law(job.value, device)  # type: ignore[arg-type]
    assert check_draws(values, known.mean, known.cov()).passed
    if break_it == "sign":
        values[..., 0] *= -1
    elif break_it == "scale":
        values *= 1.04
    elif break_it == "swap":
        values = values[..., [1, 0, 2, 3, 4]]
    elif break_it == "correlated":
        values = 0.99 * values[:, 1:] + np.sqrt(1 - 0.99**2) * values[:, :-1]
    elif break_it == "stale seed":
        values[1:] = values[0]
    elif break_it == "repeated":
        values[:, 2500:] = values[:, :2500]
    else:
        values += 0.1 * np.sqrt(np.diagonal(known.cov()))
    assert not check_draws(values, known.mean, known.cov()).passed


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("n", "weights"), [(3, (1.0,)), (17, (0.3, 0.5, 0.2)), (130, (1.0,)), (210, (1.0,))])
def test_same_bytes_for_any_chunks_and_after_a_stop(
    n: int, weights: tuple[float, ...], mode: Mode, dtype: str
) -> None:
    job, device = hand.matrix_job(wishart(n), weights)
    request = Request(700, 3, seed=-7, mode=mode, dtype=dtype, interval=0.3)
    whole = draws(job, device, request)
    pieces = list(Exact().run(job, device, replace(request, memory=64 * 3 * 3 * n * 8)))
    assert len(pieces) > 3 and whole.dtype == np.dtype(dtype)
    assert np.array_equal(np.concatenate([p.values for p in pieces], axis=1), whole)
    stop = pieces[1]
    first = stop.first + stop.values.shape[1]
    rest = draws(job, device, replace(request, first=first, state=stop.state, draws=700 - first))
    assert np.array_equal(rest, whole[:, first:])


def test_large_sparse_jobs_have_the_same_bytes_too() -> None:
    job, device = hand.matrix_job(hand.lattice(40, 41))
    request = Request(40, 2, seed=2**70)
    whole = draws(job, device, request)
    assert np.array_equal(
        np.concatenate(
            [c.values for c in Exact().run(job, device, replace(request, memory=300_000))], axis=1
        ),
        whole,
    )


def test_any_integer_is_a_seed_of_its_own() -> None:
    job, device = hand.matrix_job(wishart(2))
    seeds = [0, 1, -1, 2, -2, 2**64, -(2**64), 2**200, 2**32, 2**33]
    first = {draws(job, device, Request(1, 1, seed=s)).tobytes() for s in seeds}
    assert len(first) == len(seeds)
    other = replace(job, name="y")
    assert draws(other, device, Request(1, 1)).tobytes() != draws(job, device, Request(1, 1)).tobytes()


def test_chains_are_independent() -> None:
    """Largest correlation of 20 chains of one variable, 5000 draws: below the normal quantile at 1e-6 for
    190 pairs."""
    job, device = hand.matrix_job(np.eye(1))
    x = draws(job, device, Request(5000, 20, seed=5))[:, :, 0]
    r = np.corrcoef(x)[np.triu_indices(20, 1)]
    assert np.abs(r).max() < 5.9 / np.sqrt(5000)


def test_streams_are_reached_anywhere() -> None:
    streams = Streams(4, "job")
    for width in (1, 7, 1000):
        whole = Normals(streams, 2, width).take(0, 3 * min(block_length(width), 500) + 5)
        part = Normals(streams, 2, width)
        for first, count in ((7, 11), (18, 20), (3, 0), (3, 40), (block_length(width) % 400, 3)):
            assert np.array_equal(part.take(first, count), whole[:, first : first + count])


def test_members_take_their_shares_at_every_prefix() -> None:
    weight = np.array([0.3, 0.0, 0.5, 0.2])
    who = members_of(weight, 0, 5000)
    counts = np.cumsum(who[:, None] == np.arange(4), axis=0)
    assert np.abs(counts - np.arange(1, 5001)[:, None] * weight).max() <= 2
    for first in range(0, 4000, 331):
        assert np.array_equal(members_of(weight, first, 777), who[first : first + 777])


def test_an_ensemble_has_the_mixed_moments() -> None:
    """Variance of a mixture of two scales; 6 standard errors, false alarms below 1e-8."""
    job, device = hand.matrix_job(np.eye(1), (0.25, 0.75), scales=(4.0, 1.0))
    assert isinstance(job.value, Configuration)
    known = law(job.value, device)
    assert not known.gaussian and np.isclose(known.cov()[0, 0], 0.25 * 4 + 0.75)
    x = draws(job, device, Request(20_000, 2, seed=1)).ravel()
    fourth = 3 * (0.25 * 16 + 0.75)
    assert abs((x * x).mean() - 1.75) < 6 * np.sqrt((fourth - 1.75**2) / x.size)


@pytest.mark.parametrize("mode", list(Mode))
def test_each_member_of_an_ensemble_has_its_law(mode: Mode) -> None:
    """False-alarm rate 1e-6; members in the wrong order are caught."""
    job, device = hand.matrix_job(wishart(3), (0.25, 0.75), scales=(1.2, 1.0))
    report = check_backend(Exact(), job, device, draws=6000, mode=mode, interval=0.5)
    assert report.passed and any("of member 1" in c.name for c in report.checks), str(report)

    class Swapped(Exact):
        def run(self, job, device, request, progress=None):  # type: ignore[no-untyped-def]
            other, _ = hand.matrix_job(wishart(3), (0.25, 0.75), scales=(1.0, 1.2))
            yield from Exact().run(other, device, request)

    assert not check_backend(Swapped(), job, device, draws=6000, mode=mode, interval=0.5).passed


def test_means_come_from_bias_currents() -> None:
    k, h = wishart(4), np.array([1.0, -2.0, 0.5, 3.0])
    job, device = hand.matrix_job(k, bias=h)
    assert isinstance(job.value, Configuration)
    assert np.allclose(law(job.value, device).mean, np.linalg.solve(k, h))
    for mode in Mode:
        report = check_backend(Exact(), job, device, draws=5000, mode=mode, interval=2.0)
        assert report.passed, str(report)


def host_job(members: tuple[float, ...] = (1.0,)) -> tuple[Job, Device, np.ndarray, np.ndarray]:
    p = np.array([[2.0, 0.7, 0.1], [0.7, 1.0, -0.2], [0.1, -0.2, 1.5]])
    m = p + np.diag([0.5, 1.0, 0.2])
    h = np.array([1.0, 2.0, -1.0])
    rho = float(np.abs(np.linalg.eigvals(np.linalg.solve(m, m - p))).max())
    loop = HostLoop(sparse.csr_array(p), frozen(h), 4, rho)
    scales = tuple(1.0 / (1.0 + 0.3 * k) for k in range(len(members)))
    back = (Affine.identity(3), loop, Affine.diagonal(np.array([2.0, 1.0, 0.5])))
    d = np.diag([2.0, 1.0, 0.5])
    job, device = hand.matrix_job(d @ m @ d, members, readback=back, scales=scales)
    return job, device, p, h


@pytest.mark.parametrize("members", [(1.0,), (0.6, 0.4)])
def test_a_host_loop_reaches_the_model(members: tuple[float, ...]) -> None:
    job, device, p, h = host_job(members)
    assert isinstance(job.value, Configuration)
    known = law(job.value, device)
    assert np.allclose(known.cov(), np.linalg.inv(p)) and np.allclose(known.mean, np.linalg.solve(p, h))
    report = check_backend(Exact(), job, device, draws=4000, seed=8)
    assert report.passed, str(report)


def test_a_host_loop_goes_on_with_the_same_bytes() -> None:
    job, device, _, _ = host_job((0.6, 0.4))
    whole = draws(job, device, Request(300, 2, seed=1))
    pieces = list(Exact().run(job, device, Request(300, 2, seed=1, memory=10_000)))
    assert np.array_equal(np.concatenate([p.values for p in pieces], axis=1), whole)
    first = pieces[0].values.shape[1]
    rest = draws(job, device, Request(300 - first, 2, seed=1, first=first, state=pieces[0].state))
    assert np.array_equal(rest, whole[:, first:])


def test_a_cold_start_settles_as_the_equation_says() -> None:
    """The first draw after a settling time t of an RC cell has variance σ²(1 − e^(−2t/τ)); 6 standard
    errors."""
    job, device = hand.matrix_job(np.array([[2.0]]))
    assert isinstance(job.value, Configuration)
    job = replace(job, value=replace(job.value, schedule=Schedule(settle=0.2, interval=5.0)))
    x = draws(job, device, Request(2, 4000, mode=Mode.TRAJECTORY))
    cold = 0.5 * (1 - np.exp(-2 * 2.0 * 5.2))
    early = 0.5 * (1 - np.exp(-2 * 2.0 * 0.2))
    assert early < 0.3 < cold
    assert abs(x[:, 1, 0].var() / 0.5 - 1) < 6 * np.sqrt(2 / 4000)
    path = Exact().run(job, device, Request(1, 4000, mode=Mode.TRAJECTORY, interval=0.0))
    first = next(iter(path)).values[:, 0, 0]
    assert abs(first.var() / early - 1) < 6 * np.sqrt(2 / 4000)


def test_intervals_from_nothing_to_hours() -> None:
    job, device = board(3)
    frozen_path = draws(job, device, Request(20, 2, mode=Mode.TRAJECTORY, interval=0.0))
    assert np.allclose(frozen_path, frozen_path[:, :1], rtol=1e-12)
    for interval in (1e-15, 1e3, 1e12):
        x = draws(job, device, Request(50, 2, mode=Mode.TRAJECTORY, interval=interval))
        assert np.isfinite(x).all() and x.std() > 0


def test_requests_that_make_no_sense() -> None:
    job, device = board(3)
    for bad in (
        {"draws": -1},
        {"draws": 1, "chains": -1},
        {"draws": 1, "dtype": "int8"},
        {"draws": 1, "first": -1},
    ):
        with pytest.raises(SpuccError, match="E0726"):
            Request(**bad)  # type: ignore[arg-type]
    with pytest.raises(SpuccError, match="E0726"):
        Request(1, interval=-1.0)
    with pytest.raises(SpuccError, match="E0723"):
        draws(job, device, Request(1, mode=Mode.TRAJECTORY))
    with pytest.raises(SpuccError, match="E0726"):
        draws(replace(job, value=job.target), device, Request(1))
    assert list(Exact().run(job, device, Request(0))) == []
    with pytest.raises(SpuccError, match="E0727"):
        load_backend("exakt")
    assert all(load_backend(name).name == name for name in BACKENDS)


def test_jobs_that_are_not_linear() -> None:
    job, device = board(3)
    assert isinstance(job.value, Configuration)
    quartic = replace(job.value.codes, quartic=frozen(np.ones((1, 3))))
    with pytest.raises(SpuccError, match="E0722"):
        draws(replace(job, value=replace(job.value, codes=quartic)), device, Request(1))
    job, device, _, _ = host_job()
    assert isinstance(job.value, Configuration)
    loop = next(b for b in job.value.readback if isinstance(b, HostLoop))
    diverging = tuple(replace(b, contraction=1.0) if b is loop else b for b in job.value.readback)
    too_high = tuple(
        replace(b, precision=sparse.csr_array(5.0 * loop.precision)) if b is loop else b
        for b in job.value.readback
    )
    for back in (diverging, too_high):
        with pytest.raises(SpuccError, match="E0725"):
            draws(replace(job, value=replace(job.value, readback=back)), device, Request(1))
    vote = Majority(frozen([0, 0, 1], np.int64), 2)
    with pytest.raises(SpuccError, match="E0722"):
        law(replace(job.value, readback=(vote,)), device)
