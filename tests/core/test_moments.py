"""Moments and effective sample sizes of draws that are not kept, against NumPy and ArviZ, which have them all."""

from __future__ import annotations

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy.signal import lfilter

from spucc.arrays import FloatArray
from spucc.running import moments as module
from spucc.running.moments import Moments, effective_sample_size


def series(phi: float, chains: int, draws: int, seed: int = 0) -> FloatArray:
    """Autoregressive chains in equilibrium, about 5."""
    z = np.random.default_rng(seed).normal(size=(chains, draws + 1000, 3))
    return np.asarray(lfilter([1.0], [1.0, -phi], z, axis=1)[:, 1000:] + 5.0)


def arviz_ess(x: FloatArray) -> FloatArray:
    return np.array(
        [
            float(array_stats.ess(x[:, :, k], chain_axis=0, draw_axis=1, method="mean"))
            for k in range(x.shape[2])
        ]
    )


def passed(x: FloatArray, step: int, whole: bool = False) -> Moments:
    found = Moments(*x.shape, whole=whole, dependent=True)
    for start in range(0, x.shape[1], step):
        found.add(x[:, start : start + step])
    return found


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.99, -0.4])
@pytest.mark.parametrize("chains", [1, 4])
def test_effective_sample_size_is_that_of_arviz_where_each_draw_has_a_place(phi: float, chains: int) -> None:
    """ArviZ leaves the last pair of a sequence that never gets negative out: within 1 %."""
    x = series(phi, chains, 1000)
    assert passed(x, 333).ess() == pytest.approx(arviz_ess(x), rel=0.01)
    assert effective_sample_size(x) == pytest.approx(arviz_ess(x), rel=0.01)


@pytest.mark.parametrize("phi", [0.0, 0.9, 0.99])
def test_batches_say_what_all_draws_say(phi: float) -> None:
    """200,000 draws in 8,192 batches: the ESS is within 10 % of ArviZ's, and of the closed form (1 − φ)/(1 + φ) a draw within
    a quarter. Fixed seeds."""
    x = series(phi, 4, 50_000, seed=3)
    found = passed(x, 777).ess()
    assert found == pytest.approx(arviz_ess(x), rel=0.1)
    assert found == pytest.approx(200_000 * (1 - phi) / (1 + phi), rel=0.25)


def test_batches_take_the_memory_of_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCHES", 64)
    monkeypatch.setattr(module, "_LEAST", 16)
    held = [passed(series(0.3, 4, n), 100).sums().size for n in (100, 1000, 10_000)]
    assert held[0] == held[1] == held[2] == 3 * 3 + 4 * 16 * 3


def test_of_many_entries_some_stand_for_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 2 * 500 * 4)
    slow, quick = series(0.9, 2, 500), series(0.0, 2, 500)
    x = np.concatenate([slow, slow, quick, quick], axis=2)
    found = passed(x, 100).ess()
    assert np.unique(found).size == 3 and found[:3].max() < 0.3 * found[9:].min()


@pytest.mark.parametrize("draws", [20, 101, 4096, 33_333])
def test_split_rhat(draws: int) -> None:
    """BDA3's formula on halves of the chains; of batches, halves that end with one."""
    x = series(0.7, 3, draws)
    x[1] += 0.5
    half = draws // 2
    parts = np.concatenate([x[:, :half], x[:, half : 2 * half]])
    within, between = parts.var(axis=1, ddof=1).mean(axis=0), parts.mean(axis=1).var(axis=0, ddof=1)
    want = np.sqrt((half - 1) / half + between / within)
    rel = 1e-12 if draws <= 8192 // 3 else 2e-3
    assert passed(x, 50).rhat() == pytest.approx(want, rel=rel)


@pytest.mark.parametrize("step", [7, 500, 4000])
def test_moments(step: int) -> None:
    x = series(0.5, 2, 4000)
    flat = x.reshape(-1, 3)
    found = passed(x, step, whole=True)
    np.testing.assert_allclose(found.mean(), flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.cov(), np.cov(flat.T), rtol=1e-10)
    np.testing.assert_allclose(passed(x, step).var(), flat.var(axis=0, ddof=1), rtol=1e-10)


def test_sums_carry_everything() -> None:
    x = series(0.5, 2, 20_000)
    whole = passed(x, 1000)
    first = passed(x[:, :7000], 1000)
    second = Moments(2, 20_000, 3, whole=False, dependent=True)
    # The places are made for all draws that are to come.
    first = Moments(2, 20_000, 3, whole=False, dependent=True)
    for start in range(0, 7000, 1000):
        first.add(x[:, start : start + 1000])
    second.restore(first.sums(), 7000)
    for start in range(7000, 20_000, 1000):
        second.add(x[:, start : start + 1000])
    assert np.array_equal(second.sums(), whole.sums()) and np.array_equal(second.ess(), whole.ess())


def test_chains_that_stand_still() -> None:
    still = np.broadcast_to(np.arange(3.0)[:, None, None], (3, 400, 1)) + np.zeros((3, 400, 1))
    found = passed(still, 100)
    rhat = found.rhat()
    assert rhat is not None and np.isinf(rhat).all() and found.ess() < 4
    same = passed(np.full((3, 400, 1), 2.0), 100)
    assert same.rhat() == pytest.approx(1.0) and same.ess() == pytest.approx(1200)


def test_too_few_to_tell() -> None:
    none = Moments(2, 5, 3, whole=True, dependent=True)
    assert np.isnan(none.mean()).all() and np.isnan(none.cov()).all() and none.rhat() is None
    none.add(np.ones((2, 1, 3)))
    assert (none.mean() == 1.0).all() and none.rhat() is None and (none.ess() == 2).all()
    one = Moments(1, 1, 3, whole=False, dependent=False)
    one.add(np.ones((1, 1, 3)))
    assert np.isnan(one.var()).all()
