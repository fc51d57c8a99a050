"""`spucc verify`."""

from __future__ import annotations

from typing import Any

import click

from spucc.cli.options import compile_options, data_options, program_argument


@click.command()
@program_argument
@data_options
@compile_options
@click.option(
    "--samples", "-n", type=int, default=20_000, show_default=True, help="Draws in all, over all chains."
)
@click.option("--chains", type=int, default=4, show_default=True, help="Independent chains.")
@click.option(
    "--backend", "-b", default=None, help="What runs the program (default: the simulator of its family)."
)
@click.option(
    "--board",
    type=int,
    default=None,
    metavar="K",
    help="Which board of the board model (default: the one of the seed's number).",
)
@click.option(
    "--mode", type=click.Choice(["independent", "trajectory"]), default="independent", show_default=True
)
@click.option(
    "--false-alarm", type=float, default=1e-6, show_default=True, help="How often a good backend may fail."
)
def verify(program: str, **options: Any) -> None:
    """Test that what PROGRAM draws on a backend is the compiled distribution and the model. Exit code 1 when not."""
    from spucc.cli.running import load_or_compile
    from spucc.progress import Progress
    from spucc.verify import verify_program

    compiled = load_or_compile(program, **options)
    progress = Progress()
    try:
        found = verify_program(
            compiled,
            samples=options["samples"],
            chains=options["chains"],
            seed=options["seed"],
            backend=options["backend"],
            board=options["board"],
            mode=options["mode"],
            false_alarm=options["false_alarm"],
            progress=progress,
        )
    finally:
        progress.close()
    click.echo(found.table())
    if not found.passed:
        raise click.exceptions.Exit(1)
