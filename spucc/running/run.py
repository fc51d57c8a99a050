"""Run a program on a backend and answer its queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.backend import Backend, Mode, Progress, Request, silent
from spucc.diagnostics import fail
from spucc.energy import Form, Query, QueryKind
from spucc.readback import HostLoop
from spucc.running.estimates import Estimate
from spucc.running.interrupts import held_back
from spucc.running.minimum import Minimum
from spucc.running.normaliser import Normaliser
from spucc.running.provenance import board_error, board_number, on_board, provenance
from spucc.running.results import Result
from spucc.running.taker import Plan, Taker
from spucc.running.tape import Tape
from spucc.running.trajectories import Trajectory
from spucc.running.turns import run_turns, takes_turns
from spucc.stages import Configuration, Job, Program, Schedule, source_maps


def run_program(
    program: Program,
    *,
    samples: int | None = None,
    chains: int | None = None,
    seed: int = 0,
    backend: str | Backend | None = None,
    board: int | None = None,
    mode: str = "independent",
    interval: float | None = None,
    progress: Progress = silent,
    stopped: Callable[[], bool] = lambda: False,
    stream: str | PathLike[str] | None = None,
    resume: bool = False,
    announce: Callable[[str], None] = lambda text: None,
) -> Result:
    """Run every job of a program and answer its queries.

    `samples` draws in all (the program's own schedule by default), or a few more, for each of `chains` chains (4, but of no
    more chains than draws) has as many; `seed` any integer; `backend` by default the simulator of the device's family;
    `board` the number of the board that a backend with boards runs on, by default `seed`; `interval` [s] between two draws of
    a trajectory, by default the schedule's. A KeyboardInterrupt ends the run with the draws so far and `Result.complete`
    False. `stream` is a netCDF file (`.nc`) that is written as the run goes, in bounded memory; with `resume` a stopped run
    goes on from it, and ends with the same bytes as one that was not stopped. `announce` is told how long a long run will
    take, and of draws beyond those asked for. Raises `SpuccError` for a backend that cannot run the program (E07xx), for
    numbers of draws and chains that do not go together (E0594) and for draws that do not fit memory (E0593).
    """
    from spucc.running.mixed import engine_of

    engine = on_board(engine_of(backend, program.device), board, seed)
    if getattr(engine, "trajectories", False):
        mode = Mode.TRAJECTORY
    if interval is not None and mode == Mode.INDEPENDENT:
        fail("E0726", "independent draws have no interval between them", help="add --mode trajectory")
    if interval == 0:
        fail(
            "E0726",
            "draws of a trajectory that are 0 s apart are all the same",
            help="leave --interval out for the program's own, or give the seconds between two draws",
        )
    schedules = [job.value.schedule for job in program.jobs if isinstance(job.value, Configuration)]
    plan = Plan.of(max(scheduled(program), chains or 1) if samples is None else samples, chains)
    if samples not in (None, plan.samples):
        announce(f"{plan.samples} draws rather than {samples}: as many of each of {plan.chains} chains")
    independent = mode == Mode.INDEPENDENT and not takes_turns(program)
    independent = independent and not any(_has_loop(job) for job in program.jobs)
    # A backend that cannot draw independently from a job says so; its estimates then count effective draws.
    tells = getattr(engine, "independent", None)
    independent = independent and (tells is None or all(tells(job, program.device) for job in program.jobs))
    per_draw = 1.0 if independent else min((_worth(s, interval) for s in schedules), default=1.0)
    estimates = [
        _estimate(program, q, plan, independent, per_draw, progress)
        for q in program.source.queries
        if q.kind not in _APART
    ]
    for e in estimates:
        e.prepare(streamed=stream is not None)
    best = [Minimum(program, q, seed) for q in program.source.queries if q.kind is QueryKind.ARGMIN]
    free = [
        Normaliser(program, q, plan, seed, engine, mode, progress)
        for q in program.source.queries
        if q.kind in _FREE
    ]
    paths = [
        Trajectory(program, q, plan, seed, engine)
        for q in program.source.queries
        if q.kind is QueryKind.TRAJECTORY
    ]
    takers: list[Taker] = [*estimates, *best, *free, *paths]
    origin = provenance(program, plan, seed, engine.name, mode, plan.samples)
    origin |= board_number(engine)
    if interval is not None:
        origin["interval"] = interval
    of_board = board_error(engine, program, seed)
    notes: dict[str, str] = {}
    tape = Tape(None if stream is None else Path(stream), plan, takers, origin, program)
    with tape:
        if resume:
            tape.take_up()
        else:
            tape.claim()
        request = Request(
            draws=plan.draws - tape.done,
            chains=plan.chains,
            seed=seed,
            mode=Mode(mode),
            interval=interval,
            first=tape.done,
        )
        # All jobs share the memory.
        request = replace(request, memory=max(_STREAM_MEMORY // max(len(program.jobs), 1), 1 << 12))
        complete, seen = True, tape.done
        expect = _Forecast(plan, tape.done, tape.bytes(), announce)
        if stream is None and not (estimates or best):
            # Nothing that is asked takes draws of the program itself.
            request, seen = replace(request, draws=0), plan.draws
        told = _Told(progress, request, len(program.jobs))
        try:
            for chunks, states, whole in _lockstep(engine, program, request, told, tape.states(), notes):
                count = chunks[0].shape[1] if chunks else plan.draws
                # All takers have the same draws, also after a Ctrl-C.
                with held_back():
                    tape.begin(states, {**_said(notes), **of_board})
                    for taker in takers:
                        taker.add(chunks)
                    seen += count
                    expect(seen, estimates)
                    if whole:
                        tape.mark(seen, states)
                told.draws(seen)
                if stopped() and seen < plan.draws:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            complete = False
            if seen == 0:
                raise
        by_query = {t.query.name: t.answer() for t in takers}
        answers = tuple(by_query[q.name] for q in program.source.queries)
        tape.finish(answers, complete)
    return Result(
        answers, {**origin, **_said(notes), **of_board, "samples": seen * plan.chains}, complete, program
    )


def _said(notes: dict[str, str]) -> dict[str, dict[str, str]]:
    """What the backend says of its own error, by job, as a part of the provenance."""
    return {"simulation": dict(notes)} if notes else {}


_FREE = (QueryKind.LOGZ, QueryKind.LOGDET)
_APART = (QueryKind.ARGMIN, QueryKind.TRAJECTORY, *_FREE)

# Bytes of draws that are under way, and between two checkpoints of a file.
_STREAM_MEMORY = 32 << 20


class _Told:
    """What a run says while it draws: one share for all jobs, and how fast they are."""

    def __init__(self, progress: Progress, request: Request, jobs: int) -> None:
        self._progress, self._request, self._jobs = progress, request, jobs
        self._shares: dict[str, float] = {}
        self._share = 0.0
        self._begin = time.monotonic()

    def of(self, job: str) -> Progress:
        """For the backend that draws a job."""

        def told(text: str, share: float) -> None:
            if text == job:
                self._shares[job] = share
                self._say(sum(self._shares.values()) / self._jobs)
            else:
                self._progress(text, share)

        return told

    def draws(self, seen: int) -> None:
        """So many draws of each chain are in the answers."""
        self._say((seen - self._request.first) / max(self._request.draws, 1))

    def _say(self, share: float) -> None:
        # A job may be ahead of the others, whose draws are not yet in the answers.
        self._share = share = max(share, self._share)
        request, spent = self._request, time.monotonic() - self._begin
        rate = request.draws * request.chains * share / max(spent, 1e-9)
        whole = (request.first + request.draws * share) / max(request.first + request.draws, 1)
        self._progress(f"sampling, {_short(rate)} draws/s", whole)


def _short(rate: float) -> str:
    """Three digits, in thousands or millions where there are any."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if rate >= size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.3g}"


