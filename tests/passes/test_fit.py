"""`fit`: values in their banks' ranges that make exactly the matrix asked for, read back to the cells' own units."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from scipy import linalg, optimize, sparse

from spucc.arrays import frozen
from spucc.circuit import network
from spucc.device import Adc, Bank, Calibration, Circuit, Device, DeviceSpec, Family, Strays, TopologySpec
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes.fit import Fit
from spucc.passes.fitting import conductance_box, conductance_fit, range_floor, spring_box, spring_scaling
from spucc.passes.realising import comparison
from spucc.pipeline import Context
from spucc.readback import Affine
from spucc.stages import Job, Placed, edge_list, plain_roles
from spucc.topology import build


def device(family: Family = Family.CAPACITIVE, **changes: object) -> Device:
    unit = "F" if family is Family.CAPACITIVE else "S"
    top = 1.02e-9 if family is Family.CAPACITIVE else 1.02e-3
    fields: dict[str, object] = {
        "name": "board",
        "family": family,
        "topology": TopologySpec(kind="complete", nodes=12),
        "ground": Bank(unit=unit, max=top, bits=8),
        "coupling": Bank(unit=unit, max=top, bits=8, signed=family is Family.RESISTIVE),
        "bias": Bank(unit="A", max=2e-3, bits=11, signed=True) if family is Family.RESISTIVE else None,
        "circuit": Circuit(theta_min=1e-18, theta_max=1e-6),
        "strays": Strays(ground=10e-12 if family is Family.CAPACITIVE else 0.0),
        "adc": Adc(full_scale=4.0),
    }
    fields.update(changes)
    spec = DeviceSpec(**fields)  # type: ignore[arg-type]
    return Device(spec, build(spec.topology))


def placed(k: np.ndarray, family: Family = Family.CAPACITIVE, bias: np.ndarray | None = None) -> Placed:
    n = k.shape[0]
    edges, values = edge_list(sparse.csr_array(k))
    ground = np.diag(k).copy()
    if family.springs:
        ground -= np.bincount(edges[:, 0], np.abs(values), n) + np.bincount(edges[:, 1], np.abs(values), n)
    cells = frozen(np.arange(n), np.int64)
    zero = frozen(np.zeros(n) if bias is None else bias)
    return Placed(
        family,
        Domain.REAL,
        cells,
        cells,
        edges,
        frozen(ground),
        frozen(-values),
        zero,
        1.0,
        cells,
        plain_roles(n),
    )


def fit(p: Placed, d: Device, optimize: int = 1):
    energy = Energy(layout([("x", (p.n,), Domain.REAL, None)]), np.zeros(p.n), Quadratic.zero(p.n))
    return Fit().apply(Job("x", energy, np.arange(p.n), p), d, Context(optimize=optimize))


def attractive(rng: np.random.Generator, n: int, margin: float) -> np.ndarray:
    a = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.6), 1)
    a = a + a.T
    return np.diag(a.sum(axis=1) + margin * rng.uniform(0.5, 2, n)) - a


def check(k: np.ndarray, d: Device, outcome, tolerance: float = 1e-9) -> None:
    """The values are within the banks and, through the device's own network and the read-back, make K⁻¹."""
    value, back = outcome.value, outcome.readback
    assert isinstance(back, Affine)
    g, c = d.spec.ground, d.spec.coupling
    assert (value.ground >= g.min).all() and (value.ground <= g.max).all()
    magnitude = np.abs(value.coupling[value.coupling != 0])
    assert (magnitude >= c.min).all() and (magnitude <= c.max * (1 + 1e-12)).all()
    assert c.signed or (value.coupling >= 0).all()
    matrix = network(d, value.cell, value.edges, value.ground, value.coupling).toarray()
    mean = np.linalg.solve(matrix, value.bias)
    cov = value.scale * np.linalg.inv(matrix)
    _got_mean, got = back.moments(mean, cov)
    sigma = np.linalg.inv(k)
    sd = np.sqrt(np.diag(sigma))
    assert np.abs((got - sigma) / np.outer(sd, sd)).max() < tolerance
    if (
        d.spec.circuit.theta_min * 1.01 < value.scale < d.spec.circuit.theta_max * 0.99
        and d.family is Family.CAPACITIVE
    ):
        assert np.sqrt(np.diag(cov)).max() == pytest.approx(d.spec.adc.full_scale / 4)


