"""For each Gaussian workload: the verdict on it, the way that `realise` takes on a board and what the host pays
for a draw.

    python benchmarks/realise.py WORKLOADS [TARGET …]

WORKLOADS is a folder of instances, each with `oracle.npz` (mean and covariance, precision, or matrix and
solution). Prints the multiplications a draw against those of the Cholesky read-out, couplings left on the
board, and the worst error of a standard deviation and of a mean (in standard deviations) once the codes are
fixed, from the configuration itself. Times are CPU seconds of the whole compilation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.passes.realising.comparison import judge


def workloads(folder: Path, largest: int = 64) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, precision, mean) of every Gaussian instance with at most `largest` variables."""
    for file in sorted(folder.glob("*/oracle.npz")):
        tables = np.load(file)
        found = set(tables.files)
        laws: list[tuple[str, np.ndarray, np.ndarray]] = []
        for suffix in [f[2:] for f in sorted(found) if f.startswith("Q_tau")]:
            laws.append((f"{file.parent.name}_{suffix}", tables[f"Q_{suffix}"], tables[f"mean_{suffix}"]))
        for cov, mean in (("cov", "mean"), ("train_cov", "train_mean"), ("inverse", "x")):
            if {cov, mean} <= found and tables[cov].ndim == 2 and tables[cov].shape[0] <= largest:
                laws.append((file.parent.name, np.linalg.inv(tables[cov]), tables[mean]))
        for name, p, mean in sorted(laws, key=lambda law: law[0]):
            a = 1 / np.sqrt(np.diag(p))
            p = np.where(np.abs(p * np.outer(a, a)) < 1e-9, 0.0, p)
            yield name, (p + p.T) / 2, mean


def main() -> None:
    folder, targets = Path(sys.argv[1]), sys.argv[2:] or ["spu8", "king-8x8", "king-32x32"]
    print(f"{'workload':24}{'n':>4} {'verdict':16}{'target':12}{'sd':>9}{'mean':>9}{'CPU s':>7}  way")
    total = reached = 0
    for name, p, mean in workloads(folder):
        verdict = judge(sparse.csr_array(p))
        words = ("balanced " if verdict.balanced else "frustrated ") + ("H" if verdict.h_matrix else "not H")
        total, ok = total + 1, False
        variables = layout([("x", (mean.size,), Domain.REAL, None)])
        energy = Energy(variables, -(p @ mean), Quadratic(sparse.csr_array(p)))
        for target in targets:
            start = time.process_time()
            head = f"{name:24}{mean.size:4} {words:16}{target:12}"
            try:
                program = compile_energy(energy, target)
            except SpuccError as error:
                print(f"{head}{'':18}{time.process_time() - start:7.1f}  {str(error)[:70]}")
                continue
            last = {e.job: e for e in program.ledger}.values()
            sd, shift = max(e.sd_error for e in last), max(e.mean_error for e in last)
            ways = [n[5:] for j in program.jobs for s in j.steps for n in s.notes if n.startswith("way: ")]
            ok |= sd <= 0.02 and shift <= 0.02
            print(f"{head}{sd:9.1e}{shift:9.1e}{time.process_time() - start:7.1f}  {' | '.join(ways)[:110]}")
        reached += ok
    print(
        f"{reached} of {total} within 2 % of every standard deviation and 0.02 sd of every mean on some board"
    )


if __name__ == "__main__":
    main()
