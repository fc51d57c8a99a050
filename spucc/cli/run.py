"""`spucc run` and `spucc law`."""

from __future__ import annotations

from typing import Any

import click

from spucc.cli.options import compile_options, data_options, program_argument


@click.command()
@program_argument
@data_options
@compile_options
@click.option(
    "--samples",
    "-n",
    type=int,
    default=None,
    help="Draws in all, over all chains: rounded up to as many of each (default: the program's schedule).",
)
@click.option("--chains", type=int, default=None, help="Independent chains (default: 4).")
@click.option(
    "--backend",
    "-b",
    default=None,
    help="What runs the program (default: the simulator of the device's family).",
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
    "--interval",
    type=float,
    default=None,
    help="Seconds between two draws of a trajectory, above 0 (default: the program's schedule).",
)
@click.option(
    "--rel-error",
    type=float,
    default=None,
    help="As many draws as bring every answer's relative error within this: that of an array against its size, ‖error‖/‖value‖, "
    "so that entries near 0 need not be known to a share of themselves; of means, quantiles and correlations the error in "
    "standard deviations.",
)
@click.option(
    "--max-samples",
    type=int,
    default=10_000_000,
    show_default=True,
    help="The most draws that --rel-error may take.",
)
@click.option(
    "--output", "-o", default=None, metavar="FILE", help="Write the answers: .nc (ArviZ), .npz or .json."
)
@click.option("--resume", is_flag=True, help="Go on with the run that wrote -o FILE.nc and was stopped.")
@click.option("--quiet", "-q", is_flag=True, help="Do not print the answers.")
def run(program: str, **options: Any) -> None:
    """Compile PROGRAM (or take a compiled .spuc), run it, print the answers."""
    from spucc.cli.running import run_command

    run_command(program, **options)


@click.command()
@click.argument("program")
@click.option("--output", "-o", default=None, metavar="FILE", help="Write mean and covariance (.npz).")
def law(program: str, output: str | None) -> None:
    """Print the distribution that a compiled PROGRAM samples after infinite time, from its codes alone."""
    from spucc.cli.running import law_command

    law_command(program, output)
