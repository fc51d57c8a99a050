"""Sweeps against enumeration, Kaufman's and Onsager's closed forms, and one another.

Every z-test below compares means of independent chains; with the thresholds given the false-alarm rate of a
test is below 1e-3 for a fresh seed, and the seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, sparse, special

from spucc.diagnostics import SpuccError
from spucc.targets.spins.chains import Chains, sample
from spucc.targets.spins.free_energy import annealed_log_z
from spucc.targets.spins.model import spin_model
from spucc.targets.spins.tempering import temper


def states(n: int) -> np.ndarray:
    return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)


def law(j: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """All states, their probabilities and log Z, by brute force."""
    s = states(h.size)
    minus_energy = 0.5 * ((s @ j) * s).sum(axis=1) + s @ h
    log_z = special.logsumexp(minus_energy)
    return s, np.exp(minus_energy - log_z), float(log_z)


def random_model(n: int, density: float, size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    j = np.triu(rng.normal(size=(n, n)) * (rng.random((n, n)) < density), 1) * size
    return j + j.T, rng.normal(size=n) * 0.4


def torus(rows: int, cols: int) -> sparse.csr_array:
    site = np.arange(rows * cols).reshape(rows, cols)
    i = np.concatenate([site.ravel(), site.ravel()])
    j = np.concatenate([np.roll(site, -1, 0).ravel(), np.roll(site, -1, 1).ravel()])
    a = sparse.coo_array((np.ones(i.size), (i, j)), shape=(site.size, site.size))
    return sparse.csr_array(a + a.T)


@pytest.mark.parametrize("method", ["heat-bath", "metropolis"])
@pytest.mark.parametrize("density", [1.0, 0.35])
def test_marginals_and_pairs_are_those_of_enumeration(method: str, density: float) -> None:
    j, h = random_model(9, density, 0.35, seed=1)
    s, p, _ = law(j, h)
    draws = sample(Chains(spin_model(sparse.csr_array(j), h), 256, (3,), method=method), 60, 2, 600).astype(
        float
    )
    per_chain = draws.mean(axis=1)
    z = (per_chain.mean(0) - p @ s) / (per_chain.std(0, ddof=1) / 16)
    assert np.abs(z).max() < 4.2
    pairs = np.einsum("cti,ctj->cij", draws, draws) / draws.shape[1]
    i, k = np.triu_indices(9, 1)
    z = (pairs.mean(0) - (s * p[:, None]).T @ s)[i, k] / (pairs.std(0, ddof=1)[i, k] / 16)
    assert np.abs(z).max() < 4.5


def test_layers_swept_by_matrix_products_have_the_same_law() -> None:
    rng = np.random.default_rng(2)
    w = rng.normal(size=(10, 8)) * 0.4
    j = np.block([[np.zeros((10, 10)), w], [w.T, np.zeros((8, 8))]])
    h = rng.normal(size=18) * 0.3
    model = spin_model(sparse.csr_array(j), h)
    assert model.layers
    s, p, _ = law(j, h)
    per_chain = sample(Chains(model, 256, (4,)), 50, 1, 400).astype(float).mean(axis=1)
    z = (per_chain.mean(0) - p @ s) / (per_chain.std(0, ddof=1) / 16)
    assert np.abs(z).max() < 4.3


def test_clamped_spins_condition_the_others() -> None:
    j, h = random_model(8, 0.6, 0.5, seed=5)
    s, p, _ = law(j, h)
    fixed = np.zeros(8, dtype=bool)
    fixed[[1, 6]] = True
    start = np.ones(8)
    start[6] = -1
    given = (s[:, 1] == 1) & (s[:, 6] == -1)
    want = (p[given] @ s[given]) / p[given].sum()
    draws = sample(Chains(spin_model(sparse.csr_array(j), h, fixed), 256, (6,), start=start), 50, 1, 500)
    assert (draws[:, :, 1] == 1).all() and (draws[:, :, 6] == -1).all()
    per_chain = draws.astype(float).mean(axis=1)
    z = (per_chain.mean(0) - want)[~fixed] / (per_chain.std(0, ddof=1)[~fixed] / 16)
    assert np.abs(z).max() < 4.2


def test_a_chain_is_the_same_whatever_stands_beside_it() -> None:
    j, h = random_model(40, 0.2, 0.5, seed=7)
    model = spin_model(sparse.csr_array(j), h)
    alone, many = Chains(model, 5, (8,)), Chains(model, 200, (8,), threads=3)
    alone.sweep(20)
    many.sweep(20)
    np.testing.assert_array_equal(alone.spins(), many.spins()[:5])
    one_thread = Chains(model, 200, (8,))
    one_thread.sweep(20)
    np.testing.assert_array_equal(one_thread.spins(), many.spins())
    other = Chains(model, 200, (9,))
    other.sweep(20)
    assert (other.spins() != many.spins()).mean() > 0.2
    assert np.unique(many.spins(), axis=0).shape[0] > 190


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped() -> None:
    j, h = random_model(30, 0.3, 0.5, seed=9)
    model = spin_model(sparse.csr_array(j), h)
    straight = Chains(model, 70, (1,))
    straight.sweep(12)
    first = Chains(model, 70, (1,))
    first.sweep(5)
    resumed = Chains(model, 70, (2,))
    resumed.restore(first.export())
    resumed.sweep(7)
    np.testing.assert_array_equal(straight.spins(), resumed.spins())
    with pytest.raises(SpuccError, match="E0555"):
        Chains(spin_model(sparse.csr_array(j[:20, :20]), h[:20]), 70, (1,)).restore(first.export())


@pytest.mark.parametrize("rows, colours", [(8, 2), (7, 3)])
def test_colours_are_proper_and_few(rows: int, colours: int) -> None:
    j = torus(rows, rows)
    colour = spin_model(j, np.zeros(rows * rows)).colour
    i, k = j.nonzero()
    assert (colour[i] != colour[k]).all()
    assert colour.max() + 1 <= colours + (rows % 2)


def test_energies_are_the_formula() -> None:
    j, h = random_model(25, 0.4, 1.0, seed=11)
    model = spin_model(sparse.csr_array(j), h)
    chains = Chains(model, 33, (1,))
    chains.sweep(3)
    s = chains.spins().astype(float)
    want = -0.5 * np.einsum("ki,ij,kj->k", s, j, s) - s @ h
    np.testing.assert_allclose(chains.energies(), want, atol=2e-5)
    np.testing.assert_allclose(model.energy(s), want, atol=1e-12)


def test_annealed_log_z_is_within_its_error() -> None:
    for seed in (1, 2, 3):
        j, h = random_model(12, 0.7, 0.5, seed=seed)
        _, _, exact = law(j, h)
        got = annealed_log_z(spin_model(sparse.csr_array(j), h), (seed,), chains=256, steps=200)
        assert got.error < 0.05
        assert abs(got.value - exact) < 4 * got.error


def test_annealed_log_z_with_a_clamped_spin() -> None:
    j, h = random_model(10, 0.7, 0.5, seed=4)
    s, _, _ = law(j, h)
    minus_energy = 0.5 * ((s @ j) * s).sum(axis=1) + s @ h
    exact = special.logsumexp(minus_energy[s[:, 3] == -1])
    start = -np.ones(10)
    fixed = np.arange(10) == 3
    got = annealed_log_z(spin_model(sparse.csr_array(j), h, fixed), (5,), steps=200, start=start)
    assert abs(got.value - exact) < 4 * got.error < 0.2


def test_tempering_crosses_a_barrier_that_gibbs_does_not() -> None:
    """Two ferromagnetic blocks of 8, strongly coupled inside: single-flip chains stay where they start."""
    n = 8
    j = np.full((n, n), 0.9) - 0.9 * np.eye(n)
    h = np.full(n, 0.02)
    s, p, _ = law(j, h)
    model = spin_model(sparse.csr_array(j), h)
    got = temper(model, np.geomspace(0.08, 1.0, 10), 64, (3,), settle=100, interval=2, draws=400)
    per_ladder = got.draws.astype(float).mean(axis=1)
    z = (per_ladder.mean(0) - p @ s) / (per_ladder.std(0, ddof=1) / 8)
    assert np.abs(z).max() < 4.2
    assert (got.exchanged > 0.1).all()
    crossings = (np.diff(np.sign(got.draws.astype(int).sum(axis=2)), axis=1) != 0).sum()
    assert crossings > 100


def onsager(beta: float) -> tuple[float, float]:
    """Energy per spin and spontaneous magnetisation of the infinite square lattice (Onsager 1944; Yang
    1952)."""
    k = 2 * np.sinh(2 * beta) / np.cosh(2 * beta) ** 2
    elliptic = integrate.quad(lambda x: 1 / np.sqrt(1 - (k * np.sin(x)) ** 2), 0, np.pi / 2)[0]
    energy = -(1 / np.tanh(2 * beta)) * (1 + 2 / np.pi * (2 * np.tanh(2 * beta) ** 2 - 1) * elliptic)
    magnet = (1 - np.sinh(2 * beta) ** -4.0) ** 0.125 if beta > 0.44068679 else 0.0
    return float(energy), float(magnet)


@pytest.mark.parametrize("beta", [0.4, 0.6])
def test_onsager(beta: float) -> None:
    """64×64, the corrections of finite size are below 1e-5 (correlation lengths ≤ 6). Two z-tests at 3
    standard errors.

    The magnetisation at β = 0.4 relaxes slowly: `benchmarks/energy.py` runs it down to 5e-4.
    """
    n, chains = 64 * 64, 128
    model = spin_model(sparse.csr_array(torus(64, 64) * beta), np.zeros(n))
    start = np.ones((chains, n)) if beta > 0.44 else None
    run = Chains(model, chains, (12,), start=start)
    run.sweep(400)
    energy, magnet = np.zeros(chains), np.zeros(chains)
    for _ in range(240):
        run.sweep(5)
        energy += run.energies() / (beta * n) / 240
        magnet += run.spins().mean(axis=1, dtype=np.float64) / 240
    want_energy, want_magnet = onsager(beta)
    for got, want in ((energy, want_energy), (magnet, want_magnet)):
        error = got.std(ddof=1) / np.sqrt(chains)
        assert abs(got.mean() - want) < 3 * error
        assert error < (5e-4 if want else 5e-3)


def test_infinite_couplings_are_refused() -> None:
    with pytest.raises(SpuccError, match="E0550"):
        spin_model(sparse.csr_array(np.array([[0, np.inf], [np.inf, 0]])), np.zeros(2))
    with pytest.raises(SpuccError, match="E0550"):
        spin_model(sparse.csr_array((2, 2)), np.array([0, np.nan]))


def test_no_spins_and_no_couplings() -> None:
    empty = Chains(spin_model(sparse.csr_array((0, 0)), np.zeros(0)), 3, (1,))
    empty.sweep(2)
    assert empty.spins().shape == (3, 0)
    free = sample(Chains(spin_model(sparse.csr_array((3, 3)), np.array([0.5, 0, -2])), 512, (1,)), 1, 1, 50)
    np.testing.assert_allclose(free.mean(axis=(0, 1)), np.tanh([0.5, 0, -2]), atol=0.03)
