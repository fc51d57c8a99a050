"""Chains: exact at finite strength, against dense linear algebra that shares no code with the solver."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from spucc.arrays import frozen
from spucc.circuit import assemble
from spucc.device import Device, Family
from spucc.devices import load_device
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes.embed import Embed, start
from spucc.passes.embedding.chain_margin import Rounding, _gradient
from spucc.passes.embedding.chain_solver import Jacobian, read, tune
from spucc.passes.place import Place
from spucc.pipeline import Context, parse_passes
from spucc.placement import verify
from spucc.readback import Affine
from spucc.stages import Couplings, Job, Placed, plain_roles


def spring_model(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    W = np.triu(rng.random((n, n)), 1)
    W = W + W.T
    return np.diag(W.sum(axis=1) + 0.3 * n * rng.random(n)) - W


def wishart(n: int, seed: int) -> np.ndarray:
    A = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return A @ A.T / (2 * n)


def gaussian_process(n: int, condition: float, seed: int) -> np.ndarray:
    x = np.sort(np.random.default_rng(seed).random(n))
    S = np.exp(-((x[:, None] - x) ** 2) / (2 * 0.3**2))
    return np.linalg.inv(S + np.eye(n) * np.linalg.eigvalsh(S)[-1] / condition)


def job_of(P: np.ndarray, device: Device, bias=None) -> Job:
    n = P.shape[0]
    matrix = sparse.csr_array(P)
    b = frozen(np.zeros(n) if bias is None else bias)
    energy = Energy(layout([("x", (n,), Domain.REAL, None)]), frozen(-b), Quadratic(matrix))
    cells = frozen(np.arange(n), np.int64)
    return Job("job", energy, cells, Couplings(device.family, Domain.REAL, matrix, b, cells, plain_roles(n)))


def embedded(
    P: np.ndarray, device: Device, bias=None, optimize: int = 1, **options
) -> tuple[Placed, Affine, Placed]:
    """The embedded placement, its read-back to the variables, and the placement before `embed`."""
    job, context = job_of(P, device, bias), Context(optimize=optimize)
    before = Place().apply(job, device, context)
    after = Embed(**options).apply(replace(job, value=before.value), device, context)
    verify(after.value, job.value, device)
    assert isinstance(before.readback, Affine)
    back = before.readback if after.readback is None else before.readback.after(after.readback)
    return after.value, back, before.value


def matrix(placed: Placed) -> np.ndarray:
    return assemble(placed.family, placed.edges, placed.ground, placed.coupling).toarray()


def kl(placed: Placed, back: Affine, P: np.ndarray) -> float:
    """KL(target ‖ read-out) per variable, by eigenvalues."""
    K = matrix(placed)
    if np.linalg.eigvalsh(K)[0] <= 0:
        return np.inf
    _, S = back.moments(np.zeros(placed.n), np.linalg.inv(K))
    L = np.linalg.cholesky(P)
    w = np.linalg.eigvalsh(L.T @ S @ L)
    return float(0.5 * np.sum(1 / w - 1 + np.log(w)) / P.shape[0])


def rounded(placed: Placed, device: Device) -> Placed:
    """Every value rounded to the nearest level, nothing optimised."""
    spec = device.spec
    unit = min(spec.coupling.max / np.abs(placed.coupling).max(), spec.ground.max / placed.ground.max())
    step = spec.coupling.step / unit
    return replace(
        placed,
        ground=frozen(np.round(placed.ground / step) * step),
        coupling=frozen(np.round(placed.coupling / step) * step),
    )


CASES = [
    (spring_model(8, 0), "king-8x8"),
    (spring_model(8, 1), "chimera-4x4"),
    (spring_model(16, 2), "chimera-4x4"),
    (wishart(8, 0), "chimera(4,4){family=resistive}"),
    (wishart(16, 1), "chimera(4,4){family=resistive}"),
    (wishart(8, 2), "king(8,8){family=resistive}"),
    (gaussian_process(8, 1e2, 0), "chimera(4,4){family=resistive}"),
]


@pytest.mark.parametrize(("P", "target"), CASES)
def test_chains_are_exact_and_beat_strong_ones_a_hundredfold(P: np.ndarray, target: str) -> None:
    device = load_device(target)
    placed, back, before = embedded(P, device, exact=True)
    assert kl(placed, back, P) < 1e-12
    assert abs(back.matrix.sum(axis=1) - 1).max() < 1e-12
    assert back.matrix.data.min() > 0
    if device.family.springs:
        assert placed.ground.min() >= 0
        assert placed.coupling.min() >= 0
    # The best of nine strengths without compensation, each rounded: what a user would do by hand.
    mean = Affine(
        sparse.csr_array(np.eye(P.shape[0])[before.chain].T / np.bincount(before.chain)[:, None]), back.offset
    )
    inner = before.chain[before.edges[:, 0]] == before.chain[before.edges[:, 1]]
    by_hand = []
    for factor in np.geomspace(0.05, 20, 9):
        more = np.where(inner, (factor - 1) * before.coupling, 0)
        ground = before.ground.copy()
        if not device.family.springs:
            np.add.at(ground, before.edges.ravel(), np.repeat(more, 2))
        other = replace(before, coupling=frozen(before.coupling + more), ground=frozen(ground))
        by_hand.append((kl(other, mean, P), kl(rounded(other, device), mean, P)))
    exact, after_rounding = np.min(by_hand, axis=0)
    assert exact > 1e6 * kl(placed, back, P)
    assert after_rounding > 10 * kl(rounded(placed, device), back, P)


def test_ill_conditioned_and_long_chains_stay_exact() -> None:
    for P, target in (
        (gaussian_process(8, 1e4, 0), "chimera(4,4){family=resistive}"),
        (wishart(16, 0), "king(32,32){family=resistive}"),
    ):
        placed, back, _ = embedded(P, load_device(target), optimize=0, exact=True)
        assert kl(placed, back, P) < 1e-12


def test_means_come_out_of_biases() -> None:
    device = load_device("chimera(4,4){family=resistive}")
    P, b = wishart(8, 4), np.random.default_rng(0).standard_normal(8)
    placed, back, _ = embedded(P, device, bias=b)
    mean, _ = back.moments(np.linalg.solve(matrix(placed), placed.bias), np.eye(placed.n))
    assert np.abs(mean - np.linalg.solve(P, b)).max() < 1e-9


def test_models_that_capacitors_cannot_chain_exactly_trade_exactness_for_rounding() -> None:
    """Between unsigned capacitors every chain adds attraction where the model has none (mapping.md §3)."""
    device = load_device("chimera-4x4")
    P = spring_model(10, 7)
    drop = np.random.default_rng(1).random(P.shape) < 0.5
    P = np.where((drop | drop.T) & ~np.eye(10, dtype=bool), 0.0, P)
    placed, back, before = embedded(P, device)
    assert placed.n > 10
    assert kl(placed, back, P) < 1e-3
    assert kl(rounded(placed, device), back, P) < 1e-2
    assert placed.ground.min() >= 0
    del before


def test_nothing_happens_without_chains() -> None:
    device = load_device("king-8x8")
    P = spring_model(4, 0)
    job = job_of(P, device)
    before = Place().apply(job, device, Context())
    after = Embed().apply(replace(job, value=before.value), device, Context())
    assert after.value is before.value
    assert after.readback is None


def test_fixed_strength_and_none_at_all() -> None:
    device = load_device("chimera-4x4")
    P = spring_model(8, 3)
    placed, back, _ = embedded(P, device, strength=0.5)
    assert kl(placed, back, P) < 1e-12
    plain, mean, before = embedded(P, device, compensate=False)
    assert plain is before
    assert kl(plain, mean, P) > 1e-6
    resistive = load_device("chimera(4,4){family=resistive}")
    with pytest.raises(SpuccError, match="E0581"):
        embedded(gaussian_process(8, 1e4, 0), resistive, strength=1e-3)
    registry = {"embed": lambda: Embed}
    assert parse_passes("embed{strength=0.5}", registry) == [Embed(strength=0.5)]
    with pytest.raises(SpuccError, match="E0604"):
        parse_passes("embed{strength=-1.0}", registry)


def test_same_input_same_bytes() -> None:
    device = load_device("chimera-4x4")
    first, second = (embedded(spring_model(8, 5), device)[0] for _ in range(2))
    assert first.coupling.tobytes() == second.coupling.tobytes()
    assert first.ground.tobytes() == second.ground.tobytes()


@pytest.mark.parametrize(
    "target", ["chimera-4x4", "chimera-4x4{coupling.signed=true}", "chimera(4,4){family=resistive}"]
)
def test_derivatives_against_finite_differences(target: str) -> None:
    device = load_device(target)
    P = spring_model(6, 1)
    if target != "chimera-4x4":
        P = P * np.where(np.add.outer(np.arange(6), np.arange(6)) % 3 == 1, -1, 1)
        P = P + np.diag(2 * np.abs(P).sum(axis=1))
    job = job_of(P, device)
    network, L = start(Place().apply(job, device, Context()).value)
    found = tune(network, L, goal=1e-11)
    assert found is not None
    network, reading = found
    jacobian = Jacobian(network, reading, L)
    rng = np.random.default_rng(0)
    m = network.edges.shape[0] + network.ground.size
    v, w = rng.standard_normal(m), rng.standard_normal(int(jacobian.several.sum()))
    h = 1e-5
    ahead, behind = (read(jacobian.move(network, s * h * v, s * h * w), L) for s in (1, -1))
    assert ahead is not None
    assert behind is not None
    numeric = (ahead.T - behind.T) / (2 * h)
    analytic = jacobian.forward(v, w)
    assert np.abs(numeric - analytic).max() < 1e-6 * np.abs(analytic).max()
    S = rng.standard_normal(L.shape)
    S = S + S.T
    back_v, back_w = jacobian.adjoint(S)
    assert (analytic * S).sum() == pytest.approx(v @ back_v + w @ back_w, rel=1e-9)
    # The loss's gradient, along a direction that leaves T as it is.
    rounding = Rounding.of(device.spec.coupling, device.spec.ground, np.full(network.ground.size, 2e-11))
    f, of_v, of_w = _gradient(rounding, network, reading, L, jacobian)
    away = jacobian.solve(analytic, 1e-13)
    fix_v, fix_w = jacobian.adjoint(away)
    dv, dw = v - fix_v, w - fix_w
    values = []
    for s in (1, -1):
        moved = jacobian.move(network, s * h * dv, s * h * dw)
        at = read(moved, L)
        assert at is not None
        values.append(_gradient(rounding, moved, at, L, Jacobian(moved, at, L))[0])
    assert (values[0] - values[1]) / (2 * h) == pytest.approx(of_v @ dv + of_w @ dw, rel=2e-4, abs=1e-5)
    assert np.isfinite(f)


def test_products_solve_the_same_equations_as_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    import spucc.passes.embedding.chain_solver as chain_solver

    network, L = start(
        Place()
        .apply(job_of(spring_model(8, 0), load_device("chimera-4x4")), load_device("chimera-4x4"), Context())
        .value
    )
    monkeypatch.setattr(chain_solver, "_DENSE_EQUATIONS", 0)
    found = tune(network, L, goal=1e-8)
    assert found is not None
    assert found[1].residual < 1e-8


@pytest.mark.slow
def test_thirty_two_variables_on_a_large_board() -> None:
    P = spring_model(32, 0)
    placed, back, _ = embedded(P, load_device("chimera-16x16"), optimize=0, exact=True)
    assert placed.n == 286
    assert kl(placed, back, P) < 1e-12


def test_springs_of_both_signs() -> None:
    device = load_device("chimera-4x4{coupling.signed=true}")
    rng = np.random.default_rng(9)
    W = np.triu(rng.uniform(-1, 1, (8, 8)), 1)
    W = W + W.T
    P = np.diag(np.abs(W).sum(axis=1) * 1.6) + W
    assert device.family is Family.CAPACITIVE
    placed, back, _ = embedded(P, device)
    assert kl(placed, back, P) < 1e-3
    assert placed.ground.min() >= 0
