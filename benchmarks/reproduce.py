"""Write docs/experiments.md and its figures: `python benchmarks/reproduce.py`. Two minutes of one core.

The published board experiment (physics §1, §5), and error against time for resistive and capacitive machines
(physics §4). Every number on the page comes from here.
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.backend import Mode, Request, Streams
from spucc.device import Device, Family
from spucc.devices import load_device
from spucc.driver import compile_energy
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.readback import Affine
from spucc.stages import Configuration, Job
from spucc.targets.board_model import BoardModel, RealCircuits
from spucc.targets.circuits import Board
from spucc.targets.exact import PathCells
from spucc.targets.law import corrected
from spucc.targets.stepper import stepper

DOCS = Path(__file__).resolve().parent.parent / "docs"
SAMPLES = 12_000
INTERVAL = 1e-7
BOARDS = 6


# --- the 8 × 8 inverse
# --------------------------------------------------------------------------------------------------


def matrices() -> list[FloatArray]:
    """Random 8 × 8 matrices that capacitors hold as they are."""
    found = []
    for seed in range(BOARDS):
        rng = np.random.default_rng(seed)
        w = np.triu(rng.exponential(1.0, (8, 8)), 1) / 8
        w = w + w.T
        found.append(np.diag(w.sum(axis=1) + 0.2 + 0.6 * rng.random(8)) - w)
    return found


def compiled(a: FloatArray, device: Device) -> Job:
    """The program that samples N(0, A⁻¹) on the device that its file describes."""
    model = Energy(
        layout([("x", (8,), Domain.REAL, None)]), frozen(np.zeros(8)), Quadratic(sparse.csr_array(a))
    )
    return compile_energy(model, device).jobs[0]


@dataclass(frozen=True)
class Flaw:
    """What a board has and its file does not say: fields of the device file by section."""

    name: str
    fields: dict[str, dict[str, Any]]

    def on(self, device: Device) -> Device:
        parts = {k: msgspec.structs.replace(getattr(device.spec, k), **v) for k, v in self.fields.items()}
        return replace(device, spec=msgspec.structs.replace(device.spec, **parts))


def bare() -> Device:
    """spu8 with perfect parts and a perfect converter of the same rate."""
    clean: dict[str, dict[str, Any]] = {
        "ground": {"tolerance": 0.0},
        "coupling": {"tolerance": 0.0},
        "circuit": {"resistance_tolerance": 0.0, "inductance_tolerance": 0.0},
        "noise": {"temperature_tolerance": 0.0},
        "adc": {"bits": None, "noise": 0.0, "full_scale": float("inf")},
    }
    return Flaw("", clean).on(load_device("spu8"))


def off(estimate: FloatArray, a: FloatArray) -> float:
    """The relative error of an inverse, in the Frobenius norm."""
    known = np.linalg.inv(a)
    return float(np.linalg.norm(estimate - known) / np.linalg.norm(known))


def for_ever(job: Job, device: Device, number: int) -> FloatArray:
    """The covariance that a board shows after infinite time, its converter apart."""
    configuration = job.value
    assert isinstance(configuration, Configuration)
    circuits = RealCircuits(
        configuration, device, BoardModel(number=number).board(device, configuration.codes)
    )
    law = corrected(circuits.law(0, "float64"), configuration.codes.readback[0])
    for back in reversed(configuration.readback):
        assert isinstance(back, Affine)
        law = corrected(law, back)
    return law.cov()


def taken(job: Job, device: Device, number: int, mode: Mode, draws: int, chains: int) -> FloatArray:
    request = Request(draws, chains, seed=number, mode=mode, interval=INTERVAL)
    chunks = BoardModel(number=number).run(job, device, request)
    return np.concatenate([c.values for c in chunks], axis=1)


def errors(jobs: list[Job], device: Device, mode: Mode, counts: FloatArray) -> FloatArray:
    """The error after each number of samples, root mean square over boards and runs."""
    chains, out = 4, np.zeros(counts.size)
    for number, (a, job) in enumerate(zip(matrices(), jobs)):
        x = taken(job, device, number, mode, int(counts[-1]), chains)
        for k, count in enumerate(counts.astype(int)):
            part = x[:, :count]
            for c in range(chains):
                out[k] += off(part[c].T @ part[c] / count, a) ** 2
    return np.sqrt(out / (chains * len(jobs)))


FLAWS = (
    Flaw("capacitors 1 % off", {"ground": {"tolerance": 0.01}, "coupling": {"tolerance": 0.01}}),
    Flaw("capacitors 5 % off", {"ground": {"tolerance": 0.05}, "coupling": {"tolerance": 0.05}}),
    Flaw("resistors 5 % off", {"circuit": {"resistance_tolerance": 0.05}}),
    Flaw("noise power of the cells 10 % apart", {"noise": {"temperature_tolerance": 0.1}}),
    Flaw("5 Ω in series with the inductors", {"circuit": {"series_resistance": 5.0}}),
    Flaw("20 Ω in series with the inductors", {"circuit": {"series_resistance": 20.0}}),
    Flaw("20 pF more from each cell to ground", {"strays": {"ground": 30e-12}}),
    Flaw("10 pF across every coupler", {"strays": {"coupling": 10e-12}}),
    Flaw("noise held for 100 ns", {"noise": {"update_interval": 1e-7}}),
    Flaw("noise held for 300 ns", {"noise": {"update_interval": 3e-7}}),
    Flaw("8-bit converter over ±4 V", {"adc": {"bits": 8, "full_scale": 4.0}}),
)
REAL = Flaw(
    "a plausible early board",
    {
        "ground": {"tolerance": 0.02},
        "coupling": {"tolerance": 0.02},
        "circuit": {"resistance_tolerance": 0.02, "series_resistance": 15.0},
        "noise": {"temperature_tolerance": 0.1, "update_interval": 1e-7},
        "strays": {"ground": 20e-12, "coupling": 5e-12},
        "adc": {"bits": 12, "full_scale": 4.0, "noise": 0.5e-3},
    },
)


def inversion(figure: Any) -> str:
    device = bare()
    jobs = [compiled(a, device) for a in matrices()]
    counts = np.unique(np.geomspace(100, 200_000, 23).astype(int))
    counts = np.unique(np.append(counts, SAMPLES))
    at = int(np.flatnonzero(counts == SAMPLES)[0])
    real = REAL.on(device)
    spu8 = load_device("spu8")
    curves = [
        ("independent draws, perfect board", errors(jobs, device, Mode.INDEPENDENT, counts)),
        ("its path at 10 MHz, perfect board", errors(jobs, device, Mode.TRAJECTORY, counts)),
        ("its path, board as in the file spu8", errors(jobs, spu8, Mode.TRAJECTORY, counts)),
        (f"its path, {REAL.name}", errors(jobs, real, Mode.TRAJECTORY, counts)),
    ]
    r = np.mean([np.trace(s := np.linalg.inv(a)) ** 2 / np.trace(s @ s) for a in matrices()])
    axes = figure.subplots()
    for (name, error), style in zip(curves, ("C0-", "C1-", "C2-", "C3-")):
        axes.loglog(counts, error, style, label=name, lw=1.5)
    axes.loglog(counts, np.sqrt((1 + r) / counts), "k:", lw=1, label="√((1 + r)/N)")
    axes.axhspan(0.25, 0.31, color="0.85", zorder=0)
    axes.text(counts[-1], 0.284, "published, at 12,000", va="center", ha="right", fontsize=8)
    axes.axvline(SAMPLES, color="0.7", lw=0.8)
    axes.set(xlabel="samples", ylabel="relative error of the 8 × 8 inverse")
    axes.legend(fontsize=8, frameon=False, loc="lower left")

    rows = []
    one = np.array([SAMPLES])
    for flaw in (*FLAWS, REAL):
        other = flaw.on(device)
        systematic = [off(for_ever(job, other, k), a) for k, (a, job) in enumerate(zip(matrices(), jobs))]
        rows.append(
            (flaw.name, np.sqrt(np.mean(np.square(systematic))), errors(jobs, other, Mode.TRAJECTORY, one)[0])
        )
    perfect = np.sqrt(np.mean([off(for_ever(job, device, 0), a) ** 2 for a, job in zip(matrices(), jobs)]))
    free, path = curves[0][1][at], curves[1][1][at]
    worth = (free / path) ** 2 * SAMPLES
    table = "\n".join(f"| {name} | {100 * bias:.1f} % | {100 * total:.1f} % |" for name, bias, total in rows)
    return f"""## An 8 × 8 inverse on eight cells

