"""`spucc compile` and `spucc opt`: models and stages through passes."""

from __future__ import annotations

from typing import Any

import click

from spucc.cli.options import compile_options, data_options, program_argument

STAGES = ("energy", "jobs", "couplings", "placed", "quantized", "program")


@click.command("compile")
@program_argument
@data_options
@compile_options
@click.option("--output", "-o", default=None, metavar="FILE", help="Write the program (.spuc).")
@click.option(
    "--emit", default=None, metavar="STAGE", help=f"Write a stage instead: {', '.join(STAGES)}, or spice."
)
@click.option("--print-after", default=None, metavar="PASS|all", help="Print the stage after this pass.")
@click.option("--print-changed", is_flag=True, help="Print what each pass changed.")
@click.option("--stop-after", default=None, metavar="PASS", help="Stop after this pass and write its stage.")
@click.option("--start-from", default=None, metavar="FILE", help="Go on from a written stage.")
@click.option(
    "--dump-dir", default=None, metavar="DIR", help="Write the stage after every pass into this folder."
)
@click.option("--time-passes", is_flag=True, help="Print the CPU time of each pass.")
@click.option(
    "--rel-error",
    type=float,
    default=None,
    help="Schedule as many draws as bring the covariance within this.",
)
@click.option(
    "--tolerance-analysis",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="Draw N boards from the tolerances of the parts and say how many serve.",
)
@click.option(
    "--report",
    "report_file",
    default=None,
    metavar="FILE",
    help="Write a page that shows the program (.html).",
)
def compile_(program: str, **options: Any) -> None:
    """Compile PROGRAM for a target and show what each pass cost."""
    from spucc.cli.compiling import compile_command

    compile_command(program, **options)


@click.command("opt")
@click.argument("file")
@click.option("--passes", "-p", required=True, metavar="PIPELINE", help='Such as "quantize{bits=6},lower".')
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--optimize", "-O", type=click.IntRange(0, 2), default=1, show_default=True)
@click.option(
    "--output", "-o", default=None, metavar="FILE", help="Write the stage here instead of printing it."
)
def opt(file: str, passes: str, seed: int, optimize: int, output: str | None) -> None:
    """Run passes on a written stage."""
    from spucc.cli.compiling import opt_command

    opt_command(file, passes, seed, optimize, output)
