"""What `spucc compile` and `spucc opt` do."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np

from spucc.cli.options import split_data
from spucc.cli.report import report, sources
from spucc.diagnostics import did_you_mean, fail
from spucc.driver import Timer, check_tolerance, default_passes, elaborated, program_of, run_pipeline, start
from spucc.pipeline import Context, Observer, Pass, parse_passes
from spucc.progress import Progress
from spucc.results import columns, figure, write_whole
from spucc.stages import Program, Stage, State

PRINTED = 1000
"""Arrays with more entries are named by `--print-after`, not listed."""


@dataclass
class Printer(Observer):
    """`--print-after`, `--print-changed` and `--dump-dir`."""

    after_pass: str | None = None
    changed: bool = False
    folder: Path | None = None
    count: int = 0

    def after(self, step: Pass, before: State, after: State) -> State:
        from spucc.ir import print_state, write_state

        self.count += 1
        if self.after_pass in (step.name, "all"):
            click.echo(f"# after {step}\n{print_state(after, PRINTED)}")
        if self.changed:
            from spucc.ir.diff import diff_states

            click.echo(f"# {step}\n{diff_states(before, after)}")
        if self.folder is not None:
            write_state(after, self.folder / f"{self.count:02d}-{step.name}.spuc")
        return after


def load_state(
    program: str,
    data: tuple[str, ...],
    allow_paths: tuple[str, ...],
    target: str,
    bits: int | None,
    calibration: str | None = None,
) -> State:
    """The energy of a `.spu` program and the device, ready for the first pass."""
    from spucc.devices import calibrated, load_device

    device = load_device(target if bits is None else with_bits(target, bits))
    if calibration is not None:
        device = calibrated(device, Path(calibration))
    values, files = split_data(data)
    model = elaborated(Path(program), data=values, files=files, allow_paths=allow_paths, sources=sources())
    if model.warnings:
        report(model.warnings)
    return start(model.energy, device, model.provenance)


def with_bits(target: str, bits: int) -> str:
    """A target with its banks' resolution overridden, in the target's own notation."""
    return f"{target}{{bits={bits}}}" if not target.endswith("}") else f"{target[:-1]},bits={bits}}}"


def adjusted(pipeline: str, options: dict[str, Any]) -> str:
    """A pipeline with the command line's options written into its passes."""
    from spucc.passes import registry

    passes = parse_passes(pipeline, registry())
    changes: dict[str, dict[str, Any]] = {}
    if options.get("realise"):
        changes["realise"] = {"ways": tuple(options["realise"].replace("+", ",").split(","))}
    if options.get("ensemble"):
        changes["quantize"] = {"ensemble": options["ensemble"]}
    if options.get("rel_error") is not None:
        changes["lower"] = {"rel_error": options["rel_error"]}
    return ",".join(str(replace(p, **changes.get(p.name, {}))) for p in passes)


def compile_to_state(program: str, observers: Sequence[Observer], **options: Any) -> tuple[State, str]:
    """Run the pipeline as far as the options say. Returns the state and the pipeline that was run."""
    from spucc.passes import registry

    if options.get("start_from"):
        from spucc.ir import read_state

        state = read_state(options["start_from"])
    else:
        state = load_state(
            program,
            options["data"],
            options["allow_paths"],
            options["target"],
            options.get("bits"),
            options.get("calibration"),
        )
    pipeline = adjusted(options["passes"] or default_passes(state.device), options)
    steps = parse_passes(pipeline, registry())
    if options.get("start_from") and not options["passes"]:
        steps = _left(steps, state)
    stop = options.get("stop_after")
    if stop is not None:
        names = [p.name for p in steps]
        if stop not in names:
            fail(
                "E0603",
                f"the pipeline has no pass `{stop}`",
                help=did_you_mean(stop, names) or ", ".join(names),
            )
        steps = steps[: names.index(stop) + 1]
    context = Context(
        seed=options["seed"], optimize=options["optimize"], progress=Progress(), warn=lambda d: report([d])
    )
    try:
        with _keeping_best(context, bool(options.get("keep_best"))):
            state = run_pipeline(state, ",".join(str(p) for p in steps), context, observers)
    finally:
        context.progress.close()  # type: ignore[attr-defined]
    return state, pipeline


