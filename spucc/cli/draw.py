"""`spucc draw`: the model or the chip of a compiled program as a picture or a graph."""

from __future__ import annotations

import click


@click.command()
@click.argument("program")
@click.option("--output", "-o", required=True, metavar="FILE", help="A .svg, .png, .dot or .graphml file.")
@click.option("--what", type=click.Choice(["chip", "model"]), default="chip", show_default=True)
@click.option("--job", default=None, metavar="NAME", help="Whose chip, of a program with several jobs.")
@click.option("--colour", type=click.Choice(["chain", "value", "error"]), default="chain", show_default=True)
def draw(program: str, output: str, what: str, job: str | None, colour: str) -> None:
    """Draw the chip or the model of a compiled PROGRAM (.spuc)."""
    from pathlib import Path

    from spucc.ir import read_program
    from spucc.report.draw import draw as write

    write(read_program(program), Path(output), what, job, colour)
