"""The oracle against textbook formulas: even it is checked."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse, stats

import spucc
from spucc import oracle
from spucc.energy import Energy


def test_gaussian_law() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(5, 10))
    cov, mean = a @ a.T, rng.normal(size=5)
    law = oracle.gaussian(spucc.gaussian(mean, cov))
    np.testing.assert_allclose(law.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(law.covariance(), cov, rtol=1e-9)
    assert law.logdet == pytest.approx(-np.linalg.slogdet(cov)[1], rel=1e-12)
    # E is zero at the mean, so log Z is minus the log density there.
    assert law.log_z == pytest.approx(-stats.multivariate_normal(mean, cov).logpdf(mean), rel=1e-10)


def test_sparse_and_dense_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 60
    p = sparse.csr_array(
        sparse.diags_array([[-1.0] * (n - 1), [2.2] * n, [-1.0] * (n - 1)], offsets=[-1, 0, 1])
    )
    energy = spucc.gaussian(np.arange(n) * 0.1, precision=p)
    dense = oracle.gaussian(energy)
    variance = dense.variance()
    monkeypatch.setattr(oracle, "DENSE_LIMIT", 10)
    thin = oracle.gaussian(energy)
    np.testing.assert_allclose(thin.mean, dense.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(thin.variance(), variance, rtol=1e-10)
    assert thin.logdet == pytest.approx(dense.logdet, rel=1e-12)
    assert thin.log_z == pytest.approx(dense.log_z, rel=1e-12)


def brute(energy: Energy, values: tuple[float, float]) -> tuple[float, np.ndarray]:
    states = np.array(list(itertools.product(values, repeat=energy.n)))
    weight = np.exp([-energy.at(s) / energy.temperature for s in states])
    return float(np.log(weight.sum())), weight @ states / weight.sum()


def test_spins() -> None:
    rng = np.random.default_rng(1)
    j = np.triu(rng.normal(size=(6, 6)), 1)
    energy = spucc.ising(j + j.T, rng.normal(size=6), beta=0.7)
    law = oracle.enumerate_spins(energy)
    log_z, mean = brute(energy, (-1.0, 1.0))
    assert law.log_z == pytest.approx(log_z, rel=1e-12)
    np.testing.assert_allclose(law.mean, mean, rtol=1e-10)
    assert law.ground_energy == pytest.approx(energy.at(law.ground), rel=1e-12)


def test_what_it_cannot_do_it_says() -> None:
    for bad, code in ((spucc.ising(np.zeros((21, 21))), "E0492"), (spucc.gaussian(0.0, np.eye(2)), "E0492")):
        with pytest.raises(spucc.SpuccError) as caught:
            oracle.enumerate_spins(bad)
        assert caught.value.diagnostics[0].code == code
