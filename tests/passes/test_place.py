"""Placement: support, templates, searches and proofs, held to the shipped conformance check and to oracles that share no code."""

from dataclasses import replace
from itertools import permutations

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from spucc.arrays import frozen
from spucc.circuit import assemble
from spucc.device import Device, Family, TopologySpec
from spucc.devices import load_device
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes.place import Place
from spucc.passes.placing.board_graph import adjacency, live_graph
from spucc.passes.placing.certified_placement import certified
from spucc.passes.placing.chains import is_embedding, trim
from spucc.passes.placing.embedding_templates import template
from spucc.passes.placing.minor_embedding import find_embedding
from spucc.passes.placing.placement_proofs import treewidth_at_least
from spucc.passes.placing.spectral_placement import information, place_by_weights
from spucc.passes.placing.subgraph_search import find_monomorphism
from spucc.pipeline import Context, Outcome, parse_passes
from spucc.placement import diagnose, verify
from spucc.readback import Affine, Majority
from spucc.stages import Couplings, Job, Placed, plain_roles
from spucc.topology import build


def job(P, family: Family, domain: Domain = Domain.REAL, bias=None, quartic=None) -> Job:
    matrix = sparse.csr_array(P)
    n = matrix.shape[0]
    energy = Energy(layout([("x", (n,), domain, None)]), frozen(np.zeros(n)), Quadratic(matrix))
    couplings = Couplings(
        family,
        domain,
        matrix,
        frozen(np.zeros(n) if bias is None else bias),
        frozen(np.arange(n), np.int64),
        plain_roles(n),
        quartic,
    )
    return Job("job", energy, frozen(np.arange(n), np.int64), couplings)


