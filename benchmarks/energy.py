"""Spins and nonlinear units against their peers: `python benchmarks/energy.py [name …]`.

Every figure is CPU time of this process (time.process_time), on one thread (OMP_NUM_THREADS=1 and friends are set here), best
of three. Peers that are not installed are left out. `SPUCC_WORKLOADS` names the folder of the cuts.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"))
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import integrate, sparse

from spucc.arrays import frozen
from spucc.targets.spins.annealing import anneal
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import SpinModel, spin_model


def cpu(work: Callable[[], Any], repeat: int = 3) -> float:
    """The least CPU seconds of `repeat` calls."""
    best = np.inf
    for _ in range(repeat):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def row(what: str, ours: str, peer: str = "", ratio: str = "", wanted: str = "") -> None:
    print(f"{what:<44} {ours:>16} {peer:>26} {ratio:>9} {wanted:>14}", flush=True)


def peer(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def torus_edges(side: int) -> tuple[np.ndarray, np.ndarray]:
    site = np.arange(side * side).reshape(side, side)
    i = np.concatenate([site.ravel(), site.ravel()])
    return i, np.concatenate([np.roll(site, -1, 0).ravel(), np.roll(site, -1, 1).ravel()])


def torus(side: int, weights: np.ndarray | float = 1.0) -> sparse.csr_array:
    i, j = torus_edges(side)
    w = np.broadcast_to(weights, i.shape)
    a = sparse.coo_array((w, (i, j)), shape=(side * side, side * side))
    return sparse.csr_array(a + a.T)


def lattice() -> None:
    """70×70 torus with arbitrary couplings, 64 chains."""
    i, j = torus_edges(70)
    w = np.random.default_rng(0).normal(size=i.size)
    n = 4900
    chains = Chains(spin_model(torus(70, w * 0.5), np.zeros(n)), 64, (1,))
    chains.sweep(1)
    row("70x70 torus: set-up in a new process", f"{_set_up():.2f} s", wanted="<= 0.2 s")
    ours = 64 * n * 200 / cpu(lambda: chains.sweep(200))
    row("70x70 torus, 64 chains", f"{ours / 1e6:.0f} Mflips/s")
    if ft := peer("ferrotherm"):
        spec = {"graph": {"n": n, "couplings": [[int(a), int(b), float(c)] for a, b, c in zip(i, j, w)]}}
        sim = ft.from_spec(spec)
        theirs = n * 1000 / cpu(lambda: sim.sweep(1000))
        row("", "", f"ferrotherm {theirs / 1e6:.0f}", f"{ours / theirs:.1f}x", ">= 8x")
    if peer("thrml"):
        theirs = 64 * n / thrml_sweep(spin_model(torus(70, w * 0.5), np.zeros(n)), 64, 60)
        row("", "", f"thrml {theirs / 1e6:.0f}", f"{ours / theirs:.1f}x", ">= 5x")


def _set_up() -> float:
    """CPU seconds from couplings to the first sweep, spucc's imports included, in a process that finds what the one before
    has compiled: the least of three."""
    code = """
import time
import numpy as np
from scipy import sparse
row, column = np.divmod(np.arange(4900), 70)
to = np.concatenate([70 * row + (column + 1) % 70, 70 * ((row + 1) % 70) + column])
w = np.random.default_rng(0).normal(size=9800)
half = sparse.coo_array((w, (np.tile(np.arange(4900), 2), to)), shape=(4900, 4900))
matrix = sparse.csr_array(half + half.T)
start = time.process_time()
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import spin_model
Chains(spin_model(matrix, np.zeros(4900)), 64, (1,)).sweep(1)
print(time.process_time() - start)
"""
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    return min(map(float, told))


def thrml_sweep(model: SpinModel, chains: int, sweeps: int) -> float:
    """CPU seconds of a sweep of thrml's own `sample_states`, compiled before, all chains in one batch (vmap)."""
    import jax
    from thrml.block_management import Block
    from thrml.block_sampling import SamplingSchedule, sample_states
    from thrml.models.ising import hinton_init

    from spucc.targets.thrml_program import thrml_program

    built = thrml_program(model)
    schedule = SamplingSchedule(n_warmup=sweeps, n_samples=1, steps_per_sample=1)
    keys = jax.random.split(jax.random.key(0), chains)
    start = hinton_init(jax.random.key(1), built.ebm, list(built.free), (chains,))
    seen = [Block(built.nodes)]
    run = jax.jit(jax.vmap(lambda k, s: sample_states(k, built.program, schedule, s, [], seen)))
    jax.block_until_ready(run(keys, start))
    return cpu(lambda: jax.block_until_ready(run(keys, start)), 2) / (sweeps + 1)