The published board (Melanson et al., Nature Communications 16:3757, 2025) estimated the inverse of 8 × 8 matrices from 12,000
samples with a relative error of 25–31 %. Here {BOARDS} random matrices that capacitors hold as they are run on models of such a
board: compiled for `spu8`, run on boards with flaws that the compiler was not told of. The error is that of the covariance in
the Frobenius norm, root mean square over the matrices, a board each, and four runs each.

![Error against samples](figures/inversion.svg)

**The number of samples explains little of it.** {SAMPLES} independent draws err by {100 * free:.1f} %, as √((1 + r)/N) with
r = tr(Σ)²/tr(Σ²) = {r:.1f} says ({100 * np.sqrt((1 + r) / SAMPLES):.1f} %).

**Correlation explains more.** A cell forgets its past within about 2RC, two microseconds. Read at 10 MHz, {SAMPLES} samples
are {SAMPLES * INTERVAL * 1e3:.1f} ms, and err by {100 * path:.1f} %: they are worth {worth:.0f} independent ones.
More samples mend both: the lines of the perfect board fall as 1/√N, down to the {100 * perfect:.2f} % of the rounding to 8 bits.

**The rest is systematic, and does not fall.** Each line of the table has one flaw alone: its error after infinite time (the
converter apart), and that of {SAMPLES} samples at 10 MHz, with the {100 * path:.1f} % that correlation costs in it.

