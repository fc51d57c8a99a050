"""Multi-spin coding against enumeration, and its random bits against their odds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from spucc.targets.spins.model import spin_model
from spucc.targets.spins.multispin import digit_odds, metropolis_words, unpack_words, word_state


@pytest.mark.parametrize("density, beta", [(1.0, 0.25), (0.4, 0.4), (0.4, 0.05)])
def test_pair_correlations_are_those_of_enumeration(density: float, beta: float) -> None:
    """512 chains of 9 spins of odd and even degrees; 36 z-tests, threshold 4.5."""
    n, words = 9, 8
    rng = np.random.default_rng(3)
    j = np.triu(rng.choice([-1.0, 1.0], size=(n, n)) * (rng.random((n, n)) < density), 1)
    j = j + j.T
    model = spin_model(sparse.csr_array(j), np.zeros(n))
    assert model.magnitude == 1.0
    states = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    p = np.exp(0.5 * beta * ((states @ j) * states).sum(axis=1))
    p /= p.sum()
    want = (states * p[:, None]).T @ states
    s = rng.integers(0, 2**64, (n, words), dtype=np.uint64)
    state = word_state((1,), 0, words)
    negative = np.where(model.couplings.data < 0, ~np.uint64(0), np.uint64(0))
    odds = np.tile(digit_odds(beta, int(np.diff(model.couplings.indptr).max())), (7, 1))
    args = (model.order, model.arrays[0], model.arrays[1], negative, odds, s, state)
    total = np.zeros((64 * words, n, n))
    for step in range(340):
        metropolis_words(*args, 7)
        if step >= 40:
            draw = unpack_words(s).astype(float)
            total += draw[:, :, None] * draw[:, None, :]
    pairs = total / 300
    i, k = np.triu_indices(n, 1)
    z = (pairs.mean(0) - want)[i, k] / (pairs.std(0, ddof=1)[i, k] / np.sqrt(64 * words))
    assert np.abs(z).max() < 4.5


def test_chains_of_one_word_are_independent() -> None:
    """Free spins far above the critical temperature: the lanes' correlations are those of chance (2016 pairs,
    4.9 sd)."""
    n, words = 400, 2
    site = np.arange(n).reshape(20, 20)
    i = np.concatenate([site.ravel(), site.ravel()])
    k = np.concatenate([np.roll(site, -1, 0).ravel(), np.roll(site, -1, 1).ravel()])
    j = sparse.coo_array((np.ones(i.size), (i, k)), shape=(n, n))
    model = spin_model(sparse.csr_array(j + j.T), np.zeros(n))
    s = np.zeros((n, words), dtype=np.uint64)
    state = word_state((5,), 0, words)
    odds = np.tile(digit_odds(0.05, 4), (50, 1))
    negative = np.zeros(model.couplings.nnz, np.uint64)
    metropolis_words(model.order, model.arrays[0], model.arrays[1], negative, odds, s, state, 50)
    lanes = unpack_words(s).astype(float)
    overlap = (lanes @ lanes.T / n)[np.triu_indices(128, 1)] * np.sqrt(n)
    assert np.abs(overlap).max() < 5.5
    assert 0.9 < overlap.std() < 1.25


def test_zero_temperature_never_climbs_and_high_temperature_always_moves() -> None:
    odds = digit_odds(40.0, 4)
    assert (odds == 0).all()
    assert (digit_odds(0.0, 4)[-2:] == 2**32 - 1).all()