@pytest.mark.parametrize("optimize", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_capacitors_are_exact_and_in_range(seed: int, optimize: int) -> None:
    rng = np.random.default_rng(seed)
    k = attractive(rng, 8, 0.5)
    d = np.diag(10.0 ** rng.uniform(-4, 4, 8))
    k = d @ k @ d
    check(k, device(), fit(placed(k), device(), optimize))


def test_negative_couplers_with_strays_across_them() -> None:
    rng = np.random.default_rng(1)
    k = attractive(rng, 6, 1.0)
    s = rng.choice([-1.0, 1.0], 6)
    k = k * np.outer(s, s)
    board = device(
        coupling=Bank(unit="F", max=1e-9, signed=True), strays=Strays(ground=5e-12, coupling=2e-13)
    )
    full = np.where(k == 0, -1e-3, k)
    np.fill_diagonal(full, np.diag(k) + 0.1)
    check(full, board, fit(placed(full), board))


def test_calibrated_strays_are_absorbed() -> None:
    rng = np.random.default_rng(2)
    k = attractive(rng, 8, 0.5)
    board = device()
    board = replace(board, calibration=Calibration(stray_ground=frozen(rng.uniform(5e-12, 3e-11, 12))))
    check(k, board, fit(placed(k), board))


def test_balancing_never_rounds_worse_than_plain_scaling() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        k = attractive(rng, 10, 0.1)
        quick, slow = fit(placed(k), device(), 0), fit(placed(k), device(), 1)
        loss = [
            float(next(n for n in o.notes if "rounding" in n).split("KL ")[1].split()[0])
            for o in (quick, slow)
        ]
        assert loss[1] <= loss[0]


def test_ground_scaling_solves_the_scaling_equation() -> None:
    rng = np.random.default_rng(3)
    m = sparse.csr_array(attractive(rng, 9, 0.01))
    g = rng.uniform(0.1, 10, 9)
    d = spring_scaling.ground_scaling(m, g, np.ones(9))
    assert d is not None
    np.testing.assert_allclose(d * (m @ d), g, rtol=1e-9)
    # An independent solver of the same convex problem.
    dense = m.toarray()
    other = optimize.minimize(
        lambda y: 0.5 * np.exp(y) @ dense @ np.exp(y) - g @ y,
        np.zeros(9),
        method="BFGS",
        options={"gtol": 1e-8},
    )
    np.testing.assert_allclose(np.exp(other.x), d, rtol=1e-4)


def test_what_the_ranges_exclude_is_an_error_with_the_loss() -> None:
    k = np.array([[1.0, -0.9999], [-0.9999, 1.0]])
    with pytest.raises(SpuccError) as caught:
        fit(placed(k), device())
    assert caught.value.diagnostics[0].code == "E0530" and "`x[" in caught.value.diagnostics[0].title


def test_couplings_that_lost_their_digits_are_named() -> None:
    """1e24 + 1 − 1e24 is 0: no inverse, but a reason."""
    p = placed(np.diag([1.0, 2.0, 3.0]))
    spoilt = replace(
        p, ground=frozen([1.0, -1e24, 1e24]), edges=frozen([[1, 2]], np.int64), coupling=frozen([1e24])
    )
    with pytest.raises(SpuccError) as caught:
        fit(spoilt, device())
    first = caught.value.diagnostics[0]
    assert first.code == "E0530" and "`x[1]`" in first.title and first.help


def test_a_narrow_miss_is_fitted_in_kl_and_reported() -> None:
    k = np.array([[1.0, -0.992], [-0.992, 1.0]])
    outcome = fit(placed(k), device())
    assert any("range: the nearest network" in n and "(certified: none" in n for n in outcome.notes)
    value = outcome.value
    assert (value.ground >= 0).all() and (value.coupling <= 1.02e-9).all()


def test_nearest_in_the_box_agrees_with_a_direct_minimisation() -> None:
    rng = np.random.default_rng(5)
    k = attractive(rng, 4, 0.02)
    sigma = np.linalg.inv(k)
    edges, _values = edge_list(sparse.csr_array(k))
    m = edges.shape[0]
    box = spring_scaling.Box(
        np.full(4, 0.2), np.full(4, 1.0), np.zeros(m), np.full(m, 1.0), np.zeros(4), np.zeros(m)
    )
    found = spring_box.nearest_in_box(sparse.csr_array(k), edges, np.ones(m), box, optimal=True)
    assert (found.ground >= 0.2).all() and (found.coupling <= 1.0).all()

    def loss(z: np.ndarray) -> float:
        a = spring_box.matrix(4, edges, np.ones(m), z[4:])
        t = sigma / np.outer(np.exp(z[:4]), np.exp(z[:4]))
        return float(0.5 * (np.trace(a @ t) - 4 - np.linalg.slogdet(a @ t)[1]))

    start = np.concatenate([np.log(found.scale), found.ground, found.coupling])
    bounds = [(None, None)] * 4 + [(0.2, 1.0)] * 4 + [(0.0, 1.0)] * m
    best = min(
        optimize.minimize(loss, start + rng.normal(size=start.size) * s, bounds=bounds, method="L-BFGS-B").fun
        for s in (0.0, 0.05, 0.1)
    )
    assert found.divergence * 4 <= best * 1.02 + 1e-7
    assert found.divergence * 4 == pytest.approx(loss(start), rel=1e-6)


def narrow(n: int, m: int, floor: float = 0.0) -> spring_scaling.Box:
    """Ground capacitors of 0.05 to 1, couplers of `floor` to 1."""
    sides = (n, 0.05), (n, 1.0), (m, floor), (m, 1.0), (n, 0.0), (m, 0.0)
    return spring_scaling.Box(*(np.full(count, value) for count, value in sides))


def tied(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A law that `narrow` excludes, with correlations for covariances, and its couplers."""
    rng = np.random.default_rng(seed)
    sigma = np.linalg.inv(attractive(rng, n, 0.004) + 1e-3 * np.eye(n))
    sigma = sigma / np.sqrt(np.outer(np.diag(sigma), np.diag(sigma)))
    k = np.linalg.inv(sigma)
    k[np.abs(k) < 1e-6] = 0.0
    return np.linalg.inv(k), edge_list(sparse.csr_array(k))[0]


def kl_of(sigma: np.ndarray, b: np.ndarray) -> float:
    return float(0.5 * (np.trace(b @ sigma) - len(b) - np.linalg.slogdet(b @ sigma)[1]))


def test_the_nearest_pair_of_cells_by_brute_force() -> None:
    """Two cells at their best scales have KL = ½ log (1 − ρρ')²/((1 − ρ²)(1 − ρ'²)), ρ' = c/√((g + c)(h + c))."""
    rho = 0.99
    sigma, edges, box = np.array([[1.0, rho], [rho, 1.0]]), np.array([[0, 1]]), narrow(2, 1, 0.1)
    ground, coupler = np.linspace(0.05, 1.0, 39), np.linspace(0.1, 1.0, 37)
    g, h, c = np.meshgrid(ground, ground, coupler, indexing="ij")
    other = c / np.sqrt((g + c) * (h + c))
    best = 0.5 * np.log((1 - rho * other) ** 2 / ((1 - rho**2) * (1 - other**2))).min()
    found = spring_box.nearest_in_box(sparse.csr_array(np.linalg.inv(sigma)), edges, np.ones(1), box)
    floor = range_floor.range_floor(sigma, edges, np.ones(1), box)
    assert best > 0.01 and floor is not None
    assert 2 * found.divergence == pytest.approx(best, rel=1e-6)
    assert floor.bound == pytest.approx(best, rel=1e-4) and floor.bound <= best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [3, 4])
