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
    chains: int = 4,
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

    `samples` draws in all (the program's own schedule by default) over `chains` chains; `seed` any integer; `backend` by
    default the simulator of the device's family; `board` the number of the board that a backend with boards runs on, by default
    `seed`; `interval` [s] between two draws of a trajectory, by default the
    schedule's. A KeyboardInterrupt ends the run with the draws so far and `Result.complete` False. `stream` is a netCDF file
    (`.nc`) that is written as the run goes, in bounded memory; with `resume` a stopped run goes on from it, and ends with the
    same bytes as one that was not stopped. `announce` is told how long a long run will take. Raises `SpuccError` for a backend
    that cannot run the program (E07xx) and for draws that do not fit memory (E0593).
    """
    from spucc.running.mixed import engine_of

    engine = on_board(engine_of(backend, program.device), board, seed)
    if getattr(engine, "trajectories", False):
        mode = Mode.TRAJECTORY
    if interval is not None and mode == Mode.INDEPENDENT:
        fail("E0726", "independent draws have no interval between them", help="add --mode trajectory")
    schedules = [job.value.schedule for job in program.jobs if isinstance(job.value, Configuration)]
    if samples is None:
        samples = scheduled(program)
    plan = Plan.of(samples, chains)
    independent = mode == Mode.INDEPENDENT and not takes_turns(program)
    independent = independent and not any(_has_loop(job) for job in program.jobs)
    # A backend that cannot draw independently from a job says so; its estimates then count effective draws.
    tells = getattr(engine, "independent", None)
    independent = independent and (tells is None or all(tells(job, program.device) for job in program.jobs))
    per_draw = 1.0 if independent else min((_worth(s, interval) for s in schedules), default=1.0)
    estimates = [
        _estimate(program, q, plan, independent, per_draw)
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
    origin = provenance(program, plan, seed, engine.name, mode, plan.draws * plan.chains)
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
        # All jobs share the memory; of a file it is small enough for a checkpoint every few seconds.
        memory = request.memory if stream is None else _STREAM_MEMORY
        request = replace(request, memory=max(memory // max(len(program.jobs), 1), 1 << 12))
        complete, seen, begin = True, tape.done, time.monotonic()
        if stream is None and not (estimates or best):
            # Nothing that is asked takes draws of the program itself.
            request, seen = replace(request, draws=0), plan.draws
        try:
            for chunks, states, whole in _lockstep(engine, program, request, progress, tape.states(), notes):
                count = chunks[0].shape[1] if chunks else plan.draws
                # All takers have the same draws, also after a Ctrl-C.
                with held_back():
                    if seen == tape.done:
                        _announce(plan, seen, count, time.monotonic() - begin, tape.bytes(), announce)
                    tape.begin(states, {**_said(notes), **of_board})
                    for taker in takers:
                        taker.add(chunks)
                    seen += count
                    if whole:
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
    return Result(
        answers, {**origin, **_said(notes), **of_board, "samples": seen * plan.chains}, complete, program
    )


def _said(notes: dict[str, str]) -> dict[str, dict[str, str]]:
    """What the backend says of its own error, by job, as a part of the provenance."""
    return {"simulation": dict(notes)} if notes else {}


_FREE = (QueryKind.LOGZ, QueryKind.LOGDET)
_APART = (QueryKind.ARGMIN, QueryKind.TRAJECTORY, *_FREE)

# Bytes of draws between two checkpoints of a file.
_STREAM_MEMORY = 32 << 20


def _announce(
    plan: Plan, done: int, count: int, seconds: float, size: int, announce: Callable[[str], None]
) -> None:
    """Say how long a long run will take, and how large its file will be, once the first draws have told."""
    left = seconds * (plan.draws - done) / max(count, 1)
    if left > 30 or size > 1 << 30:
        disk = f" and {size / 2**30:.3g} GiB on the disk" if size else ""
        announce(f"{(plan.draws - done) * plan.chains} draws: about {left:.0f} s{disk}")


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
    progress: Progress,
    states: Sequence[FloatArray | None],
    notes: dict[str, str],
) -> Iterator[tuple[list[FloatArray], list[FloatArray | None], bool]]:
    """The same stretch of draws of every job, one list after the other; the state of each job at the end of its chunk; and
    whether all chunks end here, so that a run can go on from there. `notes` takes what the backend says of each job's draws."""
    if not request.draws:
        return
    if takes_turns(program):
        for values, after_turns in run_turns(program, request, progress, states, notes):
            yield values, after_turns, True
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
                if chunk.note:
                    notes[program.jobs[k].name] = chunk.note
        ready = [h for h in held if h is not None]
        count = min(h.shape[1] for h in ready)
        held = [h[:, count:] if h.shape[1] > count else None for h in ready]
        done += count
        yield [h[:, :count] for h in ready], list(after), all(h is None for h in held)


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