| flaw | for ever | {SAMPLES} samples |
|---|--:|--:|
{table}

Series resistance of the inductors is a bath at zero temperature that cools the cells, and slowly renewed noise does not reach
the frequencies at which they ring: both take variance from all cells at once, and weigh most. The last line has all of
them in moderation: 15 Ω in series, noise renewed every 100 ns and 10 % apart, capacitors and resistors 2 % off, 10 pF more to
ground and 5 pF across couplers than the file says, 12 bits. Their sum is of the published size. Which flaws the real board had
is not published; the table says what to measure first. `spucc` compensates what a calibration table knows.
"""


# --- error against time
# --------------------------------------------------------------------------------------------------


def machine(family: Family, condition: float, n: int = 8) -> Board:
    """A machine whose matrix has eigenvalues from 1 to `condition`, evenly on a logarithmic scale. The fastest mode forgets
    in a microsecond: C0/g_max of resistive cells, R c_min of RLC cells, whose Q is 3 or more."""
    u = np.linalg.qr(np.random.default_rng(5).standard_normal((n, n)))[0]
    values = np.geomspace(1.0, condition, n)
    if family is Family.RESISTIVE:
        values = values / values[-1]
    unit = 1e-3 if family is Family.RESISTIVE else 1e-9
    matrix = (u * values) @ u.T * unit
    one, theta = np.ones(n), 1e-12
    noise = theta * 1e-9 if family is Family.RESISTIVE else theta / 1e3
    return Board(
        family,
        sparse.csr_array(matrix),
        np.zeros(n),
        1e3 * one,
        (1e3 / 3.0) ** 2 * 1e-9 * one,
        0 * one,
        noise * one,
        1e-9,
        1.0,
        theta,
    )


def formulas(circuit: Board) -> tuple[float, float]:
    """ε²T [s] of the covariance in the Frobenius norm and of the slowest mode's variance.

    An entry (j, k) of a covariance of modes with variances s and autocorrelations ρ has ε²T = s_j s_k (1 + δ_jk) ∫ρ_j ρ_k over
    all times. ρ is e^(−gt), or e^(−gt)(cos ωt − (g/ω) sin ωt) (physics §4): sums of a e^(pt).
    """
    m = np.linalg.eigvalsh(circuit.matrix.toarray())
    s = 1.0 / m
    if circuit.family is Family.RESISTIVE:
        p, a = -(m / circuit.capacitance)[:, None].astype(complex), np.ones((m.size, 1), dtype=complex)
    else:
        g = 0.5 / (circuit.resistance * m)
        omega = np.sqrt(1.0 / (circuit.inductance * m) - g * g)
        p = np.stack([-g + 1j * omega, -g - 1j * omega], axis=1)
        a = np.stack([0.5 + 0.5j * g / omega, 0.5 - 0.5j * g / omega], axis=1)
    shared = -2.0 * np.einsum("ja,kb,jakb->jk", a, a, 1.0 / (p[:, :, None, None] + p)).real
    each = np.outer(s, s) * shared
    return float((each.sum() + np.trace(each)) / (s @ s)), float(2.0 * np.diagonal(shared).max())


def simulated(circuit: Board, times: FloatArray, interval: float) -> tuple[FloatArray, FloatArray]:
    """The errors of the covariance and of the slowest mode's variance after `times`, root mean square over 32 runs."""
    values, u = np.linalg.eigh(circuit.matrix.toarray())
    s = circuit.scale / values
    path = PathCells(stepper(circuit, interval, 0.0), Streams(1, "time"), 32, None, 0)
    total = np.zeros((32, values.size, values.size))
    both, done = [], 0
    for count in np.rint(times / interval).astype(int):
        while done < count:
            x = path.take(done, min(2048, count - done)) @ u
            total += x.swapaxes(1, 2) @ x
            done += x.shape[1]
        rest = total / count - np.diag(s)
        whole = (rest**2).sum(axis=(1, 2)) / (s @ s)
        slow = 0 if circuit.family is Family.RESISTIVE else -1
        both.append((np.sqrt(whole.mean()), np.sqrt(((rest[:, slow, slow] / s[slow]) ** 2).mean())))
    frobenius, worst = np.array(both).T
    return frobenius, worst


