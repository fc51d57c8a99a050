"""Run a program on a backend and answer its queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from spucc.trajectories import Trajectory

if TYPE_CHECKING:
    from spucc.draws_file import DrawsFile, Layout


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
    backend: str | Backend | None = None,
    mode: str = "independent",
    progress: Progress = silent,
    stopped: Callable[[], bool] = lambda: False,
    stream: str | PathLike[str] | None = None,
    resume: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run every job of a program and answer its queries.

    `samples` draws in all (the program's own schedule by default) over `chains` chains; `seed` any integer; `backend` by
    default the simulator of the device's family. A
    KeyboardInterrupt ends the run with the draws so far and `Result.complete` False. `stream` is a netCDF file (`.nc`) that
    is written as the run goes, in bounded memory; with `resume` a stopped run goes on from it, and ends with the same bytes
    as one that was not stopped. `announce` is told how long a long run will take. Raises `SpuccError` for a backend that
    cannot run the program (E07xx) and for draws that do not fit memory (E0593).
    """
    from spucc.targets import backend_of

    engine = backend_of(backend, program.device.family)
    if getattr(engine, "trajectories", False):
        mode = Mode.TRAJECTORY
    schedules = [job.value.schedule for job in program.jobs if isinstance(job.value, Configuration)]
    if samples is None:
        samples = scheduled(program)
    plan = Plan.of(samples, chains)
    independent = mode == Mode.INDEPENDENT and not any(_has_loop(job) for job in program.jobs)
    # A backend that cannot draw independently from a job says so; its estimates then count effective draws.
    tells = getattr(engine, "independent", None)
    independent = independent and (tells is None or all(tells(job, program.device) for job in program.jobs))
    per_draw = 1.0 if independent else min((s.ess_per_draw for s in schedules), default=1.0)
    estimates = [
        _estimate(program, q, plan, independent, per_draw)
        for q in program.source.queries
        if q.kind not in _APART
    ]
    for e in estimates:
        e.prepare(streamed=stream is not None)
    best = [_Best(program, q, seed) for q in program.source.queries if q.kind is QueryKind.ARGMIN]
    free = [
        _Free(program, q, plan, seed, engine, mode, progress)
        for q in program.source.queries
        if q.kind in _FREE
    ]
    paths = [
        Trajectory(program, q, plan, seed) for q in program.source.queries if q.kind is QueryKind.TRAJECTORY
    ]
    takers: list[Taker] = [*estimates, *best, *free, *paths]
    origin = provenance(program, plan, seed, engine.name, mode, plan.draws * plan.chains)
    tape = _Tape(None if stream is None else Path(stream), plan, takers, origin, program)
    with tape:
        if resume:
            tape.take_up()
        request = Request(
            draws=plan.draws - tape.done, chains=plan.chains, seed=seed, mode=Mode(mode), first=tape.done
        )
        # All jobs share the memory; of a file it is small enough for a checkpoint every few seconds.
        memory = request.memory if stream is None else _STREAM_MEMORY
        request = replace(request, memory=max(memory // max(len(program.jobs), 1), 1 << 12))
        complete, seen, begin = True, tape.done, time.monotonic()
        if stream is None and not (estimates or best):
            # Nothing that is asked takes draws of the program itself.
            request, seen = replace(request, draws=0), plan.draws
        try:
            for chunks, states in _lockstep(engine, program, request, progress, tape.states()):
                count = chunks[0].shape[1] if chunks else plan.draws
                if seen == tape.done:
                    _announce(plan, seen, count, time.monotonic() - begin, tape.bytes(), announce)
                tape.begin(states)
                for taker in takers:
                    taker.add(chunks)
                seen += count
                tape.mark(seen, states)
                progress("sampling", seen / plan.draws)
                if stopped() and seen < plan.draws:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            complete = False
            if seen == 0:
                raise
        by_query = {t.query.name: t.answer() for t in takers}
        answers = tuple(by_query[q.name] for q in program.source.queries)
        tape.finish(answers, complete)
    return Result(answers, {**origin, "samples": seen * plan.chains}, complete)


_FREE = (QueryKind.LOGZ, QueryKind.LOGDET)
_APART = (QueryKind.ARGMIN, QueryKind.TRAJECTORY, *_FREE)

# Bytes of draws between two checkpoints of a file.
_STREAM_MEMORY = 32 << 20


class _Tape:
    """The file that a run writes as it goes, if it writes one."""

    def __init__(
        self,
        path: Path | None,
        plan: Plan,
        takers: Sequence[Taker],
        origin: dict[str, Any],
        program: Program,
    ) -> None:
        self._path, self._plan, self._takers, self._origin, self._program = (
            path,
            plan,
            takers,
            origin,
            program,
        )
        self._file: DrawsFile | None = None
        self.done = 0

    def __enter__(self) -> _Tape:
        return self

    def __exit__(self, *problem: object) -> None:
        if self._file is not None:
            self._file.close()

    def take_up(self) -> None:
        """Go on with the file that is there. Raises E0744, E0745."""
        from spucc.draws_file import resume

        if self._path is None:
            fail("E0745", "there is no file to resume", help="name it with -o FILE.nc")
        self._file = resume(self._path, self._origin)
        self.done = self._file.done
        self._attach()
        for taker in self._takers:
            taker.restore(self._file.restored(f"sum_{taker.query.name}"), self.done)

    def states(self) -> list[FloatArray | None]:
        """The state of each job to go on from."""
        names = [f"state_{k}" for k in range(len(self._program.jobs))]
        return [None if self._file is None or not self.done else self._file.restored(n) for n in names]

    def bytes(self) -> int:
        """The size of the file to be, without states."""
        return 0 if self._path is None else self._layout([]).bytes

    def begin(self, states: Sequence[FloatArray | None] | None) -> None:
        """Create the file when the first draws are there: only then is it known what a job's state is."""
        if self._path is None or self._file is not None:
            return
        from spucc.draws_file import create

        self._file = create(self._path, self._layout(states or []), self._origin)
        self._attach()

    def mark(self, seen: int, states: Sequence[FloatArray | None] | None) -> None:
        """A checkpoint after `seen` draws, where every job can go on from."""
        if self._file is None or states is None:
            return
        held = {f"state_{k}": s for k, s in enumerate(states) if s is not None}
        self._file.checkpoint(seen, self._sums(), held)

    def finish(self, answers: Sequence[Answer], complete: bool) -> None:
        """Write the answers; those of an interrupted run too, of the draws so far."""
        if self._file is None or self._file.finished:
            return
        for name, value in Result(tuple(answers)).arrays().items():
            if f"answers/{name}" in self._file:
                self._file.array(f"answers/{name}")[...] = value
        if complete:
            self._file.checkpoint(self._plan.draws, self._sums(), {}, finished=True)

    def _sums(self) -> dict[str, FloatArray]:
        return {f"sum_{t.query.name}": t.sums() for t in self._takers}

    def _attach(self) -> None:
        assert self._file is not None
        for t in self._takers:
            if isinstance(t, Estimate) and t.keeps and t.size:
                group = "posterior" if t.query.kind is QueryKind.SAMPLE else "run"
                array = self._file.array(f"{group}/{t.query.name}")
                t.kept = array.reshape(self._plan.chains, self._plan.draws, t.size)
            elif isinstance(t, Estimate) and t.keeps:
                t.kept = np.empty((self._plan.chains, self._plan.draws, 0))

    def _layout(self, states: Sequence[FloatArray | None]) -> Layout:
        from spucc.draws_file import Layout

        own = [t for t in self._takers if isinstance(t, Estimate) and t.keeps]
        return Layout(
            chains=self._plan.chains,
            draws=self._plan.draws,
            samples=tuple((t.query.name, t.shape) for t in own if t.query.kind is QueryKind.SAMPLE),
            kept=tuple((t.query.name, t.size) for t in own if t.query.kind is not QueryKind.SAMPLE),
            answers=tuple(pair for t in self._takers for pair in t.answer_shapes()),
            sums=tuple((f"sum_{t.query.name}", t.sums().size) for t in self._takers if t.sums().size),
            states=tuple((f"state_{k}", s.shape) for k, s in enumerate(states) if s is not None),
        )


def _announce(
    plan: Plan, done: int, count: int, seconds: float, size: int, announce: Callable[[str], None]
) -> None:
    """Say how long a long run will take, and how large its file will be, once the first draws have told."""
    left = seconds * (plan.draws - done) / max(count, 1)
    if left > 30 or size > 1 << 30:
        disk = f" and {size / 2**30:.3g} GiB on the disk" if size else ""
        announce(f"{(plan.draws - done) * plan.chains} draws: about {left:.0f} s{disk}")


def scheduled(program: Program) -> int:
    """The draws that a program's own schedule asks for, over all chains."""
    schedules = [job.value.schedule for job in program.jobs if isinstance(job.value, Configuration)]
    return max((s.draws * s.chains for s in schedules), default=1000)


# Draws that a run towards an error may take in all, unless the user says otherwise.
MOST_SAMPLES = 10_000_000


def run_until(
    program: Program,
    rel_error: float,
    *,
    samples: int | None = None,
    most: int = MOST_SAMPLES,
    stream: str | PathLike[str] | None = None,
    **options: Any,
) -> Result:
    """Run with more and more draws until every answer's relative error (`relative_error`) is at most `rel_error`, or
    `most` draws are taken. The provenance says which: `rel_error_asked` and `rel_error_reached`.

    A longer run begins with the draws of the shorter one. Options as of `run_program`. Raises E0746 for an error that is
    not between 0 and 1.
    """
    if not 0 < rel_error < 1:
        fail(
            "E0746",
            f"a relative error of {rel_error:g} cannot be reached",
            help="ask for one between 0 and 1, e.g. 0.01",
        )
    result = run_program(
        program, samples=min(scheduled(program) if samples is None else samples, max(most, 1)), **options
    )
    reached, taken = relative_error(result), int(result.provenance["samples"])
    while result.complete and reached > rel_error and taken < most:
        chains = int(result.provenance["chains"])
        wanted = 1.1 * taken * (min(reached, 1e3) / rel_error) ** 2
        # Never more than a hundredfold at once: the first estimate of an error is itself one.
        taken = int(min(max(wanted, 1.2 * taken), 100.0 * taken, most))
        taken = max(taken // chains, 1) * chains
        result = run_program(program, samples=taken, **options)
        reached = relative_error(result)
        if taken + chains > most:
            break
    if stream is not None and result.complete:
        result = run_program(program, samples=taken, stream=stream, **options)
    told = {"rel_error_asked": rel_error, "rel_error_reached": reached}
    return replace(result, provenance={**result.provenance, **told})


def relative_error(result: Result) -> float:
    """The worst relative standard error of a run's answers.

    Of `cov`, `inverse`, `var`, `std`, `solve`, `logz`, `logdet`: ‖error‖/‖value‖. Of draws, that of their covariance,
    √((1 + r)/N), r = tr(Σ)²/tr(Σ²) (physics §4). Of means, quantiles and correlations, 1/√N: errors in standard deviations.
    """
    relative = (
        QueryKind.COV,
        QueryKind.INVERSE,
        QueryKind.VAR,
        QueryKind.STD,
        QueryKind.SOLVE,
        QueryKind.LOGZ,
        QueryKind.LOGDET,
    )
    worst = 0.0
    for a in result.answers:
        if a.kind in (QueryKind.ARGMIN, QueryKind.TRAJECTORY) or not a.value.size:
            continue
        if a.kind in relative:
            size = float(np.linalg.norm(a.value))
            found = float(np.linalg.norm(a.error)) / size if a.error is not None and size > 0 else 0.0
        else:
            count = 1.0 if a.ess is None else float(np.min(a.ess))
            spread = 1.0
            if a.kind is QueryKind.SAMPLE:
                flat = a.value.reshape(a.value.shape[0], -1)
                flat = flat - flat.mean(axis=0)
                # tr(S²) of S = XᵀX through the smaller of XᵀX and XXᵀ.
                rows = flat[:: max(1, flat.shape[0] // 2000)]
                gram = rows.T @ rows if rows.shape[1] <= rows.shape[0] else rows @ rows.T
                square = float((gram * gram).sum())
                spread = 1.0 + (float(np.trace(gram)) ** 2 / square if square > 0 else 0.0)
            found = float(np.sqrt(spread / count))
        worst = max(worst, found)
    return worst


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


def _has_loop(job: Job) -> bool:
    return isinstance(job.value, Configuration) and any(isinstance(b, HostLoop) for b in job.value.readback)


def _lockstep(
    engine: Backend,
    program: Program,
    request: Request,
    progress: Progress,
    states: Sequence[FloatArray | None],
) -> Iterator[tuple[list[FloatArray], list[FloatArray | None] | None]]:
    """The same stretch of draws of every job, one list after the other, and with it the state of each job to go on from,
    or None in the middle of a job's chunk."""
    if not request.draws:
        return
    streams = [
        engine.run(job, program.device, replace(request, state=state), progress)
        for job, state in zip(program.jobs, states)
    ]
    held: list[FloatArray | None] = [None] * len(streams)
    after: list[FloatArray | None] = [None] * len(streams)
    done = 0
    while done < request.draws and streams:
        for k, stream in enumerate(streams):
            if held[k] is None:
                chunk = next(stream)
                held[k], after[k] = chunk.values, chunk.state
        ready = [h for h in held if h is not None]
        count = min(h.shape[1] for h in ready)
        held = [h[:, count:] if h.shape[1] > count else None for h in ready]
        done += count
        yield [h[:, :count] for h in ready], list(after) if all(h is None for h in held) else None


def source_maps(program: Program) -> tuple[list[sparse.csr_array], FloatArray]:
    """For each job the matrix that takes its coordinates to those of the source [n, n_job], and the offset [n]."""
    back = fold([s.readback for s in program.steps if s.readback is not None], program.source.n)[0]
    assert isinstance(back, Affine)
    columns = sparse.csc_array(back.matrix)
    return [sparse.csr_array(columns[:, job.coordinates]) for job in program.jobs], back.offset


def _estimate(program: Program, query: Query, plan: Plan, independent: bool, per_draw: float) -> Estimate:
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
    return Estimate(query, matrices, shift, plan.chains, plan.draws, independent, per_draw, gathers=gathers)


class _Best:
    """`argmin`: the state of least energy among the draws; for Gaussian models also their mean, and for spins and bits what a
    search finds, with a bound that no state goes below."""

    def __init__(self, program: Program, query: Query, seed: int = 0) -> None:
        self.query, self._seed = query, seed
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

    def sums(self) -> FloatArray:
        """What is carried from draw to draw, as one vector."""
        state = np.full(self._sum.size, np.nan) if self._state is None else self._state
        return np.concatenate([[self._energy, float(self._count)], state, self._sum])

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Go on with what `sums` gave."""
        if sums is not None and seen:
            n = self._sum.size
            self._energy, self._count = float(sums[0]), int(sums[1])
            self._state, self._sum = sums[2 : 2 + n].copy(), sums[2 + n :].copy()

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have."""
        return tuple((f"{self.query.name}.{v.name}", v.shape) for v in self._model)

    def answer(self) -> Answer:
        if self._program.source.is_gaussian and self._count:
            self._try((self._sum / self._count)[None, :])
        note = self._searched()
        assert self._state is not None
        parts = [self._state[v.start : v.stop] for v in self._model]
        return Answer(
            self.query.name,
            self.query.kind,
            np.concatenate(parts) if parts else np.zeros(0),
            parts=tuple((v.name, v.shape) for v in self._model),
            note=f"energy {self._energy:.6g}, {note or f'the least found in {self._count} draws'}",
        )

    def _searched(self) -> str:
        """Search a model of spins and bits with pair couplings; what can be said of the state, empty where nothing can."""
        model = self._program.model
        if not model.n or model.higher or model.domains[0].size:
            return ""
        from spucc.targets.spins.queries import best_state

        found = best_state(model, self._seed)
        back = fold(
            [s.readback for s in self._program.steps if s.readback is not None], self._program.source.n
        )[0]
        assert isinstance(back, Affine)
        state = back.draws(found.state[None, :])
        self._try(state)
        # the model's constant may differ from the source's by what was observed
        bound = found.bound + float(_model_energy(self._program.source, state)[0]) - found.energy
        if found.proof == "exact":
            return "and no state has less"
        return f"and no state is below {min(bound, self._energy):.6g} ({found.proof})"


class _Free:
    """`logz` and `logdet` (`spucc.free_energy`): from programs of their own along a path, each run with as many draws; of spins
    and bits from the model itself."""

    def __init__(
        self,
        program: Program,
        query: Query,
        plan: Plan,
        seed: int,
        engine: Backend,
        mode: str,
        progress: Progress,
    ) -> None:
        self.query = query
        self._program, self._plan, self._seed = program, plan, seed
        self._engine, self._mode, self._progress = engine, mode, progress

    def add(self, chunks: list[FloatArray]) -> None:
        """Draws of the program itself say nothing of its normalising constant."""

    def sums(self) -> FloatArray:
        return np.zeros(0)

    def restore(self, sums: FloatArray | None, seen: int) -> None:
        """Nothing is carried along."""

    def answer_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The names and shapes of the arrays that the answer will have."""
        return (self.query.name, ()), (f"{self.query.name}.error", ())

    def answer(self) -> Answer:
        from spucc.free_energy import answer, spin_answer

        model = self._program.model
        if self.query.kind is QueryKind.LOGZ and not model.is_gaussian:
            return spin_answer(self.query, model, self._seed)
        return answer(self.query, model, self._draw)

    def _draw(self, energy: Energy, number: int) -> tuple[FloatArray, float, float]:
        from spucc.driver import compile_energy

        program = compile_energy(energy, self._program.device, passes=self._program.pipeline or None)
        result = run_program(
            program,
            samples=self._plan.draws * self._plan.chains,
            chains=self._plan.chains,
            # Each program has its own noise.
            seed=self._seed * 1_000_003 + number + 1,
            backend=self._engine,
            mode=self._mode,
        )
        self._progress(self.query.name, 0.0)
        (found,) = result.answers
        share = 1.0 if found.ess is None else float(found.ess.min()) / found.value.shape[0]
        last = {entry.job: entry.sd_error for entry in program.ledger}
        return found.value, min(share, 1.0), max(last.values(), default=0.0)


Taker = Estimate | _Best | _Free | Trajectory
"""What takes the draws of a run and gives an answer."""


def _model_energy(source: Energy, x: FloatArray) -> FloatArray:
    """E of each row, the Gaussians of matrix queries left out."""
    hidden = [v for v in source.variables if v.stands_for]
    if hidden:
        x = x.copy()
        for v in hidden:
            x[:, v.start : v.stop] = 0.0
    return source.at(x)
