"""Real posteriors on real boards: every Gaussian workload compiled for every kind of device, written as docs/workloads.md.

    SPUCC_WORKLOADS=folder python benchmarks/workloads.py [--only NAME] [--write]

The folder holds one instance each: its inputs, from which the model is built here, and its answers (`oracle.npz`), computed
by other software. Errors are of the law that the configured device samples after infinite time (`spucc law`: from the codes
alone, by code that shares nothing with the passes) against those answers. Times are CPU seconds of one compilation. `--write`
puts the table between the markers of the page.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import io, linalg, sparse

import spucc
from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy
from spucc.energy import Energy
from spucc.fidelity.ledger import gaussian_divergence
from spucc.passes.realising.comparison import judge
from spucc.readback import Affine, HostLoop
from spucc.running.law import program_law
from spucc.stages import Configuration, Job, Program

Floats = NDArray[np.float64]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "workloads.md"
BEGIN, END = "<!-- begin: benchmarks/workloads.py -->", "<!-- end -->"
HEADER = "| workload | n | model | target | KL/n | sd | mean | way | host × a draw | cells | CPU s |"
CAPACITIVE = ("spu8", "king-8x8", "king-32x32", "grid-16x16")
TARGETS = (*CAPACITIVE, "resistive-64", "inductive-64")
LARGE = ("king-32x32",)
SD, MEAN = 0.02, 0.02


@dataclass(frozen=True, eq=False)
class Workload:
    """A model x and what is known of f = `read` x: mean [m] and covariance [m, m], or variances [m]."""

    name: str
    energy: Energy
    mean: Floats
    cov: Floats
    read: Floats | None = None


@dataclass(frozen=True)
class Line:
    """One row of the table; `refusal` instead of figures where there is no program."""

    workload: str
    n: int
    model: str
    target: str
    seconds: float
    refusal: str = ""
    kl: float = np.inf
    sd: float = np.inf
    mean: float = np.inf
    way: str = ""
    multiplications: int = 0
    cells: int = 0

    @property
    def reached(self) -> bool:
        return self.sd <= SD and self.mean <= MEAN

    def __str__(self) -> str:
        head = f"| {self.workload} | {self.n} | {self.model} | {self.target} |"
        if self.refusal:
            return f"{head} | | | {self.refusal} | | | {self.seconds:.1f} |"
        figures = " | ".join(f"{v:.0e}" for v in (self.kl, self.sd, self.mean))
        return f"{head} {figures} | {self.way} | {self.multiplications} | {self.cells} | {self.seconds:.1f} |"


def workloads(folder: Path) -> Iterator[Workload]:
    """Every Gaussian instance, its model made from its inputs."""
    for file in sorted(folder.glob("*/oracle.npz")):
        answers = dict(np.load(file))
        inputs = dict(np.load(file.parent / "data.npz")) if (file.parent / "data.npz").exists() else {}
        matrices = {
            p.name.split(".")[0]: sparse.csr_array(io.mmread(p)) for p in file.parent.glob("*.mtx.gz")
        }
        name = file.parent.name
        for key in sorted(k for k in answers if k.startswith("Q_tau")):
            of = key[1:]
            yield _workload(
                name + of, answers[key], answers["h" + of], answers["mean" + of], answers["cov" + of]
            )
        if "A" in matrices:
            yield _workload(name, matrices["A"], answers["b"], answers["x"], answers.get("inverse"))
        elif "K" in inputs:
            yield _process(name, inputs, answers)
        elif "kappa2" in inputs:
            yield _image(name, inputs, answers)
        elif {"mean", "h"} <= {*answers, *inputs}:
            cov = answers.get("cov", answers["var"])
            q = matrices.get("Q", inputs.get("Q", answers.get("Q")))
            if q is None:
                design = sparse.hstack([sparse.eye_array(inputs["y"].size), sparse.csr_array(inputs["X"])])
                q = matrices["prior_precision"] + design.T @ sparse.diags_array(1 / inputs["v"]) @ design
            yield _workload(name, q, {**answers, **inputs}["h"], answers["mean"], cov)


def _workload(name: str, q: Floats | sparse.sparray, h: Floats, mean: Floats, cov: Floats) -> Workload:
    """N(Q⁻¹h, Q⁻¹)."""
    q = sparse.csr_array(q)
    return Workload(
        name,
        spucc.gaussian(sparse.linalg.spsolve(sparse.csc_matrix(q), h), precision=(q + q.T) / 2),
        mean,
        cov,
    )


def _process(name: str, inputs: dict[str, Floats], answers: dict[str, Floats]) -> Workload:
    """f = Φz, z ~ N(0, I), Φ the pivoted Cholesky factor of the kernel, which need not have an inverse."""
    factor, order, rank, _ = linalg.lapack.dpstrf(inputs["K"], lower=1, tol=1e-9 * inputs["K"].max())
    phi = np.zeros((order.size, rank))
    phi[order - 1] = np.tril(factor)[:, :rank]
    noise, prior = float(inputs["noise_var"]), float(inputs["mean"])
    q = np.eye(phi.shape[1]) + phi.T @ phi / noise
    z = np.linalg.solve(q, phi.T @ (inputs["y"] - prior) / noise)
    return Workload(
        name, spucc.gaussian(z, precision=q), answers["train_mean"] - prior, answers["train_cov"], phi
    )


def _image(name: str, inputs: dict[str, Floats], answers: dict[str, Floats]) -> Workload:
    rows, cols = inputs["image"].shape

    def line(k: int) -> sparse.dia_array:
        ends = np.r_[1.0, np.full(k - 2, 2.0), 1.0]
        return sparse.diags_array([-np.ones(k - 1), ends, -np.ones(k - 1)], offsets=[-1, 0, 1])

    laplacian = sparse.kron(line(rows), sparse.eye_array(cols)) + sparse.kron(
        sparse.eye_array(rows), line(cols)
    )
    prior = float(inputs["tau"]) * (laplacian + float(inputs["kappa2"]) * sparse.eye_array(rows * cols))
    seen = np.unpackbits(inputs["mask"])[: rows * cols].astype(np.float64) / float(inputs["sd"]) ** 2
    h = prior @ np.full(rows * cols, 0.5) + seen * inputs["image"].ravel() / 255.0
    return _workload(name, prior + sparse.diags_array(seen), h, answers["mean"], answers["var"])


def compiled(work: Workload, target: str, model: str) -> Line:
    start = time.process_time()
    try:
        program = compile_energy(work.energy, target)
    except SpuccError as error:
        first, seconds = error.diagnostics[0], time.process_time() - start
        reason = "; ".join(t for t in (first.title, first.help) if t).replace("|", "\\|")
        refusal = f"[{first.code}](errors/{first.code}.md): {reason}"
        return Line(work.name, work.energy.n, model, target, seconds, refusal)
    seconds = time.process_time() - start
    law = program_law(program)
    mean, cov = law.mean, law.covariance
    assert cov is not None
    if work.read is not None:
        mean, cov = work.read @ mean, work.read @ cov @ work.read.T
    if work.cov.ndim == 2:
        found = gaussian_divergence(work.mean, work.cov, mean, cov) if work.read is None else None
        kl = np.nan if found is None else found.kl_forward
        sd = np.sqrt(np.diagonal(work.cov))
    else:
        kl, sd = np.nan, np.sqrt(work.cov)
    if work.read is not None:
        kl = max(e.kl_forward for e in {e.job: e for e in program.ledger}.values())
    error = float(np.abs(np.sqrt(np.diagonal(cov)) / sd - 1).max())
    shift = float(np.abs((mean - work.mean) / sd).max())
    cells, ways, host = _costs(program)
    return Line(work.name, work.energy.n, model, target, seconds, "", kl, error, shift, ways, host, cells)


def _costs(program: Program) -> tuple[int, str, int]:
    """Cells, ways, and multiplications of the host for one draw beyond one scale factor a variable."""
    cells, ways, host = 0, [], 0
    for job in program.jobs:
        assert isinstance(job.value, Configuration)
        cells += job.value.codes.n
        ways += [n[5:].split(";")[0] for s in job.steps for n in s.notes if n.startswith("way: ")]
        host += _host(job)
    return cells, " + ".join(dict.fromkeys(ways)) or "direct", host


def _host(job: Job) -> int:
    step = next(s for s in job.steps if s.name.startswith("realise"))
    if isinstance(step.readback, HostLoop):
        return step.readback.sweeps * int(step.readback.precision.nnz)
    double = any(n.startswith("way: double-cover") for n in step.notes)
    matrix = step.readback.matrix if isinstance(step.readback, Affine) else None
    return 0 if matrix is None or double else int(matrix.nnz) - job.target.n


def table(
    folder: Path, only: str = "", largest: float = np.inf, targets: tuple[str, ...] = TARGETS
) -> Iterator[Line]:
    for work in workloads(folder):
        if only not in work.name or work.energy.n > largest:
            continue
        p = work.energy.quadratic.tocsr()
        verdict = judge(p) if work.energy.n <= 2000 else None
        model = (
            "large"
            if verdict is None
            else ("balanced, " if verdict.balanced else "frustrated, ")
            + ("H" if verdict.h_matrix else "not H")
        )
        for target in targets if work.energy.n <= 64 else LARGE:
            if target != "spu8" or work.energy.n <= 8:
                yield compiled(work, target, model)


def summary(lines: list[Line]) -> list[str]:
    """Who reaches what, in words."""
    small = [line for line in lines if line.n <= 64]
    names = list(dict.fromkeys(line.workload for line in small))
    served = {line.workload for line in small if line.reached and line.target in CAPACITIVE}
    free = {
        line.workload
        for line in small
        if line.reached and line.target in CAPACITIVE and not line.multiplications
    }
    missing = [n for n in names if n not in served]
    said = [
        f"{len(served)} of {len(names)} models of at most 64 variables run on a capacitive board with every standard "
        f"deviation within 2 % and every mean within 0.02 standard deviations; {len(free)} of them cost the host nothing "
        "but a scale a variable."
    ]
    return said + ([f"Not reached: {', '.join(missing)}."] if missing else [])


def write(lines: list[Line]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    body = [*summary(lines), "", HEADER, "|---|--:|---|---|--:|--:|--:|---|--:|--:|--:|", *map(str, lines)]
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(body) + f"\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=os.environ.get("SPUCC_WORKLOADS"))
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if not options.folder:
        parser.error("name a folder, or set SPUCC_WORKLOADS")
    lines = []
    print(HEADER)
    for line in table(Path(options.folder), options.only):
        print(line, flush=True)
        lines.append(line)
    print("\n".join(summary(lines)))
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
