"""The stated error of a whole covariance against Wishart matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spucc.running.estimates import frobenius_bound


@pytest.mark.parametrize("n", [1, 3, 8])
def test_a_share_of_runs_is_within_what_is_stated(n: int) -> None:
    """Of 4000 Wishart matrices 99 % ± 0.6 % (4 standard errors, and what a χ² leaves out) are within the bound."""
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, n + 1))
    cov, draws = a @ a.T, 2000
    s = stats.wishart(draws, cov / draws).rvs(4000, random_state=1).reshape(-1, n, n)
    off = np.linalg.norm(s - cov, axis=(1, 2)) / np.linalg.norm(cov)
    within = (off < frobenius_bound(cov, np.full(n, float(draws)))).mean()
    assert abs(within - 0.99) < 0.01
    assert abs((off < frobenius_bound(cov, np.full(n, float(draws)), 0.5)).mean() - 0.5) < 0.06


def test_coordinates_of_unequal_worth() -> None:
    """Independent coordinates: each variance has the error of its own draws."""
    ess, cov = np.array([100.0, 10_000.0]), np.eye(2)
    rng = np.random.default_rng(0)
    first, second = (rng.chisquare(m, 20_000) / m - 1 for m in ess)
    between = rng.standard_normal(20_000) / np.sqrt(np.sqrt(ess.prod()))
    off = np.sqrt((first**2 + second**2 + 2 * between**2) / 2)
    assert abs((off < frobenius_bound(cov, ess)).mean() - 0.99) < 0.01
