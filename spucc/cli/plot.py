"""`spucc plot`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default=None,
    help="A .png or .svg (default: RESULT.png).",
)
@click.option("--query", default=None, help="The sample query to draw (default: the first).")
@click.option(
    "--program",
    default=None,
    metavar="FILE",
    help="A compiled .spuc for what is exact (default: the one that RESULT holds).",
)
@click.option(
    "--rows", type=click.IntRange(1, 20), default=4, show_default=True, help="Entries with a row each."
)
def plot(result: Path, output: Path | None, query: str | None, program: str | None, rows: int) -> None:
    """Draw the draws in RESULT (.nc): traces, marginals against the exact density, autocorrelation, and the errors of the
    correlations."""
    from spucc.running.plots import plot as draw

    compiled = None
    if program is not None:
        from spucc.ir import read_program

        compiled = read_program(program)
    target = output if output is not None else result.with_suffix(".png")
    said = draw(result, target, query=query, program=compiled, most=rows)
    click.echo(f"wrote {target}")
    for note in said:
        click.echo(note, err=True)