@contextmanager
def _keeping_best(context: Context, wanted: bool) -> Iterator[None]:
    """Within it the first Ctrl-C asks the passes to end with the best that they have, if that is wanted."""
    if not wanted:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if context.stop.is_set():
            raise KeyboardInterrupt
        context.stop.set()
        click.echo("stopping: the best so far is kept (Ctrl-C again to end at once)", err=True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _left(steps: list[Pass], state: State) -> list[Pass]:
    """The passes of a pipeline that a state has not been through."""
    done = [s.name.partition("{")[0] for s in (*state.steps, *(state.jobs[0].steps if state.jobs else ()))]
    names = [p.name for p in steps]
    for k in range(min(len(done), len(names)), -1, -1):
        if names[:k] == done[:k]:
            return steps[k:]
    return steps


def compile_command(program: str, **options: Any) -> None:
    """Compile, print the ledger, write what was asked for."""
    emit, output = options["emit"], options["output"]
    if emit is not None and emit not in (*Stage, "spice"):
        near = did_you_mean(emit, [*Stage, "spice"])
        raise click.UsageError(f"there is no stage `{emit}`; {near or 'the stages are ' + ', '.join(Stage)}")
    timer = Timer()
    folder = Path(options["dump_dir"]) if options["dump_dir"] else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    printer = Printer(options["print_after"], options["print_changed"], folder)
    observers: list[Observer] = [timer, printer]
    keep = _Keep(emit) if emit in tuple(Stage) else None
    if keep is not None:
        observers.append(keep)
    album = None
    if options["report_file"]:
        from spucc.report import Album

        album = Album()
        observers.append(album)
    state, pipeline = compile_to_state(program, observers, **options)
    if keep is not None and keep.state is None and state.stage == emit:
        keep.state = state
    quiet = emit is not None and output is None
    if not quiet:
        click.echo(ledger_table(state, timer))
        if state.stage is Stage.PROGRAM:
            from spucc.energy_ledger import energy_ledger, energy_line

            click.echo(energy_line(energy_ledger(program_of(state, pipeline))))
    if options["time_passes"]:
        click.echo(columns(["pass", "CPU s"], [[n, f"{s:.4f}"] for n, s in timer.seconds.items()]), err=True)
    if state.stage is Stage.PROGRAM and options["tolerance"] is not None:
        check_tolerance(state.ledger, options["tolerance"])
    if options["tolerance_analysis"] is not None and state.stage is Stage.PROGRAM:
        click.echo(
            yield_table(state, options["tolerance_analysis"], options["tolerance"], options["seed"]),
            err=quiet,
        )
    if emit == "spice":
        from spucc.targets import emit_spice

        place = None if output is None else Path(output)
        _out(emit_spice(program_of(state, pipeline), place, seed=options["seed"]), output)
        return
    if options["report_file"]:
        from spucc.report import write_report

        write_report(program_of(state, pipeline), Path(options["report_file"]), album)
    if keep is not None:
        if keep.state is None:
            fail("E0690", f"the pipeline does not pass the stage `{emit}`")
        _out_state(keep.state, output)
    elif output is not None and state.stage is Stage.PROGRAM and options["stop_after"] is None:
        from spucc.ir import write_program

        write_program(program_of(state, pipeline), output)
    elif output is not None or options["stop_after"]:
        _out_state(state, output)


@dataclass
class _Keep(Observer):
    """Keeps the last state at a stage, for `--emit`."""

    stage: str | None
    state: State | None = None

    def before(self, step: Pass, state: State) -> None:
        if state.stage == self.stage:
            self.state = state

    def after(self, step: Pass, before: State, after: State) -> State:
        if after.stage == self.stage:
            self.state = after
        return after


def _out(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=not text.endswith("\n"))
    else:
        write_whole(Path(output), text.encode())


def _out_state(state: State, output: str | None) -> None:
    from spucc.ir import print_state, write_state

    if output is None:
        # Whole, so that what is redirected to a file reads back.
        click.echo(print_state(state), nl=False)
    else:
        write_state(state, output)


def ledger_table(state: State | Program, timer: Timer | None = None) -> str:
    """Pass by pass: what it did, time, and how far the realised distribution is from the model."""
    rows = []
    for step in state.steps:
        name = step.name.partition("{")[0]
        seconds = "" if timer is None else f"{timer.seconds.get(name, 0.0):.3f}"
        rows.append([name, seconds, "", "", "", "", "; ".join(step.notes)])
    entries = {(e.job, e.name): e for e in state.ledger}
    for job in state.jobs:
        if len(state.jobs) > 1:
            rows.append([f"job {job.name}", "", "", "", "", "", ""])
        for step in job.steps:
            name = step.name.partition("{")[0]
            e = entries.get((job.name, name))
            seconds = "" if timer is None else f"{timer.seconds.get(name, 0.0):.3f}"
            figures = [""] * 4
            if e is not None:
                approx = {"exact": "", "bound": "≤", "estimate": "~", "none": ""}[e.basis]
                values = (e.kl_forward, e.sd_error, e.mean_error, e.correlation_error)
                figures = ["?" if v != v else approx + (f"{v:.1e}" if v else "0") for v in values]
            rows.append([name, seconds, *figures, "; ".join(step.notes)])
    header = ["pass", "CPU s", "KL/variable", "sd", "mean", "corr", "what it did"]
    plain = columns(header[:-1], [r[:-1] for r in rows]).splitlines()
    width = max(len(line) for line in plain)
    return "\n".join(f"{line:<{width}}  {r[-1]}".rstrip() for line, r in zip(plain, [header, *rows]))


USUAL_TOLERANCE = 0.02
"""The error of a board that counts as serving when `--tolerance` does not say."""


def yield_table(state: State, boards: int, tolerance: float | None, seed: int) -> str:
    """For every job: how many of `boards` drawn boards serve, and how far off they are."""
    from spucc.tolerance import tolerance_analysis

    limit = USUAL_TOLERANCE if tolerance is None else tolerance
    rows = []
    for k, job in enumerate(state.jobs):
        found = tolerance_analysis(job, state.device, boards, Context(seed=seed).rng(0x701, k))
        low, middle, high = (f"{100 * q:.2g} %" for q in found.quantiles())
        rows.append(
            [job.name, f"{100 * found.share(limit):.3g} %", low, middle, high, f"{np.median(found.kl):.1e}"]
        )
    title = f"{boards} boards with parts drawn from their tolerances; within {limit:g} of every sd and mean:"
    return f"{title}\n" + columns(["job", "boards", "sd off: 5 %", "median", "95 %", "KL/variable"], rows)


def opt_command(file: str, passes: str, seed: int, optimize: int, output: str | None) -> None:
    """Run passes on a written stage, then print or write the next."""
    from spucc.ir import read_state

    state = run_pipeline(read_state(file), passes, Context(seed=seed, optimize=optimize))
    if state.stage is Stage.PROGRAM and output is not None:
        from spucc.ir import write_program

        write_program(program_of(state, passes), output)
    else:
        _out_state(state, output)


__all__ = ["adjusted", "compile_command", "figure", "ledger_table", "opt_command"]
