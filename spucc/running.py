"""Run a program on a backend and answer its queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.backend import Backend, Mode, Progress, Request, silent
from spucc.diagnostics import fail
from spucc.energy import Energy, Form, Query, QueryKind
from spucc.estimates import Estimate
from spucc.readback import Affine, HostLoop, fold
from spucc.results import Answer, Result
from spucc.stages import Configuration, Job, Program


@dataclass(frozen=True)
class Plan:
    """How a run is cut: `draws` of each of `chains` chains."""

    draws: int
    chains: int

    @staticmethod
    def of(samples: int, chains: int) -> Plan:
        """At most `chains` chains of equal length, `samples` draws in all. Raises E0594 for less than one draw."""
        if samples < 1:
            fail("E0594", f"cannot take {samples} samples", help="ask for at least one with --samples")
        if chains < 1:
            fail("E0594", f"cannot run {chains} chains", help="ask for at least one with --chains")
        count = next(c for c in range(min(chains, samples), 0, -1) if samples % c == 0)
        return Plan(samples // count, count)


def run_program(
    program: Program,
    *,
    samples: int | None = None,
    chains: int = 4,
    seed: int = 0,
    backend: str | Backend = "exact",
    mode: str = "independent",
    progress: Progress = silent,
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Run every job of a program and answer its queries.

    `samples` draws in all (the program's own schedule by default) over `chains` chains; `seed` any integer. A
    KeyboardInterrupt ends the run with the draws so far and `Result.complete` False. Raises `SpuccError` for a backend that
    cannot run the program (E07xx) and for draws that do not fit memory (E0593).
    """
    engine = _backend(backend)
    if getattr(engine, "trajectories", False):
        mode = Mode.TRAJECTORY
    schedules = [job.value.schedule for job in program.jobs if isinstance(job.value, Configuration)]
    if samples is None:
        samples = max((s.draws * s.chains for s in schedules), default=1000)
    plan = Plan.of(samples, chains)
    independent = mode == Mode.INDEPENDENT and not any(_has_loop(job) for job in program.jobs)
    # A backend that cannot draw independently from a job says so; its estimates then count effective draws.
    tells = getattr(engine, "independent", None)
    independent = independent and (tells is None or all(tells(job, program.device) for job in program.jobs))
    estimates = [
        _estimate(program, q, plan, independent)
        for q in program.source.queries
        if q.kind is not QueryKind.ARGMIN
    ]
    for e in estimates:
        e.prepare()
    best = [_Best(program, q) for q in program.source.queries if q.kind is QueryKind.ARGMIN]
    takers: list[Estimate | _Best] = [*estimates, *best]
    request = Request(draws=plan.draws, chains=plan.chains, seed=seed, mode=Mode(mode))
    complete, seen = True, 0
    try:
        for chunks in _lockstep(engine, program, request, progress):
            for taker in takers:
                taker.add(chunks)
            seen += chunks[0].shape[1] if chunks else plan.draws
            progress("sampling", seen / plan.draws)
            if stopped():
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        complete = False
        if seen == 0:
            raise
    by_query = {t.query.name: t.answer() for t in takers}
    answers = tuple(by_query[q.name] for q in program.source.queries)
    return Result(answers, provenance(program, plan, seed, engine.name, mode, seen * plan.chains), complete)