class _Forecast:
    """Says once how long a long run will take, and how large its file will be, when some draws have told: those after the
    first ones, which take the time to set up."""

    def __init__(self, plan: Plan, first: int, size: int, announce: Callable[[str], None]) -> None:
        self._plan, self._first, self._size, self._announce = plan, first, size, announce
        self._begin = time.monotonic()
        self._seen: int | None = None
        self._done = False

    def __call__(self, seen: int, estimates: Sequence[Estimate]) -> None:
        """After `seen` draws of each chain."""
        now = time.monotonic()
        if self._done or seen == self._plan.draws:
            return
        if self._seen is None:
            # Draws that are slow enough tell at once.
            if now - self._begin < 5.0:
                self._seen, self._begin = seen, now
                return
            self._seen = 0
        if now - self._begin < 0.5:
            return
        left = (now - self._begin) * (self._plan.draws - seen) / max(seen - self._seen, 1)
        text = forecast(self._plan, self._first, left + sum(e.afterwards() for e in estimates), self._size)
        self._done = True
        if text:
            self._announce(text)


def forecast(plan: Plan, first: int, seconds: float, size: int) -> str:
    """What is said of a run from draw number `first` of each chain on that takes so many seconds more and a file of `size` bytes;
    nothing of one that is neither long nor large."""
    if seconds <= 30 and size <= 1 << 30:
        return ""
    disk = f" and {size / 2**30:.3g} GiB on the disk" if size else ""
    return f"{(plan.draws - first) * plan.chains} draws: about {seconds:.0f} s{disk}"


def _worth(schedule: Schedule, interval: float | None) -> float:
    """Effective draws that one draw is worth at an interval: as many a second as scheduled, and at most one a draw."""
    if interval is None or schedule.interval == 0:
        return schedule.ess_per_draw
    return min(1.0, schedule.ess_per_draw * interval / schedule.interval)


def scheduled(program: Program) -> int:
    """The draws that a program's own schedule asks for, over all chains."""
    schedules = [job.value.schedule for job in program.jobs if isinstance(job.value, Configuration)]
    return max((s.draws * s.chains for s in schedules), default=1000)


def _has_loop(job: Job) -> bool:
    return isinstance(job.value, Configuration) and any(isinstance(b, HostLoop) for b in job.value.readback)


def _lockstep(
    engine: Backend,
    program: Program,
    request: Request,
    told: _Told,
    states: Sequence[FloatArray | None],
    notes: dict[str, str],
) -> Iterator[tuple[list[FloatArray], list[FloatArray | None], bool]]:
    """The same stretch of draws of every job, one list after the other; the state of each job at the end of its chunk; and
    whether all chunks end here, so that a run can go on from there. `notes` takes what the backend says of each job's draws."""
    if not request.draws:
        return
    if takes_turns(program):
        for values, after_turns in run_turns(program, request, told.of(""), states, notes):
            yield values, after_turns, True
        return
    streams = [
        engine.run(job, program.device, replace(request, state=state), told.of(job.name))
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
                if chunk.note:
                    notes[program.jobs[k].name] = chunk.note
        ready = [h for h in held if h is not None]
        count = min(h.shape[1] for h in ready)
        held = [h[:, count:] if h.shape[1] > count else None for h in ready]
        done += count
        yield [h[:, :count] for h in ready], list(after), all(h is None for h in held)


def _estimate(
    program: Program, query: Query, plan: Plan, independent: bool, per_draw: float, progress: Progress
) -> Estimate:
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
    return Estimate(
        query,
        matrices,
        shift,
        plan.chains,
        plan.draws,
        independent,
        per_draw,
        gathers=gathers,
        progress=progress,
    )