def test_floor_and_nearest_enclose_what_slsqp_finds(n: int, seed: int) -> None:
    sigma, edges = tied(n, seed)
    m, box = edges.shape[0], narrow(n, edges.shape[0])
    found = spring_box.nearest_in_box(sparse.csr_array(np.linalg.inv(sigma)), edges, np.ones(m), box, True)
    floor = range_floor.range_floor(sigma, edges, np.ones(m), box)
    assert floor is not None

    def loss(z: np.ndarray) -> float:
        t = np.exp(z[:n])
        return kl_of(sigma, spring_box.matrix(n, edges, np.ones(m), z[n:]) * np.outer(t, t))

    rng = np.random.default_rng(seed)
    bounds = [(-8.0, 8.0)] * n + [(0.05, 1.0)] * n + [(0.0, 1.0)] * m
    starts = (np.concatenate([rng.normal(size=n), rng.uniform(0.05, 1, n + m)]) for _ in range(6))
    best = min(
        optimize.minimize(loss, z, method="SLSQP", bounds=bounds, options={"maxiter": 500, "ftol": 1e-12}).fun
        for z in starts
    )
    assert floor.bound <= best + 1e-9
    assert n * found.divergence <= best * (1 + 1e-4) + 1e-7


def test_no_network_in_range_is_below_the_floor() -> None:
    """The proof needs no solver: what `certified` makes of spoilt multipliers is a bound all the same, on 3000 networks near
    the best one."""
    n = 5
    sigma, edges = tied(n, 7)
    m, box = edges.shape[0], narrow(n, edges.shape[0])
    floor = range_floor.range_floor(sigma, edges, np.ones(m), box)
    near = spring_box.nearest_in_box(sparse.csr_array(np.linalg.inv(sigma)), edges, np.ones(m), box, True)
    assert floor is not None and 0 < floor.bound <= n * near.divergence
    rng = np.random.default_rng(1)
    low, high = np.r_[box.ground_low, box.coupling_low], np.r_[box.ground_high, box.coupling_high]
    best = np.linalg.inv(near.scale[:, None] * np.linalg.inv(
        spring_box.matrix(n, edges, np.ones(m), np.r_[near.ground, near.coupling])
    ) * near.scale)  # fmt: skip
    spoilt = [
        range_floor.certified(
            sigma,
            edges,
            np.ones(m),
            box,
            np.linalg.inv(best * (1 + 0.01 * rng.random())),
            (rng.random(m) * s,) * 2,
        )
        for s in (0.0, 0.01, 0.3, 3.0)
    ]
    lowest = np.inf
    for _ in range(3000):
        size = 10.0 ** rng.uniform(-3, 0)
        w = np.clip(np.r_[near.ground, near.coupling] * np.exp(size * rng.normal(size=n + m)), low, high)
        t = np.exp(0.2 * size * rng.normal(size=n)) / near.scale
        lowest = min(lowest, kl_of(sigma, spring_box.matrix(n, edges, np.ones(m), w) * np.outer(t, t)))
    assert lowest < 1.1 * n * near.divergence
    assert max(floor.bound, *spoilt) <= lowest


