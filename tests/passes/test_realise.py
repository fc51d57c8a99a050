"""`realise` against brute force: eigenvalues decide, dense algebra checks that each way is exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse

from spucc.device import (
    Adc,
    Bank,
    Circuit,
    Device,
    DeviceSpec,
    Family,
    Strays,
    Topology,
    TopologySpec,
)
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes.realise import Realise
from spucc.passes.realising import border, comparison, moments, nearest, readout, splitting
from spucc.pipeline import Context
from spucc.readback import Affine, HostLoop
from spucc.stages import Couplings, Job, Role
from spucc.topology import build


def energy_of(p: np.ndarray, mean: np.ndarray | None = None, temperature: float = 1.0) -> Energy:
    n = p.shape[0]
    mu = np.zeros(n) if mean is None else mean
    variables = layout([("x", (n,), Domain.REAL, None)])
    q = Quadratic(sparse.csr_array(temperature * p))
    return Energy(variables, -temperature * (p @ mu), q, temperature=temperature)


def board(
    kind: str = "complete",
    nodes: int = 8,
    family: Family = Family.CAPACITIVE,
    signed: bool = False,
    bits: int | None = 8,
    **more: int,
) -> Device:
    coupling = Bank(unit="F", max=1.02e-9, bits=bits, signed=signed)
    spec = DeviceSpec(
        name="board",
        family=family,
        topology=TopologySpec(kind=kind, nodes=None if more else nodes, **more),
        ground=Bank(unit="F", max=1.02e-9, bits=bits),
        coupling=coupling,
        bias=Bank(unit="A", max=1.0, signed=True) if family is Family.RESISTIVE else None,
        circuit=Circuit(theta_min=1e-15, theta_max=1e-8),
        strays=Strays(ground=10e-12),
        adc=Adc(bits=14, full_scale=4.0),
    )
    return Device(spec, build(spec.topology))


def ideal() -> Device:
    spec = DeviceSpec(name="ideal", family=Family.IDEAL, topology=TopologySpec(kind="any"))
    return Device(spec, Topology("any", None, np.zeros((0, 2), np.int64), np.zeros((0, 2))))


def apply(p: np.ndarray, device: Device, mean: np.ndarray | None = None, **options: object):
    energy = energy_of(p, mean)
    job = Job("x", energy, np.arange(energy.n), energy)
    return Realise(**options).apply(job, device, Context())  # type: ignore[arg-type]


def assert_exact(p: np.ndarray, mean: np.ndarray, outcome, tolerance: float = 1e-11) -> None:
    """T K⁻¹ Tᵀ = P⁻¹ and the mean, relative to the standard deviations; K is dominant or can be scaled to be."""
    value = outcome.value
    assert isinstance(value, Couplings)
    k = value.matrix.toarray()
    back = outcome.readback
    assert isinstance(back, Affine)
    realised_mean, realised = back.moments(np.zeros(k.shape[0]), np.linalg.inv(k))
    sigma = np.linalg.inv(p)
    sd = np.sqrt(np.diag(sigma))
    assert np.abs((realised - sigma) / np.outer(sd, sd)).max() < tolerance
    assert np.abs((realised_mean - mean) / sd).max() < tolerance
    off = k - np.diag(np.diag(k))
    assert (np.diag(k) * (1 + 1e-12) >= np.abs(off).sum(axis=1)).all()


def random_precision(rng: np.random.Generator, n: int) -> np.ndarray:
    """A mixture that gives every verdict: Wishart, sparse, attractive, gauged, nearly singular."""
    kind = rng.integers(5)
    if kind == 0:
        x = rng.normal(size=(n, 2 * n + rng.integers(20 * n)))
        return x @ x.T / x.shape[1]
    a = rng.normal(size=(n, n)) * (rng.random((n, n)) < rng.uniform(0.1, 0.9))
    a = np.triu(a, 1)
    a = a + a.T
    if kind == 1:
        a = -np.abs(a)
    elif kind == 2:
        s = rng.choice([-1.0, 1.0], n)
        a = -np.abs(a) * np.outer(s, s)
    low = np.linalg.eigvalsh(a)[0]
    d = np.diag(rng.uniform(0.5, 2, n))
    lift = max(-low, 0.1) * rng.uniform(1.02, 3)
    p = a + lift * np.eye(n)
    return d @ p @ d


def test_verdict_and_certificate_agree_with_brute_force() -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(1000):
        n = int(rng.integers(2, 8))
        p = random_precision(rng, n)
        verdict = comparison.judge(sparse.csr_array(p))
        m = -np.abs(p)
        np.fill_diagonal(m, np.diag(p))
        lowest = np.linalg.eigvalsh(m)[0]
        if abs(lowest) > 1e-10:
            assert verdict.h_matrix == (lowest > 0)
        balanced = any(
            (np.outer(s, s) * (p - np.diag(np.diag(p))) <= 0).all()
            for s in (np.array([1.0, *signs]) for signs in itertools.product([1.0, -1.0], repeat=n - 1))
        )
        assert verdict.balanced == balanced
        if balanced:
            off = p - np.diag(np.diag(p))
            assert (np.outer(verdict.gauge, verdict.gauge) * off <= 0).all()
        if verdict.h_matrix:
            assert (verdict.vector > 0).all() and (m @ verdict.vector > 0).all()
        else:
            a = 1 / np.sqrt(np.diag(p))
            u = verdict.vector
            assert (u >= 0).all() and u @ (m * np.outer(a, a)) @ u <= 1e-9 * (u @ u)
        seen.add((verdict.balanced, verdict.h_matrix))
    assert seen == {(True, True), (False, True), (False, False)}


def test_large_sparse_verdict_by_pivots() -> None:
    n = 3000
    chain = sparse.diags_array(
        [np.full(n - 1, -1.0), np.full(n, 2.001), np.full(n - 1, -1.0)], offsets=[-1, 0, 1]
    )
    assert comparison.judge(sparse.csr_array(chain)).h_matrix
    bad = sparse.csr_array(chain - sparse.diags_array(np.full(n, 0.002)))
    verdict = comparison.judge(bad)
    assert not verdict.h_matrix and verdict.radius > 1


@pytest.mark.parametrize("seed", range(6))
def test_balanced_models_are_gauged_and_scaled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    s = rng.choice([-1.0, 1.0], n)
    a = -np.abs(rng.normal(size=(n, n))) * np.outer(s, s)
    a = np.triu(a, 1) + np.triu(a, 1).T
    p = a + np.eye(n) * (1.3 * -np.linalg.eigvalsh(a * np.outer(s, s))[0])
    d = np.diag(10.0 ** rng.uniform(-3, 3, n))
    p, mean = d @ p @ d, rng.normal(size=n)
    outcome = apply(p, board(), mean)
    assert_exact(p, mean, outcome)
    off = outcome.value.matrix.toarray()
    np.fill_diagonal(off, 0)
    assert (off <= 0).all()
    assert any("gauge" in n or "scale" in n for n in outcome.notes)


def frustrated(n: int, strength: float) -> np.ndarray:
    return np.eye(n) * 1.0 + strength * (np.ones((n, n)) - np.eye(n))


def test_double_cover_is_exact_to_1e12() -> None:
    p, mean = frustrated(4, 0.2), np.arange(4.0)
    outcome = apply(p, board(), mean, ways=("double-cover",))
    assert outcome.value.n == 8
    assert outcome.value.role.tolist() == [Role.PLUS] * 4 + [Role.MINUS] * 4
    assert_exact(p, mean, outcome, 1e-12)
    assert (outcome.value.matrix.toarray()[~np.eye(8, dtype=bool)] <= 0).all()


def test_negative_couplers_take_any_h_matrix() -> None:
    p = frustrated(8, 0.1)
    outcome = apply(p, board(signed=True), ways=("signed",))
    assert_exact(p, np.zeros(8), outcome)
    assert outcome.value.matrix.toarray()[0, 1] > 0


def test_charge_read_out_of_a_banded_covariance_is_exact_to_1e12() -> None:
    n = 7
    sigma = np.eye(n) * 2.2 - np.diag(np.ones(n - 1), 1) - np.diag(np.ones(n - 1), -1)
    p = np.linalg.inv(sigma)
    outcome = apply(p, board(bits=None), ways=("charge",))
    assert_exact(p, np.zeros(n), outcome, 1e-12)
    assert outcome.value.matrix.nnz == 3 * n - 2
    assert "12 multiplications" in outcome.notes[0]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "device", [board(), board("king", rows=8, cols=8), board("grid", rows=6, cols=6), board(signed=True)]
)
def test_read_out_is_exact_for_wishart_precisions(seed: int, device: Device) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, 16))
    p, mean = x @ x.T / 16, rng.normal(size=8)
    outcome = apply(p, device, mean, ways=("readout",))
    assert_exact(p, mean, outcome, 1e-9)
    t = outcome.readback.matrix
    assert t.nnz - 8 <= 28
    if not device.spec.coupling.signed:
        off = outcome.value.matrix.toarray()
        np.fill_diagonal(off, 0)
        assert (off <= 0).all()


def test_read_out_leaves_a_realisable_model_alone() -> None:
    p = np.eye(5) * 2.5 - 0.5 * np.ones((5, 5))
    found = readout.search(p / 2.0, lambda k: True)
    assert found.multiplications == 0 and found.kept == 10


def test_columns_meet_their_conditions_whatever_the_board_takes() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(9, 12))
    p = x @ x.T
    a = 1 / np.sqrt(np.diag(p))
    p = p * np.outer(a, a)
    # A board of pairs.
    found = readout.search(p, lambda k: bool(((k != 0).sum(axis=1) <= 2).all()), tile=2)
    np.testing.assert_allclose(found.t.T @ p @ found.t, found.k, atol=1e-9)
    assert found.kept == 4 and found.multiplications == 36 - 4
    large = readout.blocks(p, np.arange(9), 3)
    np.testing.assert_allclose(large.t.T @ p @ large.t, large.k, atol=1e-9)


def test_multiplications_are_bounded_by_the_option() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 9))
    p = x @ x.T
    with pytest.raises(SpuccError) as caught:
        apply(p, board(), host_multiplications=3, forbid=("split", "nearest"))
    assert caught.value.diagnostics[0].code == "E0513"


def test_unrealisable_says_why_in_the_users_names() -> None:
    p = frustrated(6, 0.5)
    p[5, :5] = p[:5, 5] = 0.0
    with pytest.raises(SpuccError) as caught:
        apply(p, board(), ways=("scale", "gauge"))
    d = caught.value.diagnostics[0]
    assert d.code == "E0512" and "`x[0]`" in d.title and "`x[5]`" not in d.title


def test_spins_are_refused_by_name() -> None:
    variables = layout([("s", (2,), Domain.SPIN, None)])
    energy = Energy(variables, np.zeros(2), Quadratic.zero(2))
    job = Job("s", energy, np.arange(2), energy)
    with pytest.raises(SpuccError) as caught:
        Realise().apply(job, board(), Context())
    assert caught.value.diagnostics[0].code == "E0511" and "`s[0]`" in caught.value.diagnostics[0].title


def test_unknown_way_is_an_error_of_the_option() -> None:
    with pytest.raises(ValueError, match="there is no way"):
        Realise(ways=("magic",))


def test_ideal_takes_a_large_sparse_model_as_it_is() -> None:
    n = 200_000
    chain = sparse.diags_array(
        [np.full(n - 1, 0.9), np.full(n, 2.0), np.full(n - 1, 0.9)], offsets=[-1, 0, 1]
    )
    variables = layout([("x", (n,), Domain.REAL, None)])
    energy = Energy(variables, np.zeros(n), Quadratic(sparse.csr_array(chain)), temperature=2.0)
    outcome = Realise().apply(Job("x", energy, np.arange(n), energy), ideal(), Context())
    assert outcome.readback is None
    assert outcome.value.matrix.diagonal()[0] == 1.0


def test_resistive_means_by_bias_and_ideal_means_at_the_read_out() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, 7))
    p, mean = x @ x.T, rng.normal(size=6)
    outcome = apply(p, board(family=Family.RESISTIVE, signed=True), mean)
    np.testing.assert_allclose(
        np.linalg.solve(outcome.value.matrix.toarray(), outcome.value.bias), mean, rtol=1e-9
    )
    outcome = apply(p, ideal(), mean)
    np.testing.assert_allclose(outcome.readback.offset, mean, rtol=1e-9)


def test_improper_models_are_an_error_and_not_a_linalg_error() -> None:
    p = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(SpuccError) as caught:
        apply(p, ideal(), np.ones(2))
    assert caught.value.diagnostics[0].code == "E0510"


@pytest.mark.parametrize("n", [1, 3, 30])
def test_border_solves_to_1e12(n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, 2 * n))
    p, b = x @ x.T / n, rng.normal(size=n)
    k = border.border(sparse.csr_array(p), b)
    cov = np.linalg.inv(k.toarray())
    np.testing.assert_allclose(border.solution(cov), np.linalg.solve(p, b), rtol=1e-11, atol=1e-12)
    with pytest.raises(SpuccError):
        border.border(sparse.csr_array(p), b, c=0.0)


@pytest.mark.parametrize("signed", [False, True])
def test_splitting_keeps_the_law_and_contracts_as_predicted(signed: bool) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(8, 16))
    p = x @ x.T / 16
    found = splitting.split(sparse.csr_array(p), signed, room=0.01, accuracy=1e-6)
    m = found.m.toarray()
    n_matrix = m - p
    assert np.linalg.eigvalsh(n_matrix)[0] > -1e-12
    inverse = np.linalg.inv(m)
    b = inverse @ n_matrix
    sigma = np.linalg.inv(p)
    step = b @ sigma @ b.T + inverse @ n_matrix @ inverse + inverse
    np.testing.assert_allclose(step, sigma, atol=1e-12)
    off = m - np.diag(np.diag(m))
    if not signed:
        assert (off <= 0).all()
    assert comparison.judge(found.m).h_matrix
    # From a cold start Cov_s − Σ = −Bˢ Σ Bˢᵀ: the sweeps promised are needed and enough.
    root = np.linalg.cholesky(p)

    def left(sweeps: int) -> float:
        power = np.linalg.matrix_power(b, sweeps)
        return float(np.linalg.norm(root.T @ power @ sigma @ power.T @ root, 2))

    assert left(found.sweeps) <= 1e-6 * (1 + 1e-9)
    assert left(found.sweeps - 2) > 1e-6


def test_split_is_a_host_loop_for_the_users_precision() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6, 9))
    p, mean = x @ x.T / 9, rng.normal(size=6)
    outcome = apply(p, board(), mean, ways=("split",))
    loop = outcome.readback
    assert isinstance(loop, HostLoop)
    np.testing.assert_allclose(loop.precision.toarray(), p)
    np.testing.assert_allclose(loop.potential, p @ mean, atol=1e-12)


def test_sweeps_hold_in_simulation() -> None:
    """Draws of the loop from independent chains: their covariance against P⁻¹. χ² of 6 whitened variances, false alarm 1e-6."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(6, 9))
    p = x @ x.T / 9
    found = splitting.split(sparse.csr_array(p), False, accuracy=1e-4)
    m, chains = found.m.toarray(), 40_000
    noise = np.linalg.cholesky(m - p + 1e-12 * np.eye(6))
    inverse = np.linalg.inv(m)
    eta = np.linalg.cholesky(inverse)
    state = np.zeros((6, chains))
    for _ in range(found.sweeps):
        xi = noise @ rng.normal(size=(6, chains))
        state = inverse @ ((m - p) @ state + xi) + eta @ rng.normal(size=(6, chains))
    white = np.linalg.cholesky(p).T @ state
    # Var of a sample variance of unit normals is 2/N; 5.2 standard deviations for six at 1e-6.
    assert np.abs(white.var(axis=1) - 1).max() < 5.2 * np.sqrt(2 / chains) + 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_nearest_network_agrees_with_the_conic_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 8))
    p = sparse.csr_array(x @ x.T / 8)
    for signed in (True, False):
        own, _, loss = nearest.nearest(p, signed, conic=False)
        conic, gauge, best = nearest.nearest(p, signed, conic=True)
        assert loss <= best * 1.05 + 1e-6
        assert best <= loss + 1e-6
        m = -np.abs(own)
        np.fill_diagonal(m, np.diag(own))
        assert np.linalg.eigvalsh(m)[0] > -1e-9 * np.diag(own).max()
        off = own * np.outer(gauge, gauge)
        np.fill_diagonal(off, 0)
        assert signed or (off <= 1e-12).all()
        assert conic.shape == own.shape


