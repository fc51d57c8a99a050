"""How fast the exact simulation is: `python benchmarks/simulate.py [ROW …] [--large]`.

Each row is a ratio against a peer or a bound in the same run, medians of CPU seconds of one thread, so that
a busy machine and idle spinning threads change nothing. thermox (extra `bench`), CHOLMOD (scikit-sparse)
and ngspice are left out where they are not installed.
"""

# ruff: noqa: B023, E402

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

import spucc
from spucc.backend import Mode, Normals, Request, Streams
from spucc.device import Family
from spucc.devices import load_device
from spucc.driver import compile_energy
from spucc.models import gaussian
from spucc.running.estimates import frobenius_bound
from spucc.running.law import program_law
from spucc.running.moments import effective_sample_size
from spucc.targets.circuits import Board, board
from spucc.targets.exact import Circuits, IndependentCells, PathCells, configuration_of, reader
from spucc.targets.law import Gaussian, cells
from spucc.targets.linear import stationary, system
from spucc.targets.stepper import stepper


def seconds(
    work: Callable[[], Any], repeats: int = 5, clock: Callable[[], float] = time.process_time
) -> float:
    """The median time (CPU) of some runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return float(np.median(times))


def turns(*works: Callable[[], Any], repeats: int = 15) -> np.ndarray:
    """CPU times [repeats, works] of pieces of work that take turns, so that each meets the same machine."""
    times = np.zeros((repeats + 1, len(works)))
    for row in times:
        for k, work in enumerate(works):
            start = time.process_time()
            work()
            row[k] = time.process_time() - start
    return times[1:]


def spd(d: int, seed: int = 0) -> np.ndarray:
    w = np.random.default_rng(seed).standard_normal((d, 2 * d))
    return np.asarray(w @ w.T / (2 * d))


def overdamped(k: np.ndarray) -> Board:
    """A reversible circuit of precision k and unit mobility."""
    n = k.shape[0]
    one = np.ones(n)
    return Board(Family.IDEAL, sparse.csr_array(k), np.zeros(n), one, one, 0 * one, one, 1.0, 1.0, 1.0)


def rlc(n: int) -> Board:
    """n equal RLC cells of 1 nF, 100 µH, 1 kΩ, randomly coupled."""
    rng = np.random.default_rng(n)
    w = np.triu(rng.random((n, n)), 1) / n
    w = w + w.T
    c = 1e-9 * (np.diag(w.sum(axis=1) + 1.0 + rng.random(n)) - w)
    theta = 1e-12
    full = np.full
    return Board(
        Family.CAPACITIVE,
        sparse.csr_array(c),
        np.zeros(n),
        full(n, 1e3),
        full(n, 1e-4),
        np.zeros(n),
        full(n, theta / 1e3),
        1e-9,
        1.0,
        theta,
    )


def lattice(m: int, mass: float = 0.1) -> sparse.csr_array:
    chain = sparse.diags_array([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1])
    eye = sparse.eye_array(m)
    return sparse.csr_array(
        sparse.kron(chain, eye) + sparse.kron(eye, chain) + mass * sparse.eye_array(m * m)
    )


def independent() -> None:
    print(
        "independent draws: ratio of rates (wanted ≥ 1.0, float32 ≥ 1.5), and time over random numbers + GEMM (≤ 1.3)"
    )
    for d in (8, 64, 256, 1024):
        k = spd(d)
        draws = max(2048, 2**21 // d)
        lower = np.linalg.cholesky(np.linalg.inv(k))
        rng = np.random.default_rng(0)
        for dtype in ("float64", "float32"):
            source = IndependentCells(Gaussian(np.zeros(d), sparse.csr_array(k)), Streams(0, "x"), 1, dtype)
            at = [0]

            def ours() -> None:
                step = max(256, 2**18 // d)
                for _ in range(0, draws, step):
                    source.take(at[0], step)
                    at[0] += step

            numbers = Normals(Streams(0, "x"), 1, d, dtype)
            z = numbers.take(0, draws)[0]
            square = np.asarray(lower.T, dtype=dtype)
            peer, bound, mine = turns(
                lambda: rng.standard_normal((draws, d)) @ lower.T,
                lambda: (numbers.take(0, draws), z @ square),
                ours,
            ).T
            print(
                f"  d={d:5d} {dtype}: {np.median(peer / mine):5.2f}× numpy, {np.median(mine / bound):5.2f}× the bound, "
                f"{draws / np.median(mine):.3g}/s"
            )


def trajectory() -> None:
    print(
        "reversible trajectory: ratio of rates to jitted thermox in the same precision (wanted ≥ 5, 9, 15, 30), "
        "seconds to the first draw (wanted ≤ 0.1 up to 64)"
    )
    try:
        import jax
        import thermox
    except ImportError:
        jax = thermox = None
        print("  thermox is not installed: rates alone")
    for d, draws in ((8, 2**17), (64, 2**15), (256, 2**13), (1024, 2**9)):
        k = spd(d) + 0.5 * np.eye(d)
        for dtype in ("float64", "float32"):
            start = time.process_time()
            path = stepper(overdamped(k), 0.3, 0.0, dtype)
            source = PathCells(path, Streams(0, "x"), 1, None, 0)
            source.take(0, 1)
            first = time.process_time() - start
            at = [path.tile]

            def ours() -> None:
                source.take(at[0], draws)
                at[0] += draws

            text = f"  d={d:5d} {dtype}: first draw after {first:.3f} s"
            if thermox is None:
                print(f"{text}; {draws / seconds(ours):.3g}/s")
                continue
            jax.config.update("jax_enable_x64", dtype == "float64")
            a, diffusion = thermox.preprocess(jax.numpy.asarray(k), 2 * jax.numpy.eye(d))
            ts, key = jax.numpy.arange(draws + 1) * 0.3, jax.random.PRNGKey(0)
            zero = jax.numpy.zeros(d)

            def peer(associative: bool) -> Callable[[], Any]:
                run = jax.jit(lambda key: thermox.sample(key, ts, zero, a, zero, diffusion, associative))
                return lambda: run(key).block_until_ready()

            theirs = min((peer(True), peer(False)), key=lambda run: seconds(run, 1))
            mine, other = turns(ours, theirs, repeats=7).T
            print(
                f"{text}; {draws / np.median(mine):.3g}/s, {np.median(other / mine):.1f}× thermox", flush=True
            )


def underdamped() -> None:
    print(
        "underdamped RLC cells, 64 chains: million states a second (wanted ≥ 2 at 8 cells), covariance error in its σ"
    )
    for n in (8, 64):
        circuit = rlc(n)
        linear = system(circuit)
        known = linear.read(stationary(linear))
        for interval in (1e-7, 1e-6, 1e-5, 1e-3):
            path = stepper(circuit, interval, 0.0)
            source = PathCells(path, Streams(1, "x"), 64, None, 0)
            source.take(0, path.tile)
            count = 64 * path.tile
            start = time.process_time()
            x = source.take(path.tile, count)
            rate = 64 * count / (time.process_time() - start) / 1e6
            variance = (x * x).mean(axis=1)
            off = variance.mean(axis=0) / np.diagonal(known) - 1.0
            sigma = variance.std(axis=0, ddof=1) / np.diagonal(known) / 8.0
            print(
                f"  {n:3d} cells, {interval:g} s: {rate:5.2f} M/s, worst |error|/σ {np.abs(off / sigma).max():.2f}"
            )


def lattices(large: bool) -> None:
    """The peer is CHOLMOD (scikit-sparse, copyleft, not in the default install), where it is installed."""
    print(
        "lattice fields: CPU seconds to the first draw (≤ 0.5 at 10⁵, ≤ 15 at 10⁶), ms a draw in batches (≤ 10 at 10⁵)"
    )
    try:
        from sksparse.cholmod import cholesky
    except ImportError:
        cholesky = None
    for m in (316, 1000) if large else (316,):
        k = lattice(m)
        n, batch = m * m, 32

        def begun() -> IndependentCells:
            made = IndependentCells(Gaussian(np.zeros(n), k), Streams(0, "x"), 1, "float64")
            made.take(0, 1)
            return made

        first, source = seconds(begun, 3 if m < 1000 else 1), begun()
        each = seconds(lambda: source.take(16, batch), 3) / batch
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        text = f"  {n:8d} cells: {first:.2f} s, {1e3 * each:.1f} ms a draw, peak {peak:.2f} GB so far"
        if cholesky is None:
            print(f"{text} (CHOLMOD is not installed)")
            continue
        rng, columns = np.random.default_rng(0), sparse.csc_matrix(k)

        def peer(columns: Any = columns, n: int = n) -> Any:
            made = cholesky(columns)
            made.apply_Pt(made.solve_Lt(rng.standard_normal(n), use_LDLt_decomposition=False))
            return made

        theirs, factor = seconds(peer, 3 if m < 1000 else 1), peer()
        their_each = (
            seconds(
                lambda: factor.apply_Pt(
                    factor.solve_Lt(rng.standard_normal((n, batch)), use_LDLt_decomposition=False)
                ),
                3,
            )
            / batch
        )
        print(f"{text}; {theirs / first:.2f}× and {their_each / each:.2f}× CHOLMOD")


def setup() -> None:
    print("set-up of 64 cells (wanted ≤ 5 ms)")
    k = spd(64)
    law = Gaussian(np.zeros(64), sparse.csr_array(k))
    print(f"  independent {1e3 * seconds(lambda: law.factor_of('float64'), 20):.2f} ms")
    print(f"  reversible trajectory {1e3 * seconds(lambda: stepper(overdamped(k), 0.3, 0.0), 20):.2f} ms")
    circuit = rlc(64)
    print(f"  RLC law {1e3 * seconds(lambda: cells(circuit).factor, 20):.2f} ms")
    print(f"  RLC trajectory {1e3 * seconds(lambda: stepper(circuit, 1e-6, 0.0), 20):.2f} ms")
    unequal = replace(circuit, resistance=circuit.resistance * np.linspace(0.9, 1.1, 64))
    known = replace(unequal, noise=unequal.scale / unequal.resistance)
    print(f"  unequal RLC trajectory {1e3 * seconds(lambda: stepper(known, 1e-6, 0.0), 20):.2f} ms")
    hot = 1e3 * seconds(lambda: stepper(unequal, 1e-6, 0.0), 20)
    print(f"  the same out of equilibrium {hot:.2f} ms")
    a = np.ones((128, 128))
    print(f"  (a product of two 128 × 128 matrices {1e3 * seconds(lambda: a @ a, 50):.3f} ms)")


def busy() -> None:
    """Wall times with BLAS free to thread as it likes, beside as many busy processes as there are cores: with the backend's
    one thread, and without."""
    cores = os.cpu_count() or 1
    field = gaussian(0.0, precision=lattice(8).toarray())
    print("set-up of 64 cells by the backend on a busy machine, wall time (wanted ≤ 5 ms)")
    for target in ("ideal", "king-8x8"):
        device = load_device(target)
        job = compile_energy(field, device).jobs[0]
        configuration = configuration_of(job)
        circuit = board(configuration.codes, 0, device)
        interval = configuration.schedule.interval or 0.3
        with threadpool_limits(cores):
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
            try:
                for mode in Mode:
                    request = Request(1, 1, 0, mode, interval=interval)
                    wall = 1e3 * seconds(
                        lambda: reader(configuration, Circuits([circuit]), job.name, request),
                        30,
                        time.perf_counter,
                    )
                    print(f"  {target} {mode}: {wall:.2f} ms")
                free = 1e3 * seconds(lambda: stepper(circuit, interval, 0.0), 10, time.perf_counter)
                print(f"  {target}: were BLAS free, the stepper alone would take {free:.2f} ms")
            finally:
                for other in others:
                    other.kill()


def ngspice() -> None:
    """One balanced and one signed model of eight variables."""
    if shutil.which("ngspice") is None:
        print("ngspice is not on the PATH")
        return
    print("ngspice, 20,000 draws: the realised covariance against the compiled one (wanted ≤ 3 %, ≤ 60 s)")
    rng = np.random.default_rng(0)
    for target, signs in (("spu8", -1.0), ("spu8-signed", rng.choice([-1.0, 1.0], (8, 8)))):
        a = np.triu(signs * np.abs(rng.normal(size=(8, 8))), 1)
        precision = a + a.T + np.diag(np.abs(a + a.T).sum(axis=1) + 1.0)
        program = spucc.compile(gaussian(0.0, precision=precision), target=target)
        known = program_law(program).covariance
        assert known is not None
        start = time.perf_counter()
        result = program.run(samples=20_000, chains=2, seed=1, backend="spice")
        wall = time.perf_counter() - start
        x = result["x"].reshape(2, -1, 8)
        ess = effective_sample_size((x - x.mean(axis=(0, 1))) ** 2)
        stated = frobenius_bound(known, ess)
        off = np.linalg.norm(np.cov(result["x"].T) - known) / np.linalg.norm(known)
        print(
            f"  {target}: {off:.2%} off, {off / 0.03:.2f} of the bound, {off / stated:.2f} of its own statement of {stated:.2%} "
            f"(99 % of runs); {wall:.1f} s; {next(iter(result.provenance['simulation'].values()))}"
        )


ROWS: dict[str, Callable[[bool], None]] = {
    "setup": lambda large: setup(),
    "busy": lambda large: busy(),
    "independent": lambda large: independent(),
    "rlc": lambda large: underdamped(),
    "lattice": lattices,
    "trajectory": lambda large: trajectory(),
    "ngspice": lambda large: ngspice(),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="How fast the exact simulation is, against peers in the same run."
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all of them by default"
    )
    parser.add_argument("--large", action="store_true", help="the lattice of 10⁶ cells too")
    given = parser.parse_args()
    unknown = sorted(set(given.rows) - set(ROWS))
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}; the rows are {', '.join(ROWS)}")
    for name, row in ROWS.items():
        if not given.rows or name in given.rows:
            row(given.large)