def provenance(
    program: Program, plan: Plan, seed: int, backend: str, mode: str, draws: int
) -> dict[str, Any]:
    """Where a result comes from: digests of program and data, device, seed, versions, and how wrong the law can be."""
    import platform

    import scipy

    last = {entry.job: entry for entry in program.ledger}
    return {
        "program_digest": program.provenance.program_digest,
        "data_digest": program.provenance.data_digest,
        "target": program.device.name,
        "device_fingerprint": program.device.fingerprint,
        "pipeline": program.pipeline,
        "backend": backend,
        "mode": mode,
        "seed": seed,
        "samples": draws,
        "chains": plan.chains,
        "fidelity": {
            name: {
                "kl_forward_per_variable": e.kl_forward,
                "worst_sd_error": e.sd_error,
                "worst_mean_error_in_sd": e.mean_error,
                "worst_correlation_error": e.correlation_error,
                "basis": e.basis,
            }
            for name, e in last.items()
        },
        "versions": {
            "spucc": program.provenance.version,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
    }


def _backend(backend: str | Backend) -> Backend:
    if not isinstance(backend, str):
        return backend
    from spucc.targets import load_backend

    return load_backend(backend)


def _has_loop(job: Job) -> bool:
    return isinstance(job.value, Configuration) and any(isinstance(b, HostLoop) for b in job.value.readback)


def _lockstep(
    engine: Backend, program: Program, request: Request, progress: Progress
) -> Iterator[list[FloatArray]]:
    """The same stretch of draws of every job, one list after the other."""
    streams = [engine.run(job, program.device, request, progress) for job in program.jobs]
    held: list[FloatArray | None] = [None] * len(streams)
    done = 0
    while done < request.draws and streams:
        for k, stream in enumerate(streams):
            if held[k] is None:
                held[k] = next(stream).values
        ready = [h for h in held if h is not None]
        count = min(h.shape[1] for h in ready)
        yield [h[:, :count] for h in ready]
        held = [h[:, count:] if h.shape[1] > count else None for h in ready]
        done += count


def source_maps(program: Program) -> tuple[list[sparse.csr_array], FloatArray]:
    """For each job the matrix that takes its coordinates to those of the source [n, n_job], and the offset [n]."""
    back = fold([s.readback for s in program.steps if s.readback is not None], program.source.n)[0]
    assert isinstance(back, Affine)
    columns = sparse.csc_array(back.matrix)
    return [sparse.csr_array(columns[:, job.coordinates]) for job in program.jobs], back.offset


def _estimate(program: Program, query: Query, plan: Plan, independent: bool) -> Estimate:
    """The accumulator of a query: its forms, and for an expectation the factors of its products, in the jobs' coordinates."""
    assert query.form is not None
    maps, offset = source_maps(program)
    forms: list[Form] = [query.form]
    gathers = []
    at = query.form.size
    for product in query.products:
        size = product.left.size
        gathers.append((slice(at, at + size), slice(at + size, at + 2 * size), product.gather))
        forms += [product.left, product.right]
        at += 2 * size
    stacked = sparse.csr_array(sparse.vstack([f.matrix for f in forms], format="csr"))
    shift = np.concatenate([np.ravel(f.offset) for f in forms]) + stacked @ offset
    matrices = [sparse.csr_array(stacked @ m) for m in maps]
    return Estimate(query, matrices, shift, plan.chains, plan.draws, independent, gathers=gathers)


class _Best:
    """`argmin`: the state of least energy among the draws and, for Gaussian models, their mean."""

    def __init__(self, program: Program, query: Query) -> None:
        self.query = query
        self._program = program
        self._maps, self._offset = source_maps(program)
        self._model = [v for v in program.source.variables if not v.stands_for]
        self._state: FloatArray | None = None
        self._energy = np.inf
        self._sum: FloatArray = np.zeros(program.source.n)
        self._count = 0

    def add(self, chunks: list[FloatArray]) -> None:
        width = max(1, (1 << 22) // max(self._offset.size, 1))
        rows = chunks[0].shape[0] * chunks[0].shape[1]
        for start in range(0, rows, width):
            x: FloatArray = np.zeros((min(width, rows - start), self._offset.size)) + self._offset
            for m, c in zip(self._maps, chunks):
                x += np.asarray((m @ c.reshape(rows, -1)[start : start + width].T).T)
            self._sum += x.sum(axis=0)
            self._count += x.shape[0]
            self._try(x)

    def _try(self, x: FloatArray) -> None:
        energy = _model_energy(self._program.source, x)
        k = int(np.argmin(energy))
        if energy[k] < self._energy:
            self._energy, self._state = float(energy[k]), x[k].copy()

    def answer(self) -> Answer:
        if self._program.source.is_gaussian and self._count:
            self._try((self._sum / self._count)[None, :])
        assert self._state is not None
        parts = [self._state[v.start : v.stop] for v in self._model]
        return Answer(
            self.query.name,
            self.query.kind,
            np.concatenate(parts) if parts else np.zeros(0),
            parts=tuple((v.name, v.shape) for v in self._model),
            note=f"energy {self._energy:.6g}, the least found in {self._count} draws",
        )


def _model_energy(source: Energy, x: FloatArray) -> FloatArray:
    """E of each row, the Gaussians of matrix queries left out."""
    hidden = [v for v in source.variables if v.stands_for]
    if hidden:
        x = x.copy()
        for v in hidden:
            x[:, v.start : v.stop] = 0.0
    return source.at(x)