def test_mean_keeps_digits_of_badly_scaled_models() -> None:
    scale = 10.0 ** np.array([-6.0, 0.0, 6.0])
    p = np.array([[2.0, -1, 0.5], [-1, 2, -1], [0.5, -1, 2]]) * np.outer(scale, scale)
    mean = np.array([1e6, 2.0, -3e-6])
    energy = energy_of(p, mean)
    np.testing.assert_allclose(moments.mean(energy, moments.precision(energy)), mean, rtol=1e-12)


def test_one_variable_and_no_couplings() -> None:
    assert_exact(np.array([[4.0]]), np.array([2.0]), apply(np.array([[4.0]]), board(), np.array([2.0])))
    p = np.diag([1e-12, 1.0, 1e12])
    assert_exact(p, np.zeros(3), apply(p, board()))


@pytest.mark.parametrize("p", [np.ones((2, 2)), np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros((2, 2))])
@pytest.mark.parametrize("family", [Family.CAPACITIVE, Family.RESISTIVE])
def test_improper_models_without_a_mean_are_found_too(p: np.ndarray, family: Family) -> None:
    with pytest.raises(SpuccError) as caught:
        apply(p, board(family=family, signed=True))
    assert caught.value.diagnostics[0].code == "E0510"


def test_a_board_without_couplers_leaves_all_to_the_host() -> None:
    p = np.array([[2.0, -1, 0], [-1, 2, -1], [0, -1, 2]])
    bare = board().without(couplers=[(i, j) for i in range(8) for j in range(i)])
    outcome = apply(p, bare)
    assert_exact(p, np.zeros(3), outcome)
    assert outcome.value.matrix.nnz == 3
    with pytest.raises(SpuccError) as caught:
        apply(p, bare.without(cells=range(8)))
    assert caught.value.diagnostics[0].code == "E0542"
