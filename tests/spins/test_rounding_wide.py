"""Rounding on moments of draws, against the divergence over all states."""

from __future__ import annotations

import numpy as np
import pytest

from spucc.device import Bank
from spucc.fidelity import spin_law
from spucc.passes.spins.spin_rounding import Rounded, nearest
from spucc.passes.spins.spin_rounding_wide import WideSearch

SIDE = 4


def kings() -> np.ndarray:
    r, c = np.divmod(np.arange(SIDE**2), SIDE)
    near = np.maximum(abs(r[:, None] - r), abs(c[:, None] - c)) == 1
    return np.stack(np.nonzero(np.triu(near)), axis=1)


def exponent(theta: np.ndarray) -> np.ndarray:
    pairs, s = kings(), spin_law.all_spins(SIDE**2)
    return np.asarray((s[:, pairs[:, 0]] * s[:, pairs[:, 1]]) @ theta[: len(pairs)] + s @ theta[len(pairs) :])


def divergence(theta: np.ndarray, found: Rounded) -> float:
    codes = np.concatenate([found.coupling, found.bias])
    own, other = exponent(theta), exponent(codes) * found.beta
    p = np.exp(own - own.max())
    p /= p.sum()
    return float(p @ (own - other) + np.log(p @ np.exp(other - own)))


@pytest.mark.parametrize("bits", [3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_moves_beat_plain_rounding_and_the_divergence_is_what_is_said(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = kings()
    theta = np.concatenate([rng.normal(size=len(pairs)) * 0.5, rng.normal(size=SIDE**2) * 0.2])
    p, _ = spin_law.law(dense(theta), theta[len(pairs) :])
    draws = spin_law.all_spins(SIDE**2)[rng.choice(p.size, 4096, p=p)]
    bank = Bank(max=2.0**bits - 1, bits=bits, signed=True)
    search = WideSearch(draws, pairs, theta, bank, bank)
    found = search.search()
    top = bank.max / np.abs(theta).max()
    plain = search.judge(nearest(bank, theta * top))
    exact = divergence(theta, found)
    assert np.abs(np.concatenate([found.coupling, found.bias])).max() <= bank.max
    assert exact < 0.9 * divergence(theta, plain)
    # the variance of 2048 draws, and the third order
    assert found.kl == pytest.approx(exact, rel=0.35)


def dense(theta: np.ndarray) -> np.ndarray:
    pairs = kings()
    j = np.zeros((SIDE**2, SIDE**2))
    j[pairs[:, 0], pairs[:, 1]] = theta[: len(pairs)]
    return j + j.T


def test_a_model_that_the_codes_have_loses_nothing() -> None:
    pairs = kings()
    theta = np.concatenate([np.where(np.arange(len(pairs)) % 2, 0.3, -0.2), np.zeros(SIDE**2)])
    p, _ = spin_law.law(dense(theta), theta[len(pairs) :])
    draws = spin_law.all_spins(SIDE**2)[np.random.default_rng(1).choice(p.size, 1000, p=p)]
    bank = Bank(max=3.0, bits=2, signed=True)
    found = WideSearch(draws, pairs, theta, bank, bank).search()
    assert divergence(theta, found) < 1e-12
    assert found.kl < 1e-12


def test_no_couplings_and_no_fields() -> None:
    bank = Bank(max=3.0, bits=2, signed=True)
    states = np.random.default_rng(0).choice([-1.0, 1.0], size=(200, 30))
    found = WideSearch(states, np.zeros((0, 2), np.int64), np.zeros(30), bank, bank).search()
    assert found.kl == 0.0
    assert not found.bias.any()
