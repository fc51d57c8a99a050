"""Standard normal numbers against their distribution, whatever they are asked for by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spucc.normals import source


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_numbers_for_any_pieces(dtype: str) -> None:
    whole, parts = np.empty(30_001, dtype=dtype), np.empty(30_001, dtype=dtype)
    source(np.random.SFC64(3), dtype).fill(whole)
    numbers, at = source(np.random.SFC64(3), dtype), 0
    for size in (0, 1, 1, 1, 2, 7, 4096, 5001, 0, 8193, 3, 12_696):
        numbers.fill(parts[at : at + size])
        at += size
    assert at == whole.size and np.array_equal(whole, parts)


def test_single_precision_is_normal() -> None:
    """A million numbers: KS, the first eight moments, pairs and neighbours, and the tail; false alarms below
    1e-6 each."""
    n = 2**20
    z = np.empty(n, dtype=np.float32)
    source(np.random.SFC64(1), "float32").fill(z)
    x = z.astype(np.float64)
    assert np.isfinite(x).all() and stats.kstest(x, "norm").pvalue > 1e-6
    for k in range(1, 9):
        mean, second = stats.norm.moment(k), stats.norm.moment(2 * k)
        assert abs((x**k).mean() - mean) < 5 * np.sqrt((second - mean**2) / n)
    for lag in (1, 2, 3, 4096):
        for power in (1, 2):
            r = np.corrcoef(x[:-lag] ** power, x[lag:] ** power)[0, 1]
            assert abs(r) < 5 / np.sqrt(n)
    # The angle of the pairs, and numbers beyond four standard deviations.
    cosine, sine = x.reshape(-1, 2, 4096).swapaxes(0, 1)
    angle = np.arctan2(sine, cosine).ravel()
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-6
    expected = n * 2 * stats.norm.sf(4.0)
    assert abs((np.abs(x) > 4.0).sum() - expected) < 5 * np.sqrt(expected) + 1
