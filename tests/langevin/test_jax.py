"""The same units in JAX: against quadrature and the compiled kernels (4.5 standard errors, false alarms below 1e-5 each)."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import integrate, sparse

from spucc.arrays import frozen
from spucc.diagnostics import SpuccError
from spucc.driver import compile_program
from spucc.running.run import run_program
from spucc.targets.langevin.potential import Potential
from spucc.targets.langevin.step_choice import stationary_moments

TEXT = """
var x: real[5] ~ double_well(-0.5, 1)
energy 0.6 * sum(x[1:] * x[:-1]) + 0.3 * x[0]
temperature 0.8
query m = mean(x)
query c = cov(x)
query draws = sample(x)
"""


@pytest.fixture(scope="module")
def jax() -> object:
    return pytest.importorskip("jax")


def test_equilibrium_agrees_with_the_compiled_kernels(jax: object) -> None:
    program = compile_program(TEXT, target="langevin-ideal")
    one = run_program(program, samples=6_000, chains=60, backend="langevin-jax", seed=1)
    other = run_program(program, samples=6_000, chains=60, seed=2)
    assert one.provenance["backend"] == "langevin-jax"
    for name in ("m", "c"):
        a, b = one.answer(name), other.answer(name)
        assert a.error is not None and b.error is not None
        # the error of a covariance supposes Gaussian draws: here the tails are lighter
        assert (np.abs(a.value - b.value) < 4.5 * np.hypot(a.error, b.error)).all()


def test_a_coarse_step_has_the_bias_of_its_transfer_operator(jax: object) -> None:
    from spucc.targets.langevin.jax_walkers import JaxWalkers

    j2, j4, b, kt, h = 0.0, 1.0, 0.0, 0.7, 0.12
    cell = Potential(frozen([b]), sparse.csr_array([[2.0 * j2]]), frozen([j4]))
    walkers = JaxWalkers(cell, 4096, (2,), temperature=kt)
    walkers.overdamped(h, 60)
    total = np.zeros(4096)
    for _ in range(300):
        walkers.overdamped(h, 4)
        total += walkers.positions()[:, 0] ** 2 / 300
    error = total.std(ddof=1) / 64
    weight = lambda x: np.exp(-(j2 * x**2 + j4 * x**4) / kt)  # noqa: E731
    exact = integrate.quad(lambda x: x * x * weight(x), -5, 5)[0] / integrate.quad(weight, -5, 5)[0]
    assert abs(total.mean() - stationary_moments(j2, j4, b, kt, h)[1]) < 4.5 * error
    assert abs(total.mean() - exact) > 4.5 * error


def test_a_trajectory_is_its_own_and_resumes(jax: object) -> None:
    from spucc.targets.langevin.jax_walkers import JaxWalkers

    cell = Potential(frozen([0.1, 0.0]), sparse.csr_array([[1.0, 0.3], [0.3, -1.0]]), frozen([0.5, 1.0]))
    few, many = JaxWalkers(cell, 3, (1,)), JaxWalkers(cell, 50, (1,))
    for w in (few, many):
        w.overdamped(0.02, 10)
        w.adjusted(0.1, 10)
    np.testing.assert_allclose(few.positions(), many.positions()[:3], rtol=1e-5, atol=1e-6)
    whole, half, rest = JaxWalkers(cell, 8, (4,)), JaxWalkers(cell, 8, (4,)), JaxWalkers(cell, 8, (4,))
    whole.overdamped(0.02, 10)
    whole.overdamped(0.02, 20)
    half.overdamped(0.02, 10)
    rest.restore(half.export())
    rest.overdamped(0.02, 20)
    np.testing.assert_array_equal(rest.positions(), whole.positions())
    with pytest.raises(SpuccError, match="E0555"):
        few.restore(half.export())
    with pytest.raises(SpuccError, match="E0554"):
        JaxWalkers(cell, 8, (1,)).overdamped(5.0, 50)
    with pytest.raises(SpuccError, match="E0553"):
        JaxWalkers(cell, 8, (1,), temperature=0.0)


def test_without_jax_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "spucc.targets.langevin.jax_walkers", raising=False)
    program = compile_program(TEXT, target="langevin-ideal")
    with pytest.raises(SpuccError, match="E0729") as caught:
        run_program(program, samples=8, backend="langevin-jax")
    assert "spucc[jax]" in caught.value.diagnostics[0].help
