"""What `spucc run` and `spucc law` do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spucc.cli.compiling import compile_to_state, pair_program
from spucc.driver import check_tolerance, program_of
from spucc.progress import Progress
from spucc.running.accuracy import check_error, hardly_worth, run_until
from spucc.running.provenance import board_statement
from spucc.running.run import run_program
from spucc.stages import Program


def load_or_compile(program: str, **options: Any) -> Program:
    """A compiled program as it is, a `.spu` file through the pipeline.

    The seed of a run is that of its draws: what is compiled does not depend on it, so that running a model and running the
    program compiled from it give the same bytes.
    """
    if program.endswith(".spuc"):
        from spucc.ir import read_program

        compiled = read_program(program)
        _refuse_compile_options(program, compiled, options)
        return compiled
    both = pair_program(program, **options)
    if both is not None:
        return both
    state, pipeline = compile_to_state(program, (), **{**options, "seed": 0})
    if options.get("tolerance") is not None:
        check_tolerance(state.ledger, options["tolerance"])
    return program_of(state, pipeline)


def _refuse_compile_options(file: str, program: Program, options: dict[str, Any]) -> None:
    """A usage error for options that would have to change a program that is compiled already."""
    given = [name for name in ("data", "passes", "realise", "ensemble", "bits") if options.get(name)]
    if options.get("target") not in (None, "ideal", program.device.name):
        given.append("target")
    if given:
        raise click.UsageError(
            f"`{file}` is compiled already, for {program.device.name}: --{given[0]} cannot change it; run its model instead"
        )


def run_command(program: str, **options: Any) -> None:
    """Run and print; write the answers whole or not at all, also those of an interrupted run."""
    output = options["output"]
    if output is not None and Path(output).suffix not in (".nc", ".npz", ".json"):
        raise click.UsageError(f"cannot write results as `{output}`: end the name in .nc, .npz or .json")
    streamed = output is not None and Path(output).suffix == ".nc"
    if options["resume"] and options["rel_error"] is not None:
        raise click.UsageError(
            "--resume takes the number of draws from the file, so it does not go with --rel-error"
        )
    if options["resume"] and not streamed:
        raise click.UsageError("--resume goes on with a file that `-o FILE.nc` names")
    if options["rel_error"] is not None:
        # A program that is compiled anew is scheduled by it.
        check_error(options["rel_error"], options["max_samples"])
    compiled = load_or_compile(program, **options)
    progress = Progress()

    def announce(text: str) -> None:
        progress.close()
        click.echo(text, err=True)

    common: dict[str, Any] = {
        "samples": options["samples"],
        "chains": options["chains"],
        "seed": options["seed"],
        "backend": options["backend"],
        "board": options["board"],
        "mode": options["mode"],
        "interval": options["interval"],
        "progress": progress,
        "stream": output if streamed else None,
        "announce": announce,
    }
    try:
        if options["rel_error"] is None:
            result = run_program(compiled, resume=options["resume"], **common)
        else:
            result = run_until(compiled, options["rel_error"], most=options["max_samples"], **common)
        if output is not None and not streamed:
            result.save(output)
        table = "" if options["quiet"] else result.table(progress=progress)
    finally:
        progress.close()
    if not options["quiet"]:
        click.echo(table)
        click.echo(statement(compiled, result.provenance))
    asked, reached = (result.provenance.get(f"rel_error_{k}", 0.0) for k in ("asked", "reached"))
    if reached > asked:
        click.echo(
            f"warning: the relative error is {reached:.2g} after {result.provenance['samples']} draws, not the {asked:g} that "
            "was asked for: --max-samples sets the cap",
            err=True,
        )
    if options["interval"] is not None and (warning := hardly_worth(result)):
        click.echo(
            f"warning: {warning}: --interval {options['interval']:g} is short against the circuit's memory; leave it out for the "
            "program's own",
            err=True,
        )
    if not result.complete:
        kept = result.provenance["samples"]
        way = "; `--resume` goes on" if streamed else ""
        click.echo(
            f"interrupted: kept the {kept} draws so far" + (f" in {output}" if output else "") + way, err=True
        )
        raise click.exceptions.Exit(130)


def statement(program: Program, provenance: Any) -> str:
    """One line: where the answers come from and how wrong the compiled distribution is."""
    rows = [
        f"\n{provenance['samples']} draws on {program.device.name} ({provenance['backend']}), seed {provenance['seed']}"
    ]
    rows += [f"the simulation: {note}" for note in sorted(set(provenance.get("simulation", {}).values()))]
    last = {e.job: e for e in program.ledger}
    if last:
        worst = max(last.values(), key=lambda e: (e.sd_error == e.sd_error, e.sd_error))
        if worst.basis == "none":
            rows.append(f"the compiled distribution: no statement can be made of its error ({worst.note})")
        else:
            rows.append(
                f"the compiled distribution ({worst.basis}): sd within {worst.sd_error:.2g} relative, means within "
                f"{worst.mean_error:.2g} sd, correlations within {worst.correlation_error:.2g}"
            )
    if board := board_statement(provenance):
        rows.append(board)
    return "\n".join(rows)


def law_command(program: str, output: str | None) -> None:
    """Mean and covariance of every variable of a compiled program, from the codes alone."""
    from spucc.ir import read_program
    from spucc.running.law import law_arrays, law_table, ledger_check

    compiled = read_program(program)
    arrays = law_arrays(compiled)
    if output is not None:
        from spucc.running.law import save_law

        save_law(arrays, Path(output))
    click.echo(law_table(compiled, arrays))
    click.echo(ledger_check(compiled))
