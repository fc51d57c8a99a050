"""`spucc drive`: work, heat and dissipated energy of paths that are led from one model to another."""

from __future__ import annotations

from pathlib import Path

import click

from spucc.cli.options import data_options


@click.command()
@click.argument("first")
@click.argument("last")
@data_options
@click.option("--target", "-t", default="langevin-ideal", show_default=True, help="A Langevin device.")
@click.option("--duration", type=float, required=True, help="Of the drive, in the device's unit of time.")
@click.option("--paths", type=int, default=1000, show_default=True, help="Independent paths.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice.")
@click.option(
    "--output", "-o", default=None, metavar="FILE", help="Write every path: .nc (ArviZ), .npz or .json."
)
def drive(
    first: str,
    last: str,
    data: tuple[str, ...],
    allow_paths: tuple[str, ...],
    target: str,
    duration: float,
    paths: int,
    seed: int,
    output: str | None,
) -> None:
    """Lead units from equilibrium in the model FIRST to LAST (.spu files over the same variables): the work done on each path,
    the heat it gives to its bath, and what is dissipated, in kT."""
    from spucc.cli.options import split_data
    from spucc.cli.report import sources
    from spucc.devices import load_device
    from spucc.driver import elaborated
    from spucc.running.driving import driven

    values, files = split_data(data)
    one, two = (
        elaborated(Path(p), data=values, files=files, allow_paths=allow_paths, sources=sources()).energy
        for p in (first, last)
    )
    result = driven(one, two, load_device(target), duration=duration, paths=paths, seed=seed)
    if output is not None:
        result.save(output)
    click.echo(result.table())
