"""`condition`, `reduce` and `split` against dense linear algebra and direct evaluation of the energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

import spucc
from spucc import oracle
from spucc.arrays import frozen
from spucc.conditioning import conditioned
from spucc.devices import load_device
from spucc.driver import start
from spucc.energy import Domain, Energy, Form, Monomials, Observed, Quadratic, Query, QueryKind, layout
from spucc.passes.condition import Condition
from spucc.passes.reduce import Reduce
from spucc.passes.split import Split
from spucc.pipeline import Context, run_passes
from spucc.readback import Affine
from spucc.stages import State


def random_energy(rng: np.random.Generator, n: int = 7) -> Energy:
    """A Gaussian with random sparse couplings and mean."""
    a = rng.normal(size=(n, n)) * (rng.random((n, n)) < 0.4)
    precision = a @ a.T + np.eye(n)
    return spucc.gaussian(rng.normal(size=n), precision=sparse.csr_array(precision))


def state_of(energy: Energy, target: str = "ideal") -> State:
    return start(energy, load_device(target))


@pytest.mark.parametrize("seed", range(5))
def test_conditioning_is_the_conditional_law(seed: int) -> None:
    rng = np.random.default_rng(seed)
    energy = random_energy(rng)
    index, value = np.array([1, 4]), rng.normal(size=2)
    observed = replace(energy, observed=Observed(frozen(index, np.int64), frozen(value)))
    state = run_passes(state_of(observed), [Condition()], Context())
    law, full = oracle.gaussian(state.model), oracle.gaussian(energy)
    cov = full.covariance()
    keep = np.setdiff1d(np.arange(energy.n), index)
    gain = cov[np.ix_(keep, index)] @ np.linalg.inv(cov[np.ix_(index, index)])
    np.testing.assert_allclose(
        law.mean, full.mean[keep] + gain @ (value - full.mean[index]), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        law.covariance(), cov[np.ix_(keep, keep)] - gain @ cov[np.ix_(index, keep)], atol=1e-9
    )
    assert [state.model.label(k) for k in range(state.model.n)] == [f"x[{k}]" for k in keep]


def test_conditioning_substitutes_in_every_degree() -> None:
    """E(x | observed) equals E at the full point, monomials of degree 3 and 4 included."""
    rng = np.random.default_rng(3)
    energy = random_energy(rng, 5)
    higher = (
        Monomials(frozen([[0, 1, 2], [1, 1, 3]], np.int64), frozen([0.3, -0.7])),
        Monomials(frozen([[0, 0, 2, 2], [1, 2, 3, 4], [1, 1, 1, 1]], np.int64), frozen([1.1, 0.2, 0.9])),
    )
    energy = replace(energy, higher=higher, constant=2.5)
    keep, index, value = np.array([0, 2, 4]), np.array([1, 3]), np.array([0.4, -1.3])
    reduced = conditioned(energy, keep, index, value)
    for _ in range(10):
        x = np.zeros(5)
        x[keep], x[index] = rng.normal(size=3), value
        assert reduced.at(x[keep]) == pytest.approx(energy.at(x), rel=1e-12)


def test_everything_observed_leaves_nothing_to_compile() -> None:
    energy = random_energy(np.random.default_rng(0), 3)
    observed = replace(energy, observed=Observed(frozen([0, 1, 2], np.int64), frozen([1.0, 2.0, 3.0])))
    with pytest.raises(spucc.SpuccError) as caught:
        state_of(observed)
    assert caught.value.diagnostics[0].code == "E0494"


def query_of(energy: Energy, coordinates: list[int]) -> Query:
    m = len(coordinates)
    matrix = sparse.csr_array((np.ones(m), (np.arange(m), coordinates)), shape=(m, energy.n))
    return Query("q", QueryKind.SAMPLE, Form(matrix, frozen(np.zeros(m)), (m,)))


def chain(n: int) -> Energy:
    precision = sparse.diags_array([[-1.0] * (n - 1), [2.5] * n, [-1.0] * (n - 1)], offsets=[-1, 0, 1])
    return spucc.gaussian(np.linspace(0, 1, n), precision=sparse.csr_array(precision))


def test_reduce_takes_leaves_and_keeps_the_marginal() -> None:
    """A chain asked only in its middle shrinks from both ends without any fill; x[4] would couple its neighbours."""
    energy = chain(9)
    asked = replace(energy, queries=(query_of(energy, [3, 5]),))
    state = run_passes(state_of(asked), [Condition(), Reduce()], Context())
    keep = [3, 4, 5]
    assert [state.model.label(k) for k in range(state.model.n)] == ["x[3]", "x[4]", "x[5]"]
    full, law = oracle.gaussian(energy), oracle.gaussian(state.model)
    np.testing.assert_allclose(law.mean, full.mean[keep], rtol=1e-12)
    np.testing.assert_allclose(law.covariance(), full.covariance()[np.ix_(keep, keep)], rtol=1e-12)
    assert law.log_z == pytest.approx(full.log_z, rel=1e-12)


def test_reduce_makes_no_fill_unless_it_may() -> None:
    """The hub of a star couples all its leaves when it goes: kept by default, gone with fill=6."""
    n = 5
    precision = np.eye(n) * 3
    precision[0, 1:] = precision[1:, 0] = -0.5
    energy = spucc.gaussian(0.0, precision=sparse.csr_array(precision))
    asked = replace(energy, queries=(query_of(energy, [1, 2, 3, 4]),))
    kept = run_passes(state_of(asked), [Reduce()], Context())
    gone = run_passes(state_of(asked), [Reduce(fill=6)], Context())
    assert (kept.model.n, gone.model.n) == (5, 4)
    np.testing.assert_allclose(
        oracle.gaussian(gone.model).covariance(), oracle.gaussian(energy).covariance()[1:, 1:], rtol=1e-12
    )


def test_split_makes_a_job_of_each_part_and_drops_what_nobody_asks() -> None:
    blocks = [chain(2).quadratic.toarray(), chain(3).quadratic.toarray(), np.array([[2.0]])]
    from scipy.linalg import block_diag

    energy = spucc.gaussian(np.arange(6.0), precision=sparse.csr_array(block_diag(*blocks)))
    state = run_passes(state_of(energy), [Condition(), Split()], Context())
    assert [job.target.n for job in state.jobs] == [2, 3, 1]
    asked = replace(energy, queries=(query_of(energy, [5, 0]),))
    state = run_passes(state_of(asked), [Condition(), Split()], Context())
    assert [job.coordinates.tolist() for job in state.jobs] == [[0, 1], [5]]
    full = oracle.gaussian(energy)
    for job in state.jobs:
        law = oracle.gaussian(job.target)
        np.testing.assert_allclose(law.mean, full.mean[job.coordinates], rtol=1e-12)
        np.testing.assert_allclose(
            law.covariance(), full.covariance()[np.ix_(job.coordinates, job.coordinates)], rtol=1e-12
        )


def test_many_parts_share_jobs_as_far_as_the_device_has_cells() -> None:
    energy = spucc.gaussian(0.0, precision=sparse.eye_array(200, format="csr"))
    ideal = run_passes(state_of(energy), [Split()], Context())
    board = run_passes(state_of(energy, "spu8"), [Split()], Context())
    assert len(ideal.jobs) == 1
    assert [job.target.n for job in board.jobs] == [4] * 50
    assert np.array_equal(np.concatenate([job.coordinates for job in board.jobs]), np.arange(200))


def test_higher_terms_tie_parts_together() -> None:
    energy = Energy(
        layout([("x", (4,), Domain.REAL, None)]),
        frozen(np.zeros(4)),
        Quadratic(sparse.csr_array(sparse.eye_array(4))),
        higher=(Monomials(frozen([[0, 0, 2]], np.int64), frozen([1.0])),),
    )
    state = run_passes(state_of(energy), [Split()], Context())
    assert [job.coordinates.tolist() for job in state.jobs] == [[0, 2], [1], [3]]
    assert state.jobs[0].target.higher[0].index.tolist() == [[0, 0, 1]]


def test_steps_read_back_to_the_source() -> None:
    energy = chain(5)
    observed = replace(energy, observed=Observed(frozen([2], np.int64), frozen([7.0])))
    state = run_passes(state_of(observed), [Condition(), Reduce(), Split()], Context())
    back = state.steps[0].readback
    assert isinstance(back, Affine)
    np.testing.assert_array_equal(back.draws(np.array([1.0, 2.0, 3.0, 4.0])), [1.0, 2.0, 7.0, 3.0, 4.0])
