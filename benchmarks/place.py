"""Placement and embedding: cells, longest chain and CPU time beside minorminer, and what chains cost after rounding.

    python benchmarks/place.py            everything, some two minutes
    python benchmarks/place.py --quick    one seed

Times are CPU seconds of one thread. The last table rounds every value to the nearest of 8 bits and optimises nothing
afterwards; `by hand` is the best of nine strengths without compensation, rounded in the same way (mapping.md §3).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.circuit import assemble
from spucc.device import Device
from spucc.devices import load_device
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes.embed import Embed
from spucc.passes.place import Place
from spucc.passes.placing.board_graph import adjacency, live_graph
from spucc.pipeline import Context
from spucc.readback import Affine
from spucc.stages import Couplings, Job, Placed, plain_roles


def job(P: Any, device: Device) -> Job:
    matrix = sparse.csr_array(P)
    n = matrix.shape[0]
    cells, zero = frozen(np.arange(n), np.int64), frozen(np.zeros(n))
    energy = Energy(layout([("x", (n,), Domain.REAL, None)]), zero, Quadratic(matrix))
    return Job(
        "job", energy, cells, Couplings(device.family, Domain.REAL, matrix, zero, cells, plain_roles(n))
    )


def of_graph(graph: nx.Graph) -> np.ndarray:
    A = nx.to_numpy_array(graph)
    return np.diag(A.sum(axis=1) + 0.1) - A


def timed(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, float]:
    start = time.process_time()
    return call(*args, **options), time.process_time() - start


def lengths(chain: Any) -> str:
    count = np.bincount(chain)
    return f"{count.sum()} cells, longest {count.max()}"


def placements() -> None:
    lattice = nx.convert_node_labels_to_integers
    rng = np.random.default_rng(0)
    scrambled = nx.relabel_nodes(
        lattice(nx.grid_2d_graph(16, 16)), dict(enumerate(rng.permutation(256).tolist()))
    )
    cases = [
        ("16×16 grid", lattice(nx.grid_2d_graph(16, 16)), "grid-16x16"),
        ("16×16 grid, scrambled", nx.Graph(sorted(scrambled.edges())), "grid-16x16"),
        ("K8", nx.complete_graph(8), "king(6,6)"),
        ("K8", nx.complete_graph(8), "chimera-4x4"),
        ("K16", nx.complete_graph(16), "king-32x32"),
        ("K16", nx.complete_graph(16), "chimera-4x4"),
        ("K30", nx.complete_graph(30), "pegasus-4"),
        ("K64", nx.complete_graph(64), "chimera-16x16"),
        ("K16,64", nx.complete_bipartite_graph(16, 64), "chimera-16x16"),
        ("tree of 40", nx.random_labeled_tree(40, seed=3), "grid-16x16"),
        ("cubic, 50", nx.random_regular_graph(3, 50, seed=1), "chimera-16x16"),
        ("6×6 torus", lattice(nx.grid_2d_graph(6, 6, periodic=True)), "king(16,16)"),
        ("karate club", nx.karate_club_graph(), "pegasus-4"),
        ("random, 20 at 0.3", nx.gnp_random_graph(20, 0.3, seed=1), "king-32x32"),
    ]
    print(f"{'model':22}{'device':15}{'spucc':26}{'s':>7}   {'minorminer':26}{'s':>7}")
    for name, graph, target in cases:
        device = load_device(target)
        ordered = nx.Graph()
        ordered.add_nodes_from(range(graph.number_of_nodes()))
        ordered.add_edges_from((a, b) for a, b in graph.edges())
        this = job(of_graph(ordered), device)
        try:
            outcome, seconds = timed(Place().apply, this, device, Context())
            ours = lengths(outcome.value.chain)
        except SpuccError as error:
            ours, seconds = error.diagnostics[0].code, 0.0
        theirs, other = minorminer_on(ordered, device)
        print(f"{name:22}{target:15}{ours:26}{seconds:7.3f}   {theirs:26}{other:7.3f}", flush=True)


def minorminer_on(graph: nx.Graph, device: Device) -> tuple[str, float]:
    try:
        import minorminer
    except ImportError:
        return "not installed", 0.0
    couplers = device.topology.edges.tolist()
    options = {"random_seed": 1, "threads": 1, "timeout": 20}
    found, seconds = timed(minorminer.find_embedding, list(graph.edges()), couplers, **options)
    sizes = [len(c) for c in found.values()]
    return (f"{sum(sizes)} cells, longest {max(sizes)}" if sizes else "none", seconds)


# --- chains ---------------------------------------------------------------------------------------------------------------


def spring(n: int, rng: np.random.Generator) -> np.ndarray:
    W = np.triu(rng.random((n, n)), 1)
    W = W + W.T
    return np.diag(W.sum(axis=1) + 0.3 * n * rng.random(n)) - W


def wishart(n: int, rng: np.random.Generator) -> np.ndarray:
    A = rng.standard_normal((n, 2 * n))
    return A @ A.T / (2 * n)


def process(n: int, rng: np.random.Generator) -> np.ndarray:
    x = np.sort(rng.random(n))
    S = np.exp(-((x[:, None] - x) ** 2) / (2 * 0.3**2))
    return np.linalg.inv(S + np.eye(n) * np.linalg.eigvalsh(S)[-1] / 1e2)


def kl(placed: Placed, back: Affine, P: np.ndarray) -> float:
    K = assemble(placed.family, placed.edges, placed.ground, placed.coupling).toarray()
    if np.linalg.eigvalsh(K)[0] <= 1e-14 * np.trace(K):
        return np.inf
    L = np.linalg.cholesky(P)
    w = np.linalg.eigvalsh(L.T @ back.moments(np.zeros(placed.n), np.linalg.inv(K))[1] @ L)
    return float(abs(0.5 * np.sum(1 / w - 1 + np.log(w)))) / P.shape[0] if w[0] > 0 else np.inf


def rounded(placed: Placed, device: Device) -> Placed:
    spec = device.spec
    unit = min(spec.coupling.max / np.abs(placed.coupling).max(), spec.ground.max / placed.ground.max())
    step = spec.coupling.step / unit
    values = (np.round(v / step) * step for v in (placed.ground, placed.coupling))
    return replace(placed, **dict(zip(("ground", "coupling"), map(frozen, values))))


def chains(seeds: int) -> None:
    signed = "{family=resistive}"
    cases = [
        ("attractive 8", spring, 8, "king-8x8"),
        ("attractive 8", spring, 8, "chimera-4x4"),
        ("attractive 16", spring, 16, "king-32x32"),
        ("Wishart 8", wishart, 8, f"chimera(4,4){signed}"),
        ("Wishart 8", wishart, 8, f"king(8,8){signed}"),
        ("Wishart 16", wishart, 16, f"chimera(4,4){signed}"),
        ("GP 1e2, 8", process, 8, f"chimera(4,4){signed}"),
        ("GP 1e2, 16", process, 16, f"chimera(4,4){signed}"),
    ]
    print(
        f"\n{'model':16}{'device':34}{'exact':>9}{'8 bits':>9}{'by hand':>9}{'ratio':>8}{'s':>7}   medians of {seeds}"
    )
    for name, make, n, target in cases:
        unrounded, ours, hand, seconds = np.median(chained(make, n, target, seeds), axis=0)
        print(
            f"{name:16}{target:34}{unrounded:9.0e}{ours:9.1e}{hand:9.1e}{hand / ours:8.0f}{seconds:7.2f}",
            flush=True,
        )


def chained(
    make: Callable[[int, np.random.Generator], np.ndarray], n: int, target: str, seeds: int
) -> np.ndarray:
    """[seeds, 4]: KL per variable before rounding and after 8 bits, that of the best strength by hand, CPU seconds."""
    device, rows = load_device(target), []
    for seed in range(seeds):
        P = make(n, np.random.default_rng(seed))
        this = job(P, device)
        first = Place().apply(this, device, Context())
        assert isinstance(first.readback, Affine)
        placed = replace(this, value=first.value)
        exact = Embed(exact=True).apply(placed, device, Context(optimize=0))
        outcome, seconds = timed(Embed().apply, placed, device, Context())
        with_exact, back = first.readback.after(exact.readback), first.readback.after(outcome.readback)
        rows.append(
            (
                kl(exact.value, with_exact, P),
                kl(rounded(outcome.value, device), back, P),
                by_hand(first.value, first.readback, device, P),
                seconds,
            )
        )
    return np.array(rows)


def by_hand(start: Placed, mean: Affine, device: Device, P: np.ndarray) -> float:
    inner = start.chain[start.edges[:, 0]] == start.chain[start.edges[:, 1]]
    found = []
    for factor in np.geomspace(0.05, 20, 9):
        more = np.where(inner, (factor - 1) * start.coupling, 0)
        ground = start.ground.copy()
        if not device.family.springs:
            np.add.at(ground, start.edges.ravel(), np.repeat(more, 2))
        other = replace(start, coupling=frozen(start.coupling + more), ground=frozen(ground))
        found.append(kl(rounded(other, device), mean, P))
    return min(found)


def board_times() -> None:
    print()
    for target in ("king(330,310)", "pegasus(16)", "chimera-16x16"):
        device, seconds = timed(load_device, target)
        print(
            f"load {target:20}{device.topology.nodes:8} cells {len(device.topology.edges):8} couplers {seconds:7.3f} s"
        )
    device = load_device("grid(320,320)")
    side = nx.convert_node_labels_to_integers(nx.grid_2d_graph(300, 300))
    A = adjacency(90_000, np.array(side.edges()))
    this = job(sparse.diags_array(np.asarray(A.sum(axis=1)).ravel() + 0.1) - A, device)
    _, seconds = timed(Place().apply, this, device, Context())
    print(
        f"place a 300×300 lattice on grid(320,320): {seconds:.3f} s; live couplers {live_graph(device).nnz // 2}"
    )


if __name__ == "__main__":
    placements()
    chains(1 if "--quick" in sys.argv else 5)
    board_times()
