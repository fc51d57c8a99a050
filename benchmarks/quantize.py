"""Rounding to codes: `python benchmarks/quantize.py [--seeds N] [--quick]`.

Each line: forward KL per variable as a share of the sphere bound B (the mean loss of the best code at fixed scales if the cells
of the lattice were balls: mapping.md §1) for Jacobi scaling with nearest codes and refitted scales, for the exact coordinate
descent, and for the compiler's default; medians over seeds, with the worst of the default, and its CPU seconds. Capacitors have
no such bound: their lines give KL per variable itself.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.passes.quantizing.closest import sphere_bound
from spucc.passes.quantizing.codebook import Codebook, free, springs, uniform
from spucc.passes.quantizing.quantize_search import search

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Model = tuple[sparse.csr_array, Ints]


def complete(n: int) -> Ints:
    return np.stack(np.triu_indices(n, 1), axis=1)


def grid(side: int) -> Ints:
    index = np.arange(side * side).reshape(side, side)
    pairs = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    edges = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))]


def wishart(seed: int, n: int = 8) -> Model:
    x = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return sparse.csr_array(x @ x.T / (2 * n)), complete(n)


def toeplitz(seed: int, n: int = 8) -> Model:
    rng = np.random.default_rng(seed)
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return sparse.csr_array(
        np.linalg.inv(rng.uniform(0.5, 0.95) ** lag + rng.uniform(0.05, 0.3) * np.eye(n))
    ), complete(n)


def smooth(cond: float, n: int = 8) -> Callable[[int], Model]:
    def make(seed: int) -> Model:
        x = np.sort(np.random.default_rng(seed).uniform(0, 1, n))
        kernel = np.exp(-0.5 * ((x[:, None] - x) / 0.25) ** 2)
        w = np.linalg.eigvalsh(kernel)
        return sparse.csr_array(
            np.linalg.inv(kernel + (w[-1] - cond * w[0]) / (cond - 1) * np.eye(n))
        ), complete(n)

    return make


def lattice(side: int, own: float, uneven: bool = True) -> Callable[[int], Model]:
    """Springs on a grid, κ² = `own`; condition number about 8/own."""

    def make(seed: int) -> Model:
        rng, edges, n = np.random.default_rng(seed), grid(side), side * side
        w = rng.uniform(0.5, 1.5, edges.shape[0]) if uneven else np.ones(edges.shape[0])
        half = sparse.coo_array((-w, (edges[:, 0], edges[:, 1])), shape=(n, n))
        off = sparse.csr_array(half + half.T)
        ground = own * (rng.uniform(0.5, 1.5, n) if uneven else np.ones(n))
        return sparse.csr_array(
            (off + sparse.diags_array(ground - np.asarray(off.sum(axis=1)).ravel())) / 6.0
        ), edges

    return make


def free_book(n: int, edges: Ints, bits: int) -> Codebook:
    """Magnitudes 0 … 2^b − 1 and a sign for couplings, the same range for diagonals."""
    top, m = 2**bits - 1, edges.shape[0]
    first = np.concatenate([np.zeros(n), np.full(m, -top)])
    return free(
        edges, uniform(np.zeros(n + m), np.full(n + m, 1 / top), first, np.full(n + m, float(top))), n
    )


def spring_book(n: int, edges: Ints, bits: int) -> Codebook:
    top, m = 2**bits - 1, edges.shape[0]
    zero = np.zeros(n + m)
    return springs(edges, uniform(zero, np.full(n + m, 1 / top), zero, np.full(n + m, float(top))), n)


def bound(matrix: sparse.csr_array, book: Codebook, bits: int) -> float:
    """B per variable at Jacobi scales, from G_ef = tr(Σ B_e Σ B_f)."""
    n = book.n
    dense = matrix.toarray()
    d = 1 / np.sqrt(np.diagonal(dense))
    s = np.linalg.inv(dense * np.outer(d, d))
    i, j = book.i, book.j
    g = s[np.ix_(i, i)] * s[np.ix_(j, j)] + s[np.ix_(i, j)] * s[np.ix_(j, i)]
    pair = np.where(i == j, 0.5, 1.0)
    g *= 2.0 * np.outer(pair, pair) / (2**bits - 1) ** 2
    return sphere_bound(np.linalg.cholesky(g).T) / n


def measured(
    make: Callable[[int], Model],
    bits: int,
    seeds: Iterable[int],
    capacitors: bool = False,
    rough: bool = True,
) -> Floats:
    """[seeds, 6]: KL per variable as a share of B (on capacitors itself) and CPU seconds, for rounding, descent and default;
    without `rough` for the default alone, the others NaN."""
    rows = []
    for seed in seeds:
        matrix, edges = make(seed)
        n = matrix.shape[0]
        book = (spring_book if capacitors else free_book)(n, edges, bits)
        unit = 1.0 if capacitors else bound(matrix, book, bits)
        row = []
        for options in ({"effort": 0}, {"method": "descent"}, {}):
            start = time.process_time()
            wanted = not options or (rough and (n <= 200 or "method" not in options))
            found = search(book, matrix, **options).kl if wanted else math.nan
            row += [found / n / unit, time.process_time() - start]
        rows.append(row)
    return np.array(rows)


def line(
    name: str, make: Callable[[int], Model], bits: int, seeds: Iterable[int], capacitors: bool = False
) -> None:
    rows = measured(make, bits, seeds, capacitors)
    median, worst = np.median(rows, axis=0), np.max(rows, axis=0)
    print(
        f"{name:26} {bits:4} {median[0]:10.3g} {median[2]:10.3g} {median[4]:10.3g} {worst[4]:10.3g} {median[5]:8.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="8 bits only, no large lattices")
    options = parser.parse_args()
    search(free_book(64, grid(8), 8), lattice(8, 0.1)(0)[0])  # compiles what is compiled on first use
    seeds = range(options.seeds)
    print(f"{'model':26} {'bits':>4} {'round':>10} {'descent':>10} {'spucc':>10} {'worst':>10} {'CPU s':>8}")
    for name, make in (
        ("Wishart 8 /B", wishart),
        ("Toeplitz 8 /B", toeplitz),
        ("GP 1e2 8 /B", smooth(1e2)),
        ("GP 1e4 8 /B", smooth(1e4)),
        ("GP 1e6 8 /B", smooth(1e6)),
        ("lattice 4x4 1e2 /B", lattice(4, 0.1)),
        ("lattice 8x8 1e2 /B", lattice(8, 0.1)),
        ("lattice 8x8 1e4 /B", lattice(8, 8e-4)),
    ):
        for bits in (8,) if options.quick else (6, 8, 10, 12):
            line(name, make, bits, seeds)
    for bits in (4, 6, 8):
        line("capacitors 8x8 k2=.01", lattice(8, 0.01, uneven=False), bits, seeds[:1], capacitors=True)
        line("capacitors 8x8 uneven", lattice(8, 0.01), bits, seeds, capacitors=True)
    if not options.quick:
        for bits in (4, 8):
            line("lattice 32x32 1e2 /B", lattice(32, 0.1), bits, seeds[:3])


if __name__ == "__main__":
    main()
