"""`spucc targets` and `spucc passes`: what there is."""

from __future__ import annotations

import click


@click.command()
def targets() -> None:
    """List the devices that programs can be compiled for."""
    from spucc.devices import list_devices, load_device, parametrised_targets

    rows = [("name", "family", "cells", "bits", "description")]
    for name, description in list_devices():
        device = load_device(name)
        cells, bits = device.topology.nodes, device.spec.coupling.bits
        rows.append((name, str(device.family), str(cells or "any"), str(bits or "-"), description))
    widths = [max(len(r[c]) for r in rows) for c in range(4)]
    for r in rows:
        click.echo("  ".join([*(v.ljust(w) for v, w in zip(r, widths)), r[4]]))
    click.echo("\nlattices by their numbers, and changes in braces, such as `king(12,12){bits=10}`")
    forms = parametrised_targets()
    width = max(len(form) for form, _ in forms)
    for form, text in forms:
        click.echo(f"{form:<{width}}  {text}")


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