def laplacian(n: int, pairs, ground: float = 0.1, rng=None) -> sparse.csr_array:
    """A precision that capacitors realise: attractive couplings on the given pairs."""
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    w = np.ones(len(pairs)) if rng is None else rng.uniform(0.2, 1.0, len(pairs))
    A = sparse.coo_array((w, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    A = A + A.T
    return sparse.csr_array(sparse.diags_array(np.asarray(A.sum(axis=1)).ravel() + ground) - A)


def of_kind(ground: float = 0.1, order=None, **topology) -> sparse.csr_array:
    graph = build(TopologySpec(**topology))
    pairs = graph.edges if order is None else order[graph.edges]
    return laplacian(graph.nodes or 0, pairs, ground)


def place(P, device: Device, **options) -> tuple[Outcome, Couplings]:
    this = job(P, device.family)
    outcome = Place(**options).apply(this, device, Context())
    assert isinstance(outcome.value, Placed)
    return outcome, this.value


def code_of(call) -> str:
    with pytest.raises(SpuccError) as caught:
        call()
    assert caught.value.diagnostics[0].help
    return caught.value.diagnostics[0].code


# --- one cell a variable --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["ideal", "spu8", "spu8-signed", "resistive-64", "grid-16x16", "pegasus-4"]
)
def test_components_make_the_matrix_that_was_asked_for(target: str) -> None:
    device = load_device(target)
    P = laplacian(8, [(k, k + 1) for k in range(7)], rng=np.random.default_rng(0))
    outcome, couplings = place(P, device)
    placed = outcome.value
    assert not list(diagnose(placed, couplings, device))
    K = assemble(placed.family, placed.edges, placed.ground, placed.coupling).toarray()
    assert np.abs(K - P.toarray()).max() < 1e-14
    assert placed.scale == 1.0
    assert outcome.readback is None


def test_ideal_takes_a_million_cells() -> None:
    n = 10**6
    P = sparse.diags_array([-np.ones(n - 1), 3 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    outcome, _ = place(P, load_device("ideal"))
    assert np.array_equal(outcome.value.cell, np.arange(n))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("topology", "target"),
    [
        ({"kind": "grid", "rows": 16, "cols": 16}, "grid-16x16"),
        ({"kind": "grid", "rows": 12, "cols": 12}, "grid(12,12)"),
        ({"kind": "king", "rows": 8, "cols": 8}, "king-8x8"),
        ({"kind": "chimera", "rows": 3, "cols": 3}, "chimera-4x4"),
        ({"kind": "complete", "nodes": 4}, "pegasus-4"),
    ],
)
def test_a_scrambled_lattice_is_found_again(topology: dict, target: str, seed: int) -> None:
    device = load_device(target)
    nodes = build(TopologySpec(**topology)).nodes
    P = of_kind(order=np.random.default_rng(seed).permutation(nodes), **topology)
    outcome, couplings = place(P, device)
    assert outcome.value.n == nodes
    verify(outcome.value, couplings, device)


def test_dead_parts_are_avoided() -> None:
    device = load_device("grid-16x16").without(cells=(0, 17, 40, 130), couplers=((100, 101), (200, 216)))
    P = of_kind(kind="grid", rows=9, cols=9, order=np.random.default_rng(1).permutation(81))
    outcome, couplings = place(P, device)
    assert outcome.value.n == 81
    verify(outcome.value, couplings, device)


def test_lattice_of_ninety_thousand_cells_is_read_row_by_row() -> None:
    device = load_device("king(320,310)")
    outcome, couplings = place(of_kind(kind="grid", rows=300, cols=300), device)
    assert outcome.value.n == 90_000
    verify(outcome.value, couplings, device)


@pytest.mark.parametrize("seed", range(30))
def test_exact_search_agrees_with_networkx(seed: int) -> None:
    rng = np.random.default_rng(seed)
    board_graph = nx.gnp_random_graph(9, 0.45, seed=seed)
    model_graph = nx.gnp_random_graph(int(rng.integers(4, 8)), 0.4, seed=seed + 1000)
    matcher = nx.isomorphism.GraphMatcher(board_graph, model_graph)
    expected = matcher.subgraph_is_monomorphic()
    board = adjacency(9, np.array(board_graph.edges()).reshape(-1, 2))
    model = adjacency(model_graph.number_of_nodes(), np.array(model_graph.edges()).reshape(-1, 2))
    cells, proved = find_monomorphism(model, board, np.arange(9))
    assert proved
    assert (cells is not None) == expected
    if cells is not None:
        assert len(set(cells.tolist())) == model.shape[0]
        assert all(board_graph.has_edge(cells[a], cells[b]) for a, b in model_graph.edges())


def test_couplers_that_cannot_be_switched_off_are_listed() -> None:
    device = load_device("grid(3,3){strays.coupling=1e-12}")
    P = laplacian(4, [(0, 1), (1, 2), (2, 3)])
    outcome, couplings = place(P, device)
    verify(outcome.value, couplings, device)
    placed = outcome.value
    ids = set(device.coupler_ids(placed.cell[placed.edges]).tolist())
    used = set(placed.cell.tolist())
    assert ids == {k for k, (a, b) in enumerate(device.topology.edges.tolist()) if a in used and b in used}
    K = assemble(placed.family, placed.edges, placed.ground, placed.coupling).toarray()
    assert np.abs(K - P.toarray()).max() < 1e-14


# --- by dependence, without chains ----------------------------------------------------------------------------------------


def value_of(w: np.ndarray, device: Device, cells: np.ndarray) -> float:
    at = {int(c): k for k, c in enumerate(cells)}
    return sum(w[at[a], at[b]] for a, b in device.topology.edges.tolist() if a in at and b in at)


@pytest.mark.parametrize("seed", range(2))
def test_nine_variables_reach_the_certified_optimum_and_the_best_permutation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    device = load_device("grid(3,3)")
    X = rng.random((9, 2))
    S = np.exp(-((X[:, None] - X) ** 2).sum(axis=2) / 0.3) + 0.05 * np.eye(9)
    w = information(np.linalg.inv(S))
    board, usable = live_graph(device), np.arange(9)
    cells, value = place_by_weights(w, board, device.topology.position, usable, np.random.default_rng(0))
    assert value == pytest.approx(value_of(w, device, cells), rel=1e-12)
    every = np.array(list(permutations(range(9))))
    best = sum(w[every[:, a], every[:, b]] for a, b in device.topology.edges).max()
    proved_cells, proved = certified(w, board, usable)
    assert proved == pytest.approx(best, rel=1e-6)
    assert value_of(w, device, proved_cells) == pytest.approx(best, rel=1e-6)
    assert value == pytest.approx(best, rel=1e-12)


def test_mutual_information_against_the_determinant_formula() -> None:
    rng = np.random.default_rng(3)
    A = rng.standard_normal((5, 9))
    K = A @ A.T
    S = np.linalg.inv(K)
    w = information(K)
    for i in range(5):
        for j in range(i):
            pair = np.ix_([i, j], [i, j])
            assert w[i, j] == pytest.approx(
                0.5 * np.log(S[i, i] * S[j, j] / np.linalg.det(S[pair])), rel=1e-9
            )


def test_planted_lattice_with_dense_noise_is_recovered() -> None:
    rng = np.random.default_rng(5)
    side = 12
    order = rng.permutation(side * side)
    P = of_kind(kind="grid", rows=side, cols=side, order=order, ground=0.3).toarray()
    noise = rng.standard_normal(P.shape) * 1e-4
    P = P + (noise + noise.T) / 2
    device = load_device("grid(12,12)")
    outcome, _ = place(P, device, chains="never")
    position = {int(v): k for k, v in enumerate(outcome.value.cell)}
    lattice = nx.grid_2d_graph(side, side)
    planted = {
        tuple(sorted((order[a * side + b], order[c * side + d]))) for (a, b), (c, d) in lattice.edges()
    }
    found = {tuple(sorted((position[a], position[b]))) for a, b in device.topology.edges.tolist()}
    assert found == planted


# --- chains ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "target"),
    [
        (8, "king-8x8"),
        (16, "king-32x32"),
        (32, "king-32x32"),
        (16, "chimera-4x4"),
        (64, "chimera-16x16"),
        (30, "pegasus-4"),
        (5, "king(5,4)"),
        (5, "king(4,5)"),
    ],
)
def test_cliques_on_the_templates(n: int, target: str) -> None:
    device = load_device(target)
    board, model = live_graph(device), adjacency(n, np.stack(np.triu_indices(n, 1), axis=1))
    chains = template(model, device, board)
    assert chains is not None
    graph = nx.Graph(device.topology.edges.tolist())
    cells = [c for chain in chains for c in chain]
    assert len(set(cells)) == len(cells)
    assert all(nx.is_connected(graph.subgraph(chain)) for chain in chains)
    for i in range(n):
        for j in range(i):
            assert any(graph.has_edge(a, b) for a in chains[i] for b in chains[j])


def test_templates_step_around_dead_cells() -> None:
    for target in ("king-32x32", "chimera-16x16"):
        device = load_device(target).without(cells=(0, 5, 33, 70))
        outcome, couplings = place(of_kind(kind="complete", nodes=10), device)
        verify(outcome.value, couplings, device)


@pytest.mark.parametrize(
    ("graph", "target"),
    [
        (nx.random_labeled_tree(40, seed=3), "grid-16x16"),
        (nx.karate_club_graph(), "pegasus-4"),
        (nx.random_regular_graph(3, 24, seed=1), "chimera-4x4"),
        (nx.octahedral_graph(), "grid-16x16"),
        (nx.disjoint_union(nx.complete_graph(3), nx.complete_graph(4)), "grid-16x16"),
    ],
    ids=["tree", "karate", "cubic", "octahedron", "two parts"],
)
def test_search_for_chains(graph: nx.Graph, target: str) -> None:
    device = load_device(target)
    pairs = np.array(graph.edges(), dtype=np.int64)
    outcome, couplings = place(laplacian(graph.number_of_nodes(), pairs), device, method="embed")
    verify(outcome.value, couplings, device)


def test_trimming_and_shortening_keep_an_embedding() -> None:
    device = load_device("king-8x8")
    board, usable = live_graph(device), np.arange(64)
    model = adjacency(6, np.array([(k, (k + 1) % 6) for k in range(6)]))
    chains = find_embedding(model, board, usable, np.random.default_rng(0))
    assert chains is not None
    longer = [[*chain] for chain in chains]
    free = set(range(64)) - {c for chain in chains for c in chain}
    graph = nx.Graph(device.topology.edges.tolist())
    for chain in longer:
        for extra in [c for c in sorted(free) if any(graph.has_edge(c, d) for d in chain)][:1]:
            chain.append(extra)
            free.discard(extra)
    assert sum(map(len, longer)) > sum(map(len, chains))
    assert is_embedding(longer, model, board)
    shorter = trim(longer, model, board)
    assert is_embedding(shorter, model, board)
    assert sum(map(len, shorter)) < sum(map(len, longer))
    assert not is_embedding([chains[0]] * 6, model, board)


@pytest.mark.parametrize("target", ["chimera-4x4", "chimera(4,4){family=resistive}", "king-8x8"])
def test_chain_start_folds_to_the_matrix(target: str) -> None:
    device = load_device(target)
    rng = np.random.default_rng(2)
    P = laplacian(8, np.stack(np.triu_indices(8, 1), axis=1), rng=rng).toarray()
    outcome, couplings = place(P, device)
    placed = outcome.value
    verify(placed, couplings, device)
    V = np.eye(8)[placed.chain]
    K = assemble(placed.family, placed.edges, placed.ground, placed.coupling).toarray()
    assert np.abs(V.T @ K @ V - P).max() < 1e-12
    assert isinstance(outcome.readback, Affine)
    assert np.abs(outcome.readback.matrix @ V - np.eye(8)).max() < 1e-14
    if device.family.springs:
        assert placed.ground.min() >= 0


def test_spins_on_chains_keep_their_ground_state() -> None:
    device = load_device("chimera(2,2){family=pbit}")
    rng = np.random.default_rng(4)
    n = 5
    J = np.triu(rng.standard_normal((n, n)), 1)
    h = rng.standard_normal(n)
    this = job(-(J + J.T), Family.PBIT, Domain.SPIN, bias=h)
    outcome = Place().apply(this, device, Context())
    placed, back = outcome.value, outcome.readback
    verify(placed, this.value, device)
    assert isinstance(back, Majority)
    states = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    energy = -np.einsum("ki,ij,kj->k", states, J, states) - states @ h
    best = states[energy.argmin()]
    cells = placed.n
    every = 1 - 2 * ((np.arange(2**cells)[:, None] >> np.arange(cells)) & 1)
    i, j = placed.edges.T
    of_cells = -(every[:, i] * every[:, j]) @ placed.coupling - every @ placed.bias
    assert np.array_equal(back.draws(every[of_cells.argmin()].astype(float)), best)


def test_minorminer_is_optional_and_valid() -> None:
    pytest.importorskip("minorminer")
    device = load_device("king-8x8")
    outcome, couplings = place(of_kind(kind="complete", nodes=6), device, method="minorminer")
    verify(outcome.value, couplings, device)


# --- what does not fit ----------------------------------------------------------------------------------------------------


def test_reasons_and_proofs() -> None:
    clique = lambda n: of_kind(kind="complete", nodes=n)  # noqa: E731
    assert code_of(lambda: place(clique(9), load_device("spu8"))) == "E0541"
    assert code_of(lambda: place(clique(3), load_device("grid(2,2)").without(cells=range(4)))) == "E0542"
    assert code_of(lambda: place(clique(5), load_device("grid-16x16"))) == "E0543"
    assert code_of(lambda: place(clique(20), load_device("king-8x8"))) == "E0543"
    assert code_of(lambda: place(clique(2), load_device("grid(1,2)").without(couplers=[(0, 1)]))) == "E0543"
    assert code_of(lambda: place(clique(3), load_device("grid(3,3)"), method="native")) == "E0543"
    assert (
        code_of(lambda: place(clique(10), load_device("grid(9,9)"), chains="never", certify=True)) == "E0546"
    )
    assert (
        code_of(lambda: place(clique(5), load_device("king(3,3)"), method="template", chains="never"))
        == "E0548"
    )
    with pytest.raises(SpuccError) as caught:
        place(clique(5), load_device("grid-16x16"))
    assert "x[0]" in caught.value.diagnostics[0].notes[0]


def test_quartic_terms_do_not_go_on_chains() -> None:
    device = load_device("grid(5,5){family=langevin}")
    this = job(of_kind(kind="complete", nodes=3), Family.LANGEVIN, quartic=frozen(np.ones(3)))
    assert code_of(lambda: Place().apply(this, device, Context())) == "E0549"


@pytest.mark.parametrize("seed", range(20))
def test_treewidth_bound_is_a_bound(seed: int) -> None:
    graph = nx.gnp_random_graph(14, 0.35, seed=seed)
    upper, _ = nx.algorithms.approximation.treewidth_min_fill_in(graph)
    assert treewidth_at_least(adjacency(14, np.array(graph.edges()))) <= upper
    assert treewidth_at_least(adjacency(6, np.stack(np.triu_indices(6, 1), axis=1))) == 5


def test_without_chains_couplings_are_left_to_projection() -> None:
    device = load_device("grid(3,3)")
    outcome, couplings = place(of_kind(kind="complete", nodes=9), device, chains="never")
    assert outcome.value.n == 9
    assert {d.code for d in diagnose(outcome.value, couplings, device)} == {"E0561"}
    assert np.array_equal(outcome.value.edges, np.stack(np.triu_indices(9, 1), axis=1))


@pytest.mark.parametrize(
    "breakage",
    [
        lambda p: replace(p, cell=frozen(np.r_[p.cell[1], p.cell[1:]], np.int64)),
        lambda p: replace(p, cell=frozen(np.r_[63, p.cell[1:]], np.int64)),
        lambda p: replace(p, cell=frozen(np.r_[64, p.cell[1:]], np.int64)),
        lambda p: replace(p, edges=p.edges[1:], coupling=p.coupling[1:]),
        lambda p: replace(p, edges=p.edges[::-1]),
        lambda p: replace(p, coupling=p.coupling[1:]),
        lambda p: replace(p, ground=frozen(p.ground * np.nan)),
        lambda p: replace(p, bias=p.bias[1:]),
        lambda p: replace(p, chain=frozen(np.zeros(p.n), np.int64)),
    ],
)
def test_the_conformance_check_sees_what_is_broken(breakage) -> None:
    device = load_device("king-8x8")
    outcome, couplings = place(of_kind(kind="grid", rows=3, cols=3), device)
    assert not list(diagnose(outcome.value, couplings, device))
    assert list(diagnose(breakage(outcome.value), couplings, device))
    dead = device.without(cells=[int(outcome.value.cell[0])])
    assert list(diagnose(outcome.value, couplings, dead))


def test_ranges_are_checked_when_values_have_units() -> None:
    device = load_device("spu8")
    outcome, couplings = place(of_kind(kind="complete", nodes=4), device)
    good = replace(
        outcome.value, ground=frozen(np.full(4, 1e-10)), coupling=frozen(np.full(6, 1e-10)), scale=1e-10
    )
    assert not list(diagnose(good, couplings, device, ranges=True))
    for bad in (
        replace(good, coupling=frozen(np.full(6, -1e-10))),
        replace(good, ground=frozen(np.full(4, 1e-8))),
    ):
        assert list(diagnose(bad, couplings, device, ranges=True))


def test_options_print_and_parse() -> None:
    registry = {"place": lambda: Place}
    step = Place(method="embed", certify=True)
    assert str(step) == "place{method=embed certify=true}"
    assert parse_passes(str(step), registry) == [step]
    with pytest.raises(SpuccError, match="E0604"):
        parse_passes("place{method=magic}", registry)
