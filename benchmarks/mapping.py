"""The mapping core against every figure that was set for it: one line a figure, with its bound and verdict.

    python benchmarks/mapping.py [--quick] [--only WORD]

Medians over ten seeds (`--quick`: two, without the largest boards). Divergences are forward, per variable, from the
configuration; B is the sphere bound of mapping.md §1. Times are CPU seconds of one thread. The families of figures are measured
by the benchmarks beside this file, which say more: quantize.py, projection.py, place.py, inverse.py, workloads.py.
Exits with 1 when a figure is missed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import inverse
import networkx as nx
import numpy as np
import place
import projection
import quantize
import workloads
from place import timed
from scipy import sparse

import spucc
from spucc.devices import load_device
from spucc.driver import compile_energy
from spucc.fidelity.ledger import realised_law
from spucc.passes.place import Place
from spucc.passes.placing.board_graph import live_graph
from spucc.passes.placing.certified_placement import certified
from spucc.passes.placing.spectral_placement import information, place_by_weights
from spucc.passes.projecting.banded_inverse import factorise
from spucc.passes.projecting.projection import project_covariance, project_precision
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.quantize_search import search
from spucc.passes.realise import Realise
from spucc.passes.realising import border, comparison, splitting
from spucc.pipeline import Context
from spucc.stages import Job, Step

EXACT = 1e-12


@dataclass(frozen=True)
class Figure:
    """What was measured against what was asked: ≤ `bound`, or ≥ if `least`."""

    what: str
    value: float
    bound: float
    unit: str = ""
    least: bool = False

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.least else self.value <= self.bound

    def __str__(self) -> str:
        sign, verdict = "≥" if self.least else "≤", "reached" if self.reached else "MISSED"
        return f"{self.what:62} {self.value:10.3g} {sign} {self.bound:<8.3g} {self.unit:10} {verdict}"


# --- quantize -------------------------------------------------------------------------------------------------------------


def dense(seeds: range) -> Iterator[Figure]:
    for name, make, share, bits in (
        ("Wishart", quantize.wishart, 0.6, (6, 8, 10, 12)),
        ("Toeplitz", quantize.toeplitz, 0.6, (6, 8, 10, 12)),
        ("GP 1e2", quantize.smooth(1e2), 1.3, (6, 8, 10, 12)),
        ("GP 1e4", quantize.smooth(1e4), 2.0, (8, 10, 12)),
        ("GP 1e6", quantize.smooth(1e6), 2.5, (8, 10, 12)),
    ):
        yield from _shares(f"dense n=8 {name}", make, bits, seeds, share, 2.0)


def thin(seeds: range) -> Iterator[Figure]:
    for side in (4, 8):
        yield from _shares(
            f"lattice {side}×{side} cond 1e2", quantize.lattice(side, 0.1), (6, 8), seeds, 0.3, 2.0
        )
    yield from _shares("lattice 8×8 cond 1e4", quantize.lattice(8, 8e-4), (6, 8), seeds, 1.6, 2.0)
    even = quantize.lattice(8, 0.01, uneven=False)
    for bits, bound in ((4, 2e-4), (8, 1e-6)):
        found = quantize.measured(even, bits, seeds[:1], capacitors=True, rough=False)[0]
        yield Figure(f"capacitors 8×8, κ²=0.01, {bits} bits", found[4], bound, "KL/n")
        yield Figure("  time", found[5], 2.0, "s")


def _shares(
    what: str,
    make: Callable[[int], quantize.Model],
    bits: tuple[int, ...],
    seeds: range,
    share: float,
    seconds: float,
) -> Iterator[Figure]:
    for b in bits:
        found = np.median(quantize.measured(make, b, seeds, rough=False), axis=0)
        yield Figure(f"{what}, {b} bits", found[4], share, "B")
        yield Figure("  time", found[5], seconds, "s")


def large_lattice(seeds: range) -> Iterator[Figure]:
    matrix, edges = quantize.lattice(32, 0.1)(0)
    book = quantize.free_book(1024, edges, 8)
    unit = quantize.bound(matrix, book, 8) * 1024
    for seconds, share in ((5.0, 1.05), (20.0, 0.4)):
        end = time.process_time() + seconds

        def late(end: float = end) -> bool:
            return time.process_time() > end

        found, spent = timed(search, book, matrix, stop=late)
        yield Figure(f"lattice 32×32, 8 bits, stopped after {seconds:g} s", found.kl / unit, share, "B")
        yield Figure("  time", spent, 1.1 * seconds, "s")


def exactly(seeds: range) -> Iterator[Figure]:
    rows = []
    for seed in seeds:
        matrix, edges = quantize.wishart(seed, 5)
        book: Codebook = quantize.free_book(5, edges, 8)
        best, seconds = timed(search, book, matrix, method="exact")
        rows.append((search(book, matrix).kl / best.kl, seconds))
    ratio, seconds = np.median(rows, axis=0)
    yield Figure("default over exact optimum, n=5", ratio, 1.2, "×")
    yield Figure("  time of the exact mode", seconds, 1.0, "s")


# --- project --------------------------------------------------------------------------------------------------------------


def projections(seeds: range) -> Iterator[Figure]:
    sigma, edges = projection.process(3), projection.king(3)
    objective = [
        float(np.trace(q @ sigma) - np.linalg.slogdet(q)[1]) / 2
        for q in (project_covariance(sigma, edges).q.toarray(), projection.by_cvxpy(sigma, edges))
    ]
    yield Figure("projection: KL above cvxpy's, 9 cells", objective[0] - objective[1], 1e-6, "nat")
    for side, bound in ((8, 0.02), (16, 3.0)):
        sigma, edges = projection.process(side), projection.king(side)
        project_covariance(sigma, edges)
        spent = [timed(project_covariance, sigma, edges)[1] for _ in range(3)]
        yield Figure(f"projection of a dense Σ, n={side * side}", min(spent), bound, "s")
    sides = ((32, 10.0, 0.034), (100, 120.0, 0.036)) if len(seeds) > 2 else ((32, 10.0, 0.034),)
    for side, bound, limit in sides:
        p = projection.matern(side)
        found, seconds = timed(project_precision, p, projection.king(side), tolerance=1e-5)
        a, b = factorise(p), factorise(found.q)
        assert a is not None and b is not None
        yield Figure(f"Matérn {side}×{side} on king", 0.5 * (a.logdet - b.logdet) / side**2, limit, "KL/n")
        yield Figure("  time", seconds, bound, "s")


# --- embed and place ------------------------------------------------------------------------------------------------------


def embeddings(seeds: range) -> Iterator[Figure]:
    free = "{family=resistive}"
    for name, make, n, target, bound in (
        ("attractive 8", place.spring, 8, "king-8x8", 2e-6),
        ("attractive 8", place.spring, 8, "chimera-4x4", 2e-6),
        ("Wishart 8", place.wishart, 8, f"chimera(4,4){free}", 2e-6),
        ("GP 1e2, 8", place.process, 8, f"chimera(4,4){free}", 1e-5),
        ("attractive 16", place.spring, 16, "king-32x32", 2e-6),
        ("Wishart 16", place.wishart, 16, f"chimera(4,4){free}", 2e-6),
    ):
        count = len(seeds) if n == 8 else min(len(seeds), 3)
        found = np.median(place.chained(make, n, target, count), axis=0)
        codes = np.median(
            [_chained_codes(make(n, np.random.default_rng(k)), target) for k in range(count)], axis=0
        )
        what = f"chains: {name} on {target.split('{')[0]}"
        yield Figure(f"{what}, unquantized", found[0], EXACT, "KL/n")
        yield Figure(f"{what}, 8 bits", codes[0], bound, "KL/n")
        yield Figure("  below the best without compensation", found[2] / codes[0], 100, "×", True)
        yield Figure("  time", codes[1], 15.0, "s")


def _chained_codes(p: np.ndarray, target: str) -> tuple[float, float]:
    """KL per variable of the codes, and the seconds from placement to program."""
    steps = "condition,reduce,split,realise{forbid=readout},place,project,embed,fit,calibrate,quantize,lower"
    program, seconds = timed(compile_energy, spucc.gaussian(0.0, precision=p), target, passes=steps)
    return program.ledger[-1].kl_forward, seconds


def placements(seeds: range) -> Iterator[Figure]:
    relabel = nx.convert_node_labels_to_integers
    scrambled = nx.relabel_nodes(
        relabel(nx.grid_2d_graph(16, 16)), dict(enumerate(np.random.default_rng(0).permutation(256).tolist()))
    )
    for name, graph, target in (
        ("K16", nx.complete_graph(16), "king-32x32"),
        ("16×16 grid", relabel(nx.grid_2d_graph(16, 16)), "grid-16x16"),
        ("16×16 grid, scrambled,", scrambled, "grid-16x16"),
    ):
        device, ordered = load_device(target), nx.Graph()
        ordered.add_nodes_from(range(graph.number_of_nodes()))
        ordered.add_edges_from(graph.edges())
        this = place.job(place.of_graph(ordered), device)
        Place().apply(this, device, Context())
        spent = [timed(Place().apply, this, device, Context())[1] for _ in range(5)]
        yield Figure(f"{name} onto {target}", min(spent), 0.05, "s")
    yield from _planted(seeds)
    yield from _optimum(seeds)


def _planted(seeds: range) -> Iterator[Figure]:
    side, device = 12, load_device("grid(12,12)")
    lattice = nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side))
    edges = np.array(lattice.edges())
    wanted, rows = {frozenset(e) for e in edges.tolist()}, []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(side * side)
        p = np.zeros((side * side, side * side))
        p[order[edges[:, 0]], order[edges[:, 1]]] = -1.0
        noise = rng.standard_normal(p.shape) * 1e-4
        p = p + p.T + (noise + noise.T) / 2
        np.fill_diagonal(p, np.abs(p).sum(axis=1) + 0.3)
        this = place.job(p, device)
        outcome, seconds = timed(Place(chains="never").apply, this, device, Context())
        value: Any = outcome.value
        back, cell = np.argsort(order), value.cell
        variable = np.empty(side * side, dtype=np.int64)
        variable[cell] = back
        found = {frozenset(e) for e in variable[device.topology.edges].tolist()}
        rows.append((len(found & wanted) / len(wanted), seconds))
    share, seconds = np.median(rows, axis=0)
    yield Figure("planted 12×12 lattice: couplings recovered", share, 1.0, "share", True)
    yield Figure("  time", seconds, 5.0, "s")


def _optimum(seeds: range) -> Iterator[Figure]:
    device = load_device("grid(3,3)")
    board, cells, gaps = live_graph(device), np.arange(9), []
    for seed in seeds[:5]:
        x = np.random.default_rng(seed).random((9, 2))
        cov = np.exp(-((x[:, None] - x) ** 2).sum(axis=2) / 0.3) + 0.05 * np.eye(9)
        w = information(np.linalg.inv(cov))
        found = place_by_weights(w, board, device.topology.position, cells, np.random.default_rng(0))[1]
        gaps.append(1 - found / certified(w, board, cells)[1])
    yield Figure("n=9: below the certified optimum", max(gaps), 1e-6, "relative")


# --- realise --------------------------------------------------------------------------------------------------------------


def verdicts(seeds: range) -> Iterator[Figure]:
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(1000):
        n = int(rng.integers(2, 8))
        a = rng.normal(size=(n, n)) * (rng.random((n, n)) < rng.uniform(0.3, 1))
        a = np.triu(a, 1) * rng.choice([-1.0, 1.0]) if rng.random() < 0.7 else -np.abs(np.triu(a, 1))
        p = a + a.T
        p = p + np.eye(n) * (rng.uniform(1.05, 3) * max(-np.linalg.eigvalsh(p)[0], 0.1))
        verdict = comparison.judge(sparse.csr_array(p))
        m = -np.abs(p)
        np.fill_diagonal(m, np.diag(p))
        off = p - np.diag(np.diag(p))
        balanced = any(
            (np.outer(s, s) * off <= 0).all()
            for s in (np.array([1.0, *t]) for t in itertools.product([1.0, -1.0], repeat=n - 1))
        )
        u, unit = verdict.vector, 1 / np.sqrt(np.diag(p))
        holds = (
            (m @ u > 0).all() if verdict.h_matrix else u @ (m * np.outer(unit, unit)) @ u <= 1e-9 * (u @ u)
        )
        wrong += (
            verdict.balanced != balanced or verdict.h_matrix != (np.linalg.eigvalsh(m)[0] > 0) or not holds
        )
    yield Figure("verdicts and certificates wrong, of 1000 random P", wrong, 0, "")


def exact_ways(seeds: range) -> Iterator[Figure]:
    rng = np.random.default_rng(3)
    n = 6
    device = load_device("king-8x8")
    loose = np.eye(n) + 0.15 * (np.ones((n, n)) - np.eye(n))
    banded = np.linalg.inv(np.eye(n) + 0.3 * (np.eye(n, k=1) + np.eye(n, k=-1)))
    for name, p, way in (("double cover", loose, "double-cover"), ("covariance form", banded, "charge")):
        energy = spucc.gaussian(rng.normal(size=n), precision=p)
        job = Job("", energy, np.arange(n), energy)
        outcome = Realise(ways=(way,)).apply(job, device, Context())
        done = replace(job, value=outcome.value, steps=(Step("", outcome.readback),))
        cov = realised_law(done, device)[1]
        yield Figure(f"{name}: covariance error", np.abs(cov @ p - np.eye(n)).max(), EXACT, "")
    x = rng.normal(size=(8, 16))
    p, b = x @ x.T / 16, rng.normal(size=8)
    solved = border.solution(np.linalg.inv(border.border(sparse.csr_array(p), b).toarray()))
    error = np.abs(solved - np.linalg.solve(p, b)).max() / np.abs(solved).max()
    yield Figure("border: error of a linear solve", error, EXACT, "")


def splits(seeds: range) -> Iterator[Figure]:
    """KL per variable that the predicted sweeps leave from a cold start: exact propagation of the loop's covariance."""
    left = []
    for seed in seeds:
        p = quantize.wishart(seed)[0]
        found = splitting.split(p, False, room=0.02, accuracy=1e-4)
        dense_p, m = p.toarray(), found.m.toarray()
        step = np.eye(8) - np.linalg.solve(m, dense_p)
        power = np.linalg.matrix_power(step, found.sweeps)
        sigma = np.linalg.inv(dense_p)
        root = np.linalg.cholesky(dense_p)
        share = np.linalg.eigvalsh(root.T @ power @ sigma @ power.T @ root)
        left.append(0.5 * float(np.sum(-np.log1p(-share) - share)) / 8)
    yield Figure("splitting: KL/n left by the predicted sweeps, worst", max(left), 1e-6, "KL/n")


