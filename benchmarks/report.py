"""The page of 64 cells, all joined, against its bounds (2 s of CPU time, 2 MB), and how it grows up to 10⁴ variables.

    OMP_NUM_THREADS=1 python benchmarks/report.py

CPU time, as the machine may be shared; the compilation is not counted.
"""

from __future__ import annotations

import time

import numpy as np
from scipy import sparse

import spucc
from spucc.driver import compile_energy
from spucc.energy import Energy
from spucc.report import Album, report_html

SECONDS, BYTES = 2.0, 2_000_000


def dense(n: int) -> Energy:
    """A Wishart precision: every pair is coupled."""
    x = np.random.default_rng(9).normal(size=(2 * n, n))
    return spucc.gaussian(np.zeros(n), precision=x.T @ x / n)


def field(side: int) -> Energy:
    """A smooth field on a grid of side × side."""
    line = sparse.diags_array([-np.ones(side - 1), -np.ones(side - 1)], offsets=[-1, 1])
    eye = sparse.eye_array(side)
    precision = sparse.kron(eye, line) + sparse.kron(line, eye) + 5 * sparse.eye_array(side**2)
    return spucc.gaussian(np.zeros(side**2), precision=sparse.csr_array(precision))


def main() -> None:
    cases = {
        "2 cells, ideal": (dense(2), "ideal"),
        "64 cells, all joined, resistive-64": (dense(64), "resistive-64"),
        "1,024 cells, king-32x32": (field(32), "king-32x32"),
        "10,000 variables, ideal": (field(100), "ideal"),
    }
    print(f"{'case':<38}{'CPU s':>8}{'of bound':>10}{'MB':>8}{'of bound':>10}")
    for name, (energy, target) in cases.items():
        album = Album()
        program = compile_energy(energy, target, optimize=0, observers=[album])
        start = time.process_time()
        size = len(report_html(program, album).encode())
        seconds = time.process_time() - start
        print(f"{name:<38}{seconds:>8.2f}{seconds / SECONDS:>10.3f}{size / 1e6:>8.2f}{size / BYTES:>10.3f}")


if __name__ == "__main__":
    main()
