"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

F = Callable[..., Any]


def program_argument(f: F) -> F:
    """The program: a `.spu` file, or where it makes sense a compiled `.spuc`."""
    return click.argument("program", type=click.Path(path_type=str))(f)


def data_options(f: F) -> F:
    """`--data`, repeated: `NAME=VALUE` or a file."""
    f = click.option(
        "--allow-path",
        "allow_paths",
        multiple=True,
        metavar="DIR",
        help="A folder outside the program's own that the program may read files from.",
    )(f)
    return click.option(
        "--data",
        "-d",
        multiple=True,
        metavar="NAME=VALUE|FILE",
        help="A datum, or a .json, .npz or .csv file of data. May be repeated; NAME=VALUE wins over files.",
    )(f)


def compile_options(f: F) -> F:
    """What decides how a program is compiled."""
    options = [
        click.option(
            "--target", "-t", default="ideal", show_default=True, help="A device: a name, or a TOML file."
        ),
        click.option(
            "--calibration",
            default=None,
            metavar="FILE",
            help="What was measured of the device's parts (.npz, .json).",
        ),
        click.option(
            "--keep-best",
            is_flag=True,
            help="Ctrl-C ends the searches, and what is best so far goes on; again, it ends all.",
        ),
        click.option(
            "--passes", "-p", default=None, metavar="PIPELINE", help='Instead of the default: "a,b{x=1},c".'
        ),
        click.option(
            "--optimize",
            "-O",
            type=click.IntRange(0, 2),
            default=1,
            show_default=True,
            help="0 quick, 2 thorough.",
        ),
        click.option(
            "--tolerance", type=float, default=None, help="The worst error of sd, mean, correlation allowed."
        ),
        click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice."),
        click.option(
            "--realise",
            default=None,
            metavar="WAYS",
            help="Force ways of realising, e.g. double-cover,split.",
        ),
        click.option(
            "--ensemble", type=click.IntRange(1), default=None, help="So many programs, draws merged."
        ),
        click.option(
            "--bits", type=click.IntRange(1, 24), default=None, help="Override the banks' resolution."
        ),
    ]
    for option in reversed(options):
        f = option(f)
    return f


def split_data(data: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """`--data` values as (values by name, files). A value with `=` whose left side is a name is a datum."""
    values: dict[str, str] = {}
    files: list[str] = []
    for item in data:
        name, eq, value = item.partition("=")
        if eq and name.isidentifier():
            values[name] = value
        else:
            files.append(item)
    return values, files
