"""`spucc inspect` and `spucc diff`: look at what was written."""

from __future__ import annotations

import click


@click.command()
@click.argument("file")
@click.option("--stage", "whole", is_flag=True, help="Print the whole text form.")
def inspect(file: str, whole: bool) -> None:
    """Show what a .spuc FILE (a program or a stage) or a result (.npz, .nc, .json) holds."""
    from spucc.cli.inspecting import inspect_command

    inspect_command(file, whole)


@click.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Compare two programs: variables, placement, codes, predicted errors."""
    from spucc.ir import read_program
    from spucc.ir.diff import diff_programs

    click.echo(diff_programs(read_program(first), read_program(second)))
