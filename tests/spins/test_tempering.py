"""The ladder of parallel tempering: rungs where replicas exchange as often as asked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from spucc.driver import compile_program
from spucc.running.run import run_program
from spucc.targets.spins.model import SpinModel, spin_model
from spucc.targets.spins.tempering import Ladders, ladder


def torus(side: int, beta: float) -> SpinModel:
    site = np.arange(side**2).reshape(side, side)
    near = np.concatenate([np.roll(site, -1, 0).ravel(), np.roll(site, -1, 1).ravel()])
    half = sparse.coo_array(
        (np.full(near.size, beta), (np.tile(site.ravel(), 2), near)), shape=(side**2,) * 2
    )
    return spin_model(sparse.csr_array(half + half.T), np.zeros(side**2))


@pytest.mark.parametrize("side, acceptance", [(12, 0.4), (12, 0.2), (30, 0.4)])
def test_neighbours_exchange_as_often_as_asked_for(side: int, acceptance: float) -> None:
    """Across the transition at β = 0.44. The pilot's σ has an error of 5 %, and below the transition more, where domains last."""
    model = torus(side, 0.6)
    betas = ladder(model, (1,), acceptance=acceptance)
    assert betas[0] == pytest.approx(0.1)
    assert betas[-1] == 1.0
    assert (np.diff(betas) > 0).all()
    run = Ladders(model, betas, 32, (2,))
    run.sweep(400)
    assert np.abs(run.exchanged - acceptance).max() < 0.2
    np.testing.assert_array_equal(betas, ladder(model, (1,), acceptance=acceptance))


def test_the_number_of_rungs_grows_with_the_root_of_the_size() -> None:
    few, many = (ladder(torus(side, 0.5), (1,)).size for side in (10, 40))
    assert 2.5 < (many - 1) / (few - 1) < 5


def test_weak_couplings_and_none_need_two_rungs_at_most() -> None:
    assert ladder(torus(4, 0.01), (1,)).size == 2
    assert ladder(spin_model(sparse.csr_array((3, 3)), np.zeros(3)), (1,)).size == 2
    assert ladder(spin_model(sparse.csr_array((0, 0)), np.zeros(0)), (1,)).tolist() == [1.0]


def test_a_run_says_how_often_they_do() -> None:
    text = "var s: spin[24, 24]\nenergy -0.4 * sum(s[1:, :] * s[:-1, :]) - 0.4 * sum(s[:, 1:] * s[:, :-1])\n"
    program = compile_program(text, target="ideal-spin")
    result = run_program(program, samples=20, chains=2, backend="tempering")
    (said,) = result.provenance["simulation"].values()
    assert "rungs; neighbours exchange in" in said