def signs() -> None:
    """±J on the torus, 64 chains to the word."""
    from spucc.targets.spins.multispin import digit_odds, metropolis_words, word_state

    i, j = torus_edges(70)
    rng = np.random.default_rng(1)
    w = rng.choice([-1.0, 1.0], size=i.size)
    model = spin_model(torus(70, w), np.zeros(4900))
    words, sweeps = 16, 100
    s = rng.integers(0, 2**64, (4900, words), dtype=np.uint64)
    negative = np.where(model.couplings.data < 0, ~np.uint64(0), np.uint64(0))
    odds = np.tile(digit_odds(0.5, 4), (sweeps, 1))
    args = (model.order, *model.arrays[:2], negative, odds, s, word_state((1,), 0, words), sweeps)
    metropolis_words(*args)
    ours = 4900 * 64 * words * sweeps / cpu(lambda: metropolis_words(*args))
    row("70x70 torus, +-J, multi-spin", f"{ours / 1e6:.0f} Mflips/s")
    if (samplers := peer("dwave.samplers")) and (dimod := peer("dimod")):
        bqm = dimod.BQM.from_ising({}, {(int(a), int(b)): -float(c) for a, b, c in zip(i, j, w)})
        run = samplers.SimulatedAnnealingSampler().sample
        theirs = 4900 * 10_000 / cpu(lambda: run(bqm, num_reads=10, num_sweeps=1000, seed=1))
        row("", "", f"dwave-samplers {theirs / 1e6:.0f}", f"{ours / theirs:.1f}x", ">= 5x")


def onsager() -> None:
    """64×64 against Onsager's energy and Yang's magnetisation."""
    for beta, count, batch in ((0.4, 1024, 12), (0.6, 256, 1)):
        k = 2 * np.sinh(2 * beta) / np.cosh(2 * beta) ** 2
        elliptic = integrate.quad(lambda x, k=k: 1 / np.sqrt(1 - (k * np.sin(x)) ** 2), 0, np.pi / 2)[0]
        want = -(1 / np.tanh(2 * beta)) * (1 + 2 / np.pi * (2 * np.tanh(2 * beta) ** 2 - 1) * elliptic)
        magnet = (1 - np.sinh(2 * beta) ** -4.0) ** 0.125 if beta > 0.4407 else 0.0
        begin = time.process_time()
        n = 4096
        run = Chains(spin_model(torus(64, beta), np.zeros(n)), count, (5,), start=np.ones((count, n)))
        run.sweep(600)
        energy, spin = np.zeros(count), np.zeros(count)
        steps = 150 * batch
        for _ in range(steps):
            run.sweep(8)
            energy += run.energies() / (beta * n) / steps
            spin += run.spins().mean(axis=1, dtype=np.float64) / steps
        for name, got, exact in (("energy", energy, want), ("magnetisation", spin, magnet)):
            error = got.std(ddof=1) / np.sqrt(count)
            row(
                f"Onsager 64x64, beta {beta}: {name}",
                f"{got.mean():.5f}",
                f"exact {exact:.5f}",
                f"{(got.mean() - exact) / error:+.1f} se",
                f"se {error:.1e}",
            )
        row("", f"{time.process_time() - begin:.0f} s")


def rbm() -> None:
    """RBM of 784×500 units, 32 chains."""
    w = np.random.default_rng(0).normal(size=(784, 500)) * 0.05
    model = spin_model(sparse.csr_array(sparse.block_array([[None, w], [w.T, None]])), np.zeros(1284))
    start = time.process_time()
    chains = Chains(model, 32, (1,))
    chains.sweep(1)
    row("RBM 784x500: build and first sweep", f"{time.process_time() - start:.2f} s", wanted="<= 1 s")
    ours = 50 / cpu(lambda: chains.sweep(50))
    row("RBM 784x500, 32 chains", f"{ours:.0f} sweeps/s")
    a, b = np.ones((784, 500), np.float32), np.ones((500, 32), np.float32)
    bound = 1 / (2 * cpu(lambda: [a @ b for _ in range(50)]) / 50)
    row("", "", f"products alone {bound:.0f}", f"{ours / bound:.2f}")
    if peer("thrml"):
        theirs = 1 / thrml_sweep(model, 32, 5)
        row("", "", f"thrml {theirs:.2f}", f"{ours / theirs:.0f}x", ">= 15x")


def text() -> None:
    """512×512 lattice from program text to the first sweep."""
    from spucc.driver import compile_program
    from spucc.targets.pbit import cells

    energy = "energy -0.4 * sum(s[1:, :] * s[:-1, :]) - 0.4 * sum(s[:, 1:] * s[:, :-1])"
    program = f"var s: spin[512, 512]\n{energy}\nquery m = mean(sum(s))\n"
    start = time.process_time()
    compiled = compile_program(program, target="ideal-spin")
    middle = time.process_time()
    chains = Chains(cells(compiled.jobs[0].value.codes, 0, compiled.device), 4, (1,))  # type: ignore[union-attr]
    chains.sweep(1)
    row("512x512 from text to compiled", f"{middle - start:.2f} s")
    row("512x512 from text to first sweep", f"{time.process_time() - start:.2f} s", wanted="<= 2 s")


