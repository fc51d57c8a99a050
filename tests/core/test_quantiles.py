"""Quantiles of draws that do not fit memory, against `numpy.quantile`, which has them all: the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spucc.arrays import FloatArray
from spucc.running import quantiles as module
from spucc.running.quantiles import quantiles, selection, stretches

LEVELS = np.array([0.0, 0.003, 0.05, 0.5, 0.77, 0.95, 1.0])

rng = np.random.default_rng(5)
KINDS = {
    "normal": lambda shape: rng.normal(size=shape),
    "spins": lambda shape: rng.choice([-1.0, 1.0], size=shape),
    "constant": lambda shape: np.full(shape, 2.5),
    "cauchy": lambda shape: rng.standard_cauchy(size=shape),
    "atom": lambda shape: np.where(rng.random(shape) < 0.3, 0.0, rng.normal(size=shape)),
    "trend": lambda shape: np.cumsum(rng.normal(size=shape), axis=1),
    "huge": lambda shape: rng.normal(size=shape) * 1e300 * rng.choice([1e-300, 1.0], size=shape),
    # What an even selection of rows sees says nothing of the others.
    "hidden": lambda shape: (
        rng.normal(size=shape) + 1e6 * (np.arange(shape[1]) % 8 != 0)[None, :, None] * rng.random(shape)
    ),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches, selections and what may be left in doubt so small that thousands of draws are many."""
    monkeypatch.setattr(module, "_STRETCH", 1 << 12)
    monkeypatch.setattr(module, "_SAMPLE", 1 << 8)
    monkeypatch.setattr(module, "_LEFT", 1 << 8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(4, 5000, 5), (3, 3333, 1), (1, 2000, 3), (2, 100, 700), (1, 3, 2)])
def test_the_bits_of_numpy(small: None, kind: str, shape: tuple[int, int, int]) -> None:
    x = KINDS[kind](shape)
    want = np.quantile(x.reshape(-1, shape[2]), LEVELS, axis=0)
    assert np.array_equal(quantiles(x, LEVELS), want)


def test_no_more_is_in_memory_than_a_stretch(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most that is sorted or held at once, of 100,000 numbers."""
    x = rng.normal(size=(2, 25_000, 2))
    made: list[int] = []
    empty = np.empty

    def watched(shape: object, *rest: object) -> FloatArray:
        found = empty(shape, *rest)  # type: ignore[call-overload]
        made.append(found.size)
        return found

    monkeypatch.setattr(module.np, "empty", watched)
    sizes = [part.size for part in stretches(x)]
    quantiles(x, LEVELS)
    assert max(sizes) <= 1 << 12 and sum(sizes) == x.size and max(made) <= 1 << 12


def test_mapped_draws_and_the_way_through_them(small: None, tmp_path: Path) -> None:
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=(2, 4000, 3))
    x[:] = rng.normal(size=x.shape)
    shares: list[float] = []
    got = quantiles(x, LEVELS, shares.append)
    assert np.array_equal(got, np.quantile(np.array(x).reshape(-1, 3), LEVELS, axis=0))
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 4


def test_a_selection_is_even() -> None:
    x = np.arange(2 * 1000.0).reshape(2, 1000, 1)
    rows = selection(x, 100)
    assert np.array_equal(rows[:, 0], np.arange(0, 2000, 20)) and selection(x, 5000).shape == (2000, 1)


def test_nothing_to_take_quantiles_of() -> None:
    assert np.isnan(quantiles(np.empty((2, 0, 3)), LEVELS)).all()
    assert quantiles(np.empty((2, 5, 0)), LEVELS).shape == (7, 0)
