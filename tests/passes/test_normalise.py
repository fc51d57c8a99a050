"""`normalise` against the definition: the same density at kT = 1, and no coupling that is only rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import spucc
from spucc import oracle
from spucc.devices import load_device
from spucc.driver import compile_program, start
from spucc.energy import Block, Quadratic
from spucc.passes.normalise import Normalise
from spucc.pipeline import Context


def _state(energy: spucc.Energy):  # type: ignore[no-untyped-def]
    return start(energy, load_device("ideal"))


def test_the_density_is_the_same_at_unit_temperature() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((6, 9))
    model = replace(spucc.gaussian(rng.standard_normal(6), precision=a @ a.T), temperature=2.5)
    after = Normalise().run(_state(model), Context()).model
    assert after.temperature == 1.0
    x = rng.standard_normal((50, 6))
    np.testing.assert_allclose(after.at(x), model.at(x) / 2.5, rtol=1e-13)
    before, found = oracle.gaussian(model), oracle.gaussian(after)
    assert found.log_z == pytest.approx(before.log_z, rel=1e-12)


def test_rounding_noise_goes_and_small_couplings_stay() -> None:
    q = np.diag([1e6, 1e-6, 1.0])
    q[0, 1] = q[1, 0] = 1e-15  # relative to √(1e6 · 1e-6) = 1: noise
    q[1, 2] = q[2, 1] = 1e-15  # relative to √1e-6: 1e-12, a coupling
    for quadratic in (
        Quadratic(sparse.csr_array(q)),
        Quadratic(sparse.csr_array((3, 3)), (Block(np.arange(3), np.arange(3), q),)),
    ):
        model = replace(spucc.gaussian(np.zeros(3), precision=np.eye(3)), quadratic=quadratic)
        state = Normalise().run(_state(model), Context())
        assert state.model.quadratic.toarray()[0, 1] == 0
        assert state.model.quadratic.toarray()[1, 2] == 1e-15
        assert state.steps[-1].notes == ("1 couplings were rounding noise",)


def test_a_normal_model_and_dense_blocks_are_left_as_they_are() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal((5, 8))
    model = spucc.gaussian(np.zeros(5), precision=a @ a.T)
    state = _state(model)
    assert Normalise().run(state, Context()).model.quadratic is state.model.quadratic


def test_spins_keep_their_temperature() -> None:
    model = spucc.ising(np.array([[0, 1.0], [1.0, 0]]), beta=0.5)
    assert Normalise().run(_state(model), Context()).model.temperature == 2.0


def test_a_temperature_reaches_the_board() -> None:
    text = "temperature 4\nvar x: real ~ normal(1, 1)\nvar y: real ~ normal(x, 2)\nquery c = cov(y)\n"
    program = compile_program(text, target="spu8")
    assert [s.name for s in program.steps][:2] == ["border", "normalise"]
    from spucc.running.law import program_law

    # At temperature T every covariance is T times as large: Var(y) = 4 · (1 + 4).
    law = program_law(program)
    assert law.variance[1] == pytest.approx(20.0, rel=2e-3)