def error_against_time(figure: Any) -> str:
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    times = np.geomspace(30e-6, 20e-3, 9)
    rows = []
    for column, family in enumerate((Family.RESISTIVE, Family.CAPACITIVE)):
        for k, condition in enumerate((1.0, 10.0, 100.0, 1000.0)):
            circuit = machine(family, condition)
            predicted = np.sqrt(np.array(formulas(circuit))[:, None] / times)
            measured = simulated(circuit, times, 0.25e-6)
            for row in range(2):
                axes[row, column].loglog(times * 1e6, predicted[row], f"C{k}-", lw=1)
                axes[row, column].loglog(
                    times * 1e6, measured[row], f"C{k}o", ms=3.5, label=f"condition {condition:g}"
                )
            need = [1e3 * c / 0.01**2 for c in formulas(circuit)]
            rows.append(
                f"| {family.value} | {condition:g} | {need[0]:,.0f} ms | {need[1]:,.0f} ms "
                f"| {measured[0][-1]:.4f} ({predicted[0][-1]:.4f}) | {measured[1][-1]:.4f} ({predicted[1][-1]:.4f}) |"
            )
        axes[0, column].set_title(f"{family.value} cells", fontsize=10)
        axes[1, column].set_xlabel("time in units of the fastest mode's, 1 µs")
    axes[0, 0].set_ylabel("covariance, Frobenius")
    axes[1, 0].set_ylabel("slowest mode's variance")
    axes[0, 0].set_ylim(2e-3, 3)
    axes[0, 0].legend(fontsize=8, frameon=False)
    table = "\n".join(rows)
    return f"""## Error against time, resistive and capacitive

Both machines estimate the covariance of eight variables whose precision has eigenvalues from 1 to the condition number; the
fastest mode of both forgets its past in 1 µs. Lines are the formulas, points 32 simulated runs from equilibrium, read every
0.25 µs. Over a time T the entry of modes j, k with variances s and autocorrelations ρ errs by s_j s_k (1 + δ_jk) ∫ρ_j ρ_k dt/T,
squared, so that for resistive cells of rates g

    ε² = Σ_jk (1 + δ_jk) s_j s_k 2/(g_j + g_k) / (T Σ_k s_k²),   slowest mode ε² = 2/(g_min T),

and for RLC cells, where ρ swings and modes of different frequencies share little,

    ε² ≈ Σ_k 2 R c_k s_k² / (T Σ_k s_k²) ≈ 2 R c_min/T,          slowest mode ε² = 2 R c_max/T;

the lines have the integral of every pair.

![Error against time](figures/time.svg)

A resistive machine's slowest mode is its widest one, which carries the covariance: the time to a given error grows with the
condition number. A capacitive machine's slowest modes are its narrowest ones: the covariance as a whole takes the same time at
any condition number, only the relative error of the narrowest modes pays. Where T is not many times the slowest mode's own time
the points leave the lines: what has not moved has not erred by more than itself.

The last two columns are simulated, after {times[-1] * 1e3:g} ms, with the formula's value beside them.

| cells | condition | time to 1 %, covariance | time to 1 %, slowest mode | covariance | slowest mode |
|---|--:|--:|--:|--:|--:|
{table}
"""


def main() -> None:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit('matplotlib is not installed: pip install "spucc[plot]"')
    matplotlib.rcParams.update({"svg.hashsalt": "spucc", "svg.fonttype": "none", "axes.spines.top": False})
    matplotlib.rcParams.update({"axes.spines.right": False, "font.size": 9})
    folder = DOCS / "figures"
    folder.mkdir(exist_ok=True)
    parts = []
    for name, size, work in (("inversion", (6.4, 4.2), inversion), ("time", (7.2, 5.6), error_against_time)):
        figure = Figure(figsize=size, layout="constrained")
        parts.append(work(figure))
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        if "--png" in sys.argv:
            figure.savefig(f"{name}.png", dpi=90)
    head = (
        "# Two experiments, reproduced\n\n`python benchmarks/reproduce.py` writes this page and its figures; the equations are "
        "those of the\ndocumentation of `spucc.targets`.\n"
    )
    (DOCS / "experiments.md").write_text("\n".join([head, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
