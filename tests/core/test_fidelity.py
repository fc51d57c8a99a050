"""The ledger's figures against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from spucc.fidelity.ledger import gaussian_divergence


@pytest.mark.parametrize("seed", range(5))
def test_divergences_are_the_textbook_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    a, b = rng.normal(size=(n, 2 * n)), rng.normal(size=(n, 2 * n))
    s, r = a @ a.T, b @ b.T
    m, k = rng.normal(size=n), rng.normal(size=n)

    def kl(m0: np.ndarray, s0: np.ndarray, m1: np.ndarray, s1: np.ndarray) -> float:
        p = np.linalg.inv(s1)
        log = np.linalg.slogdet(s1)[1] - np.linalg.slogdet(s0)[1]
        return 0.5 * float(np.trace(p @ s0) - n + log + (m1 - m0) @ p @ (m1 - m0))

    found = gaussian_divergence(m, s, k, r)
    assert found.kl_forward == pytest.approx(kl(m, s, k, r) / n, rel=1e-9)
    assert found.kl_reverse == pytest.approx(kl(k, r, m, s) / n, rel=1e-9)
    assert found.sd_error == pytest.approx(np.max(np.abs(np.sqrt(np.diag(r) / np.diag(s)) - 1)), rel=1e-12)
    assert found.mean_error == pytest.approx(np.max(np.abs(k - m) / np.sqrt(np.diag(s))), rel=1e-12)


def test_tiny_divergences_are_not_lost() -> None:
    """A relative change ε of one variance of n costs ε²/4 to first order, also where 1 + ε² is 1."""
    s = np.diag([1.0, 4.0, 9.0])
    r = s.copy()
    r[1, 1] *= 1 + 1e-7
    found = gaussian_divergence(np.zeros(3), s, np.zeros(3), r)
    assert found.kl_forward == pytest.approx(1e-14 / 4 / 3, rel=1e-2)
    assert found.kl_reverse == pytest.approx(1e-14 / 4 / 3, rel=1e-2)


def test_the_same_law_costs_nothing_and_a_singular_one_everything() -> None:
    s = np.array([[2.0, 0.5], [0.5, 1.0]])
    assert gaussian_divergence(np.ones(2), s, np.ones(2), s).kl_forward < 1e-30
    assert gaussian_divergence(np.zeros(2), s, np.zeros(2), np.ones((2, 2))).kl_forward == np.inf
