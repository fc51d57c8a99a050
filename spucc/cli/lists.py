"""`spucc targets` and `spucc passes`: what there is."""

from __future__ import annotations

import click


@click.command()
def targets() -> None:
    """List the devices that programs can be compiled for."""
    from spucc.devices import list_devices, load_device
    from spucc.results import columns

    rows = []
    for name in list_devices():
        spec = load_device(name).spec
        cells = load_device(name).topology.nodes
        bits = spec.coupling.bits
        rows.append([name, str(spec.family), "any" if cells is None else str(cells), str(bits or "-"), spec.description])
    widths = [max(len(r[c]) for r in rows) for c in range(5)]
    click.echo(columns(["name", "family", "cells", "bits"], [r[:4] for r in rows]).splitlines()[0] + "  description")
    for r in rows:
        click.echo(f"{r[0]:<{widths[0]}}  {r[1]:>{max(widths[1], 6)}}  {r[2]:>{max(widths[2], 5)}}  {r[3]:>4}  {r[4]}")


@click.command()
@click.option("--target", "-t", default=None, help="Show this device's default pipeline only.")
def passes(target: str | None) -> None:
    """List the passes, their options and the default pipelines."""
    from dataclasses import fields

    from spucc.passes import PIPELINES, registry

    if target is not None:
        from spucc.devices import load_device
        from spucc.driver import default_passes

        click.echo(default_passes(load_device(target)))
        return
    for name, thunk in registry().items():
        kind = thunk()
        click.echo(f"{name}: {kind.takes} → {kind.gives}")
        if kind.why:
            click.echo(f"    {kind.why}")
        for f in fields(kind):
            click.echo(f"    {f.name.replace('_', '-')}={f.default!r}  ({f.type})")
    click.echo("\ndefault pipelines")
    for family, text in PIPELINES.items():
        click.echo(f"  {family}: {text}")
