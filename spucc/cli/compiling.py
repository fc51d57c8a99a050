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

from spucc.cli.ledger import ledger_table, yield_table
from spucc.cli.options import split_data
from spucc.cli.report import report, sources
from spucc.diagnostics import did_you_mean, fail
from spucc.driver import (
    Elaborated,
    Timer,
    check_tolerance,
    default_passes,
    elaborated,
    program_of,
    run_pipeline,
    start,
    warn_of_error,
)
from spucc.pipeline import Context, Observer, Pass, parse_passes
from spucc.progress import Progress
from spucc.running.results import columns, write_whole
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
    model = _elaborated(program, data, allow_paths)
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
        changes["schedule"] = {"rel_error": options["rel_error"]}
    try:
        return ",".join(str(replace(p, **changes.get(p.name, {}))) for p in passes)
    except ValueError as error:
        fail("E0604", str(error))


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
    stop, shown = options.get("stop_after"), options.get("print_after")
    names = [p.name for p in steps]
    for wanted in (stop, None if shown == "all" else shown):
        if wanted is not None and wanted not in names:
            fail(
                "E0603",
                f"the pipeline has no pass `{wanted}`",
                help=did_you_mean(wanted, names) or ", ".join(names),
            )
    if stop is not None:
        steps = steps[: names.index(stop) + 1]
    context = Context(
        seed=options["seed"], optimize=options["optimize"], progress=Progress(), warn=lambda d: report([d])
    )
    try:
        with _keeping_best(context, bool(options.get("keep_best"))):
            state = run_pipeline(state, ",".join(str(p) for p in steps), context, observers)
    finally:
        context.progress.close()  # type: ignore[attr-defined]
    if state.stage is Stage.PROGRAM and options.get("tolerance") is None:
        warn_of_error(state.ledger, context.warn)
    return state, pipeline


_SINGLE = (
    "bits",
    "calibration",
    "dump_dir",
    "emit",
    "ensemble",
    "passes",
    "print_after",
    "print_changed",
    "realise",
    "start_from",
    "stop_after",
    "tolerance_analysis",
)


def pair_program(program: str, **options: Any) -> Program | None:
    """The program for a target `reals+spins`, a pair of devices; None for a single device. A usage error for options that speak
    of one pipeline."""
    from spucc.devices import load_device
    from spucc.running.mixed import compile_mixed

    if "+" not in options["target"] or options.get("start_from"):
        return None
    device = load_device(options["target"])
    if device.partner is None:
        return None
    if taken := [o for o in _SINGLE if options.get(o)]:
        raise click.UsageError(f"--{taken[0].replace('_', '-')} does not go with two devices")
    model = _elaborated(program, options["data"], options["allow_paths"])
    both = compile_mixed(
        model.energy,
        device,
        provenance=model.provenance,
        optimize=options["optimize"],
        tolerance=options["tolerance"],
    )
    if options["tolerance"] is None:
        warn_of_error(both.ledger, lambda d: report([d]))
    return both


def _elaborated(program: str, data: tuple[str, ...], allow_paths: tuple[str, ...]) -> Elaborated:
    """The front end, its warnings printed."""
    values, files = split_data(data)
    model = elaborated(Path(program), data=values, files=files, allow_paths=allow_paths, sources=sources())
    if model.warnings:
        report(model.warnings)
    return model


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
    done = [name.partition("{")[0] for name in _done(state)]
    names = [p.name for p in steps]
    for k in range(min(len(done), len(names)), -1, -1):
        if names[:k] == done[:k]:
            return steps[k:]
    return steps


def _done(state: State) -> list[str]:
    """The passes that a state has been through, as they print."""
    return [s.name for s in (*state.steps, *(state.jobs[0].steps if state.jobs else ()))]


def compile_command(program: str, **options: Any) -> None:
    """Compile, print the ledger, write what was asked for."""
    emit, output = options["emit"], options["output"]
    if emit is not None and emit not in (*Stage, "spice"):
        near = did_you_mean(emit, [*Stage, "spice"])
        raise click.UsageError(f"there is no stage `{emit}`; {near or 'the stages are ' + ', '.join(Stage)}")
    if program.endswith(".spuc"):
        _emit_compiled(program, options)
        return
    both = pair_program(program, **options)
    if both is not None:
        _put_pair(both, options)
        return
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
            from spucc.running.energy_ledger import energy_ledger, energy_line

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
        _out_spice(program_of(state, pipeline), options)
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


def _out_spice(program: Program, options: dict[str, Any]) -> None:
    from spucc.targets import emit_spice

    output = options["output"]
    _out(emit_spice(program, None if output is None else Path(output), seed=options["seed"]), output)


# Options that would have to change a compiled program.
_FIXED = (
    *(name for name in _SINGLE if name != "emit"),
    "data",
    "rel_error",
    "tolerance",
)


def _emit_compiled(file: str, options: dict[str, Any]) -> None:
    """What can be made of a program that is compiled already: its netlist, its text, its page. A usage error for options that
    would have to change it and for a stage on the way, E0690 for a stage that is behind it."""
    from spucc.ir import print_program, read_any, write_program

    emit, output = options["emit"], options["output"]
    program = read_any(file)
    if not isinstance(program, Program):
        raise click.UsageError(
            f"`{file}` is the stage `{program.stage}` of a compilation; `spucc opt {file} --passes ...` goes on from it"
        )
    given = [name for name in _FIXED if options.get(name)]
    if options["target"] not in ("ideal", program.device.name):
        given.append("target")
    if given:
        raise click.UsageError(
            f"`{file}` is compiled already, for {program.device.name}: --{given[0].replace('_', '-')} cannot change it; "
            "compile its model instead"
        )
    if emit is None and not options["report_file"]:
        raise click.UsageError(
            f"`{file}` is compiled already: --emit spice, --emit program or --report FILE make something of it, and "
            f"`spucc run {file}` runs it"
        )
    if emit not in (None, "spice", Stage.PROGRAM):
        fail(
            "E0690",
            f"`{file}` holds the compiled program and no longer its stage `{emit}`",
            help=f"compile its model with --emit {emit}",
        )
    if options["report_file"]:
        from spucc.report import write_report

        write_report(program, Path(options["report_file"]), None)
    if emit == "spice":
        _out_spice(program, options)
    elif emit is not None and output is None:
        click.echo(print_program(program), nl=False)
    elif emit is not None:
        write_program(program, output)


def _put_pair(program: Program, options: dict[str, Any]) -> None:
    """Print the ledger of a program for two devices; write what was asked for."""
    from spucc.running.energy_ledger import energy_ledger, energy_line

    click.echo(ledger_table(program))
    click.echo(energy_line(energy_ledger(program)))
    if options["report_file"]:
        from spucc.report import write_report

        write_report(program, Path(options["report_file"]), None)
    if options["output"] is not None:
        program.save(options["output"])


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


def opt_command(file: str, passes: str, seed: int, optimize: int, output: str | None) -> None:
    """Run passes on a written stage, then print or write the next."""
    from spucc.ir import read_state

    timer = Timer()
    state = run_pipeline(read_state(file), passes, Context(seed=seed, optimize=optimize), (timer,))
    if output is not None:
        click.echo(ledger_table(state, timer))
    if state.stage is Stage.PROGRAM:
        warn_of_error(state.ledger, lambda d: report([d]))
    if state.stage is Stage.PROGRAM and output is not None:
        from spucc.ir import write_program

        write_program(program_of(state, ",".join(_done(state))), output)
    else:
        _out_state(state, output)
