"""`spucc targets` and `spucc passes`: what there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spucc.pipeline import Pass


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
    """List the passes, their options and the default pipelines; of a target, why each pass stands where it does."""
    from spucc.diagnostics import SpuccError
    from spucc.passes import PIPELINES, registry

    if target is not None:
        from spucc.devices import load_device
        from spucc.driver import default_passes
        from spucc.pipeline import parse_passes

        device = load_device(target)
        sides = [device] if device.partner is None else [device.alone, device.partner]
        if device.partner is not None:
            click.echo(
                "two devices, each with its pipeline; first the parts of the model are separated, or take turns\n"
            )
        for k, side in enumerate(sides):
            pipeline = default_passes(side)
            click.echo(("\n" if k else "") + (f"{side.name}: " if len(sides) > 1 else "") + f"{pipeline}\n")
            steps = parse_passes(pipeline, registry())
            width = max(len(step.name) for step in steps)
            for step in steps:
                click.echo(f"{step.name:<{width}}  {step.takes} → {step.gives}: {step.why}")
        return
    for name, thunk in registry().items():
        try:
            kind = thunk()
        except SpuccError as error:
            click.echo(f"{name}: {error.diagnostics[0].title}")
            continue
        click.echo(f"{name}: {kind.takes} → {kind.gives}")
        if kind.why:
            click.echo(f"    {kind.why}")
        for option in _options(kind):
            click.echo(f"    {option}")
    click.echo("\ndefault pipelines (`spucc passes -t DEVICE` says why each pass stands where it does)")
    for family, text in PIPELINES.items():
        click.echo(f"  {family}: {text}")


def _options(kind: type[Pass]) -> Iterator[str]:
    """The options of a pass as they are written in a pipeline, with their defaults and types."""
    from dataclasses import fields
    from typing import get_type_hints

    from spucc.pipeline import print_value

    hints = get_type_hints(kind)
    for f in fields(kind):
        hint = hints[f.name]
        type_ = hint.__name__ if isinstance(hint, type) else str(hint)
        type_ = type_.replace("tuple[str, ...]", "words joined by +").replace(" | None", " or None")
        yield f"{f.name.replace('_', '-')}={print_value(f.default)}  ({type_})"