def notes_of(k: np.ndarray, optimize: int = 1) -> str:
    return " ".join(fit(placed(k), device(), optimize).notes)


def test_the_range_is_reported_apart_from_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a proof is called certified: none at `--optimize 0`, none beyond 32 cells, none when the solver gives up."""
    rng = np.random.default_rng(0)
    exact = notes_of(attractive(rng, 8, 0.5))
    assert "floor 0" in exact and "bits: plain rounding" in exact
    tight = np.array([[1.0, -0.992], [-0.992, 1.0]])
    assert "(certified: none" in notes_of(tight)
    assert "(not certified)" in notes_of(tight, optimize=0)
    monkeypatch.setattr(range_floor, "range_floor", lambda *_: None)
    assert "did not converge" in notes_of(tight)
    monkeypatch.setattr(range_floor, "LARGEST", 1)
    assert "up to 1 cells" in notes_of(tight)


def test_measured_ranges_replace_the_banks() -> None:
    """Level tables whose tops differ from cell to cell: no value leaves its own."""
    tops = np.random.default_rng(0).uniform(0.9, 1.1, (12, 1))
    table = 1.02e-9 * tops * np.linspace(0, 1, 256)
    board = replace(device(), calibration=Calibration(ground_levels=frozen(table)))
    k = np.eye(4) * 2 - 0.3 * (np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1))
    value = fit(placed(k), board).value
    assert (value.ground <= table[:4, -1] * (1 + 1e-12)).all()
    check(
        k,
        replace(board, spec=msgspec.structs.replace(board.spec, ground=Bank(unit="F", max=1.2e-9))),
        fit(placed(k), board),
    )


def test_coupler_floors_are_kept() -> None:
    """A board whose couplers cannot be switched off: every pair of used cells has at least the floor."""
    board = device(coupling=Bank(unit="F", min=1e-12, max=1.02e-9))
    k = np.eye(4) * 2 - 0.3 * (np.diag(np.ones(3), 1) + np.diag(np.ones(3), -1))
    outcome = fit(placed(k), board)
    assert outcome.value.edges.shape[0] == 6
    assert (outcome.value.coupling >= 1e-12 * (1 - 1e-9)).all()


def test_noise_outside_its_range_is_an_error() -> None:
    board = device(circuit=Circuit(theta_min=1.0, theta_max=2.0))
    with pytest.raises(SpuccError) as caught:
        fit(placed(np.eye(2)), board)
    assert caught.value.diagnostics[0].code == "E0531"


@pytest.mark.parametrize("seed", range(4))
def test_conductances_are_exact_and_in_range_with_means(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(7, 9))
    d = np.diag(10.0 ** rng.uniform(-2, 2, 7))
    k, mean = d @ x @ x.T @ d, rng.normal(size=7)
    board = device(Family.RESISTIVE)
    bias = k @ np.linalg.solve(d, mean)
    outcome = fit(placed(k, Family.RESISTIVE, bias), board)
    check(k, board, outcome)
    assert np.abs(outcome.value.bias).max() <= 2e-3 * (1 + 1e-12)
    matrix = network(
        board, outcome.value.cell, outcome.value.edges, outcome.value.ground, outcome.value.coupling
    ).toarray()
    volts = np.linalg.solve(matrix, outcome.value.bias)
    np.testing.assert_allclose(outcome.readback.draws(volts), np.linalg.solve(d, mean), rtol=1e-8)


def test_unequal_resistive_ranges_use_them_fully() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 6))
    k = sparse.csr_array(x @ x.T)
    d = conductance_fit.jacobi_scale(k, np.ones(5), 0.1)
    g = k.toarray() * np.outer(d, d)
    off = np.abs(g - np.diag(np.diag(g)))
    assert np.diag(g).max() <= 1 + 1e-9 and off.max() <= 0.1 * (1 + 1e-9)
    # No single scale can be raised.
    for i in range(5):
        assert g[i, i] > 1 - 1e-9 or off[i].max() > 0.1 * (1 - 1e-9)


def nearest_by_cones(sigma: np.ndarray, edges: np.ndarray, ranges: conductance_box.Ranges) -> float:
    """KL of the nearest resistive network [nat], by cvxpy: B_ij = t_i t_j G_ij and T = t² with geometric means."""
    cp = pytest.importorskip("cvxpy")
    n = sigma.shape[0]
    b, area = cp.Variable((n, n), symmetric=True), cp.Variable(n, pos=True)
    limits = [
        cp.diag(b) >= cp.multiply(ranges.ground_low, area),
        cp.diag(b) <= cp.multiply(ranges.ground_high, area),
    ]
    for e, (i, j) in enumerate(edges):
        mean = cp.geo_mean(cp.hstack([area[i], area[j]]))
        limits += [-b[i, j] <= ranges.coupling_high[e] * mean, b[i, j] <= -ranges.coupling_low[e] * mean]
    joined = {(int(i), int(j)) for i, j in edges}
    limits += [b[i, j] == 0 for i in range(n) for j in range(i) if (j, i) not in joined]
    problem = cp.Problem(cp.Minimize(cp.trace(b @ sigma) - cp.log_det(b)), limits)
    problem.solve(solver=cp.CLARABEL)
    return float(0.5 * (problem.value - n - np.linalg.slogdet(sigma)[1]))


@pytest.mark.parametrize("seed", range(6))
def test_the_nearest_conductances_are_the_cones_optimum(seed: int) -> None:
    """Tight floors, couplers of one sign and missing couplers, each alone and together: the local search ends at the global
    optimum, and the dual proves it."""
    rng = np.random.default_rng(seed)
    n = 6
    x = rng.normal(size=(n, 2 * n))
    sigma = np.linalg.inv(x @ x.T / (2 * n))
    edges = np.array([(i, j) for i in range(n) for j in range(i + 1, n)])
    if seed % 2:
        edges = edges[rng.random(edges.shape[0]) < 0.7]
    m = edges.shape[0]
    floor, low = (0.0, 0.5, 0.5)[seed % 3], (0.0, -0.1, 0.0)[seed % 3]
    ranges = conductance_box.Ranges(np.full(n, floor), np.ones(n), np.full(m, low), np.full(m, 0.1))
    near = conductance_box.nearest_conductances(
        sigma, edges, ranges, 1 / np.sqrt(np.diag(np.linalg.inv(sigma)))
    )
    best = nearest_by_cones(sigma, edges, ranges)
    assert ranges.hold(near.ground, near.coupling)
    assert n * near.divergence == pytest.approx(best, rel=1e-4, abs=1e-7)
    assert 0.999 * best - 1e-7 <= n * near.floor <= best * (1 + 1e-5) + 1e-7


def test_a_resistive_near_miss_is_fitted_and_far_ones_are_refused() -> None:
    k = np.array([[1.0, -0.52, 0.1], [-0.52, 1.1, 0.2], [0.1, 0.2, 0.9]])
    mean = np.array([1.0, -2.0, 0.5])
    board = device(
        Family.RESISTIVE,
        ground=Bank(unit="S", min=0.9e-3, max=1e-3),
        coupling=Bank(unit="S", max=4.2e-4, signed=True),
    )
    outcome = fit(placed(k, Family.RESISTIVE, k @ mean), board)
    assert any("costs KL" in note and "certified" in note for note in outcome.notes)
    value, back = outcome.value, outcome.readback
    assert (value.ground >= 0.9e-3).all() and (np.abs(value.coupling) <= 5e-4).all()
    matrix = network(board, value.cell, value.edges, value.ground, value.coupling).toarray()
    got_mean, got = back.moments(np.linalg.solve(matrix, value.bias), value.scale * np.linalg.inv(matrix))
    np.testing.assert_allclose(got_mean, mean, rtol=1e-9)
    np.testing.assert_allclose(np.diag(got), np.diag(np.linalg.inv(k)), rtol=0.1)
    board = device(
        Family.RESISTIVE,
        ground=Bank(unit="S", min=0.9e-3, max=1e-3),
        coupling=Bank(unit="S", max=1e-5, signed=True),
    )
    with pytest.raises(SpuccError) as caught:
        fit(placed(k, Family.RESISTIVE), board)
    assert caught.value.diagnostics[0].code == "E0530" and "x[0]" in caught.value.diagnostics[0].title


def test_dominant_scaling_leaves_weak_couplings_at_jacobis_scale() -> None:
    m = comparison.comparison(sparse.csr_array(np.array([[4.0, -1e-3, 0], [-1e-3, 1.0, 0], [0, 0, 9.0]])))
    np.testing.assert_allclose(comparison.dominant_scaling(m), [0.5, 1.0, 1 / 3], rtol=1e-2)
    assert linalg.eigvalsh(m.toarray())[0] > 0


def test_means_that_no_bias_current_reaches_are_added_at_the_read_out() -> None:
    """A mean of 10⁹ standard deviations: the cells swing about zero, and the law is still the model's."""
    import spucc
    from spucc.running.law import program_law

    precision = np.array([[4.0, 1.0], [1.0, 2.0]])
    program = spucc.compile(spucc.gaussian([1e9, -3e8], precision=precision), target="resistive-64")
    law = program_law(program)
    np.testing.assert_allclose(law.mean, [1e9, -3e8], rtol=1e-9)
    np.testing.assert_allclose(law.covariance, np.linalg.inv(precision), rtol=0.02)
    assert any("read-out" in note for step in program.jobs[0].steps for note in step.notes)