def cuts() -> None:
    """Best known cuts, in the time of dwave-samplers' 100 reads of 1000 sweeps."""
    from spucc.exchange.spin_files import read_graph

    if "SPUCC_WORKLOADS" not in os.environ:
        return
    known = {"g05_60_0": 536, "g05_60_1": 532, "pm1s_80_0": 79, "pw01_100_0": 2019, "G1": 11624, "G32": 1410}
    samplers, dimod = peer("dwave.samplers"), peer("dimod")
    for name, best in known.items():
        energy = read_graph(Path(os.environ["SPUCC_WORKLOADS"]) / f"cut_{name}" / "graph.txt.gz")
        q = energy.quadratic.tocsr()
        total, model = q.sum() / 2, spin_model(sparse.csr_array(-q), np.zeros(energy.n))
        seeds = 5
        found, seconds = [], []
        for seed in range(seeds):
            begin = time.process_time()
            found.append((total - anneal(model, (seed,)).energy) / 2)
            seconds.append(time.process_time() - begin)
        theirs = ""
        if samplers and dimod:
            upper = sparse.coo_array(sparse.triu(q))
            bqm = dimod.BQM.from_ising(
                {}, dict(zip(zip(upper.row.tolist(), upper.col.tolist()), upper.data.tolist()))
            )
            begin = time.process_time()
            got = samplers.SimulatedAnnealingSampler().sample(bqm, num_reads=100, num_sweeps=1000, seed=1)
            theirs = f"dwave {(total - got.first.energy) / 2:.0f} in {time.process_time() - begin:.1f} s"
        row(
            f"cut {name} (best known {best})",
            f"{min(found):.0f}..{max(found):.0f}",
            theirs,
            f"{np.median(seconds):.1f} s",
        )


def units() -> None:
    """1,296 quartic units, 512 trajectories: a step against its matrix product alone."""
    from spucc.targets.langevin.potential import Potential
    from spucc.targets.langevin.walkers import Walkers

    n = 1296
    j = np.random.default_rng(0).normal(size=(n, n)) * 0.01
    j = j + j.T
    j[:784, :784] = 0.0
    np.fill_diagonal(j, 2.0)
    walkers = Walkers(
        Potential(frozen(np.zeros(n)), sparse.csr_array(j), frozen(np.ones(n))), 512, (1,), temperature=0.1
    )
    walkers.overdamped(1e-3, 1)
    step = cpu(lambda: walkers.overdamped(1e-3, 10)) / 10
    a, x = j.astype(np.float32), np.ones((n, 512), np.float32)
    product = cpu(lambda: [a @ x for _ in range(10)]) / 10
    row(
        "1296 units x 512 trajectories, a step",
        f"{1e3 * step:.1f} ms",
        f"product {1e3 * product:.1f} ms",
        f"{step / product:.2f}x",
        "<= 2x",
    )


def rounding() -> None:
    """SK models of 8 spins at β = 2 in 4 bits, sign included."""
    from spucc.device import Bank
    from spucc.fidelity import spin_law
    from spucc.passes.spins.spin_rounding import Law, Search

    i, k = np.triu_indices(8, 1)
    bank, losses, kept = Bank(max=7.0, bits=3, signed=True), [], 0
    begin = time.process_time()
    for seed in range(20):
        values = 2 * np.random.default_rng(seed).normal(size=28) / np.sqrt(8)
        j = np.zeros((8, 8))
        j[i, k] = j[k, i] = values
        law = Law(spin_law.all_spins(8), spin_law.law(j, np.zeros(8))[0], np.stack([i, k], axis=1))
        search = Search(law, np.concatenate([values, np.zeros(8)]), bank, bank, keep_ground=True)
        found = search.scan()
        losses.append(found.kl)
        kept += search.keeps(law.exponent(search.values(np.concatenate([found.coupling, found.bias]))))
    row(
        "SK n=8 beta=2, 4 bits: median KL",
        f"{np.median(losses):.4f}",
        f"ground kept {kept}/20",
        f"{(time.process_time() - begin) / 20 * 1e3:.0f} ms",
        "<= 0.012",
    )


ALL = (lattice, signs, rbm, text, units, rounding, cuts, onsager)

if __name__ == "__main__":
    wanted = sys.argv[1:] or [f.__name__ for f in ALL]
    row("what", "spucc", "peer or bound", "ratio", "asked for")
    for function in ALL:
        if function.__name__ in wanted:
            function()