# --- whole programs -------------------------------------------------------------------------------------------------------


def inverses(seeds: range) -> Iterator[Figure]:
    device = load_device("spu8")
    for kind, (_make, bound) in inverse.KINDS.items():
        found = [inverse.inverse_on_a_board(kind, seed, device).calibrated for seed in seeds]
        yield Figure(
            f"8×8 inverse, 1 % parts, calibrated, 12,000 draws: {kind}",
            float(np.median(found)),
            bound,
            "Frobenius",
        )


def coverage(seeds: range) -> Iterator[Figure]:
    folder = os.environ.get("SPUCC_WORKLOADS")
    if not folder:
        print("workloads: set SPUCC_WORKLOADS; what was found last is in docs/workloads.md")
        return
    lines = list(workloads.table(Path(folder), largest=64, targets=workloads.CAPACITIVE))
    names = {line.workload for line in lines}
    served = {line.workload for line in lines if line.reached}
    yield Figure("workloads n ≤ 64 within 2 % on a capacitive board", len(served), len(names), "", True)


def process_time(seeds: range) -> Iterator[Figure]:
    """CPU seconds of a whole process, imports included."""
    model = Path(__file__).resolve().parent.parent / "examples" / "eight_schools"
    command = [
        sys.executable,
        "-m",
        "spucc",
        "compile",
        f"{model}_spu8.spu",
        "-d",
        f"{model}.json",
        "-t",
        "spu8",
    ]
    for options, bound in (((), 3.0), (("--realise", "nearest"), 3.0), (("-O", "0"), 1.0)):
        spent = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([*command, *options], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        yield Figure(f"process of an 8-cell model {' '.join(options)}", min(spent), bound, "s")


GROUPS = {
    "dense": dense,
    "sparse": thin,
    "large": large_lattice,
    "exact": exactly,
    "projection": projections,
    "embedding": embeddings,
    "placement": placements,
    "realisability": verdicts,
    "ways": exact_ways,
    "splitting": splits,
    "inverse": inverses,
    "coverage": coverage,
    "process": process_time,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two seeds, no largest boards")
    parser.add_argument("--only", default="", choices=["", *GROUPS])
    options = parser.parse_args()
    seeds = range(2 if options.quick else 10)
    # Compiles what is compiled on first use.
    search(quantize.free_book(64, quantize.grid(8), 8), quantize.lattice(8, 0.1)(0)[0])
    compile_energy(spucc.gaussian(0.0, precision=np.eye(2)), "spu8")
    missed = 0
    for name, group in GROUPS.items():
        if options.only not in ("", name) or (options.quick and name == "large"):
            continue
        for figure in group(seeds):
            print(figure, flush=True)
            missed += not figure.reached
    print(f"{missed} missed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
