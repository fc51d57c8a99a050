"""What `spucc inspect` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from spucc.cli.compiling import PRINTED
from spucc.cli.ledger import ledger_table
from spucc.diagnostics import fail
from spucc.running.results import columns


def inspect_command(file: str, whole: bool) -> None:
    """A program's or stage's summary, or a result's arrays and provenance."""
    suffix = Path(file).suffix
    if not Path(file).is_file():
        fail("E0616", f"cannot read `{file}`: there is no such file")
    if suffix in (".npz", ".nc", ".json"):
        _inspect_result(Path(file))
        return
    from spucc.ir import print_program, print_state, read_any, read_program, read_state
    from spucc.stages import Program, Stage

    if whole:
        value = read_any(file)
        show = print_program if isinstance(value, Program) else print_state
        click.echo(show(value, PRINTED))  # type: ignore[arg-type]
        return
    state = read_state(file)
    click.echo(f"{file}: stage {state.stage}, device {state.device.name}")
    rows = [
        [v.name, str(v.domain), str(list(v.shape)), str(v.span or "")]
        for v in state.source.variables
        if not v.stands_for
    ]
    click.echo(columns(["variable", "domain", "shape", "declared at"], rows))
    if state.source.queries:
        click.echo(columns(["query", "asks for"], [[q.name, str(q.kind)] for q in state.source.queries]))
    if state.stage is not Stage.PROGRAM:
        click.echo(ledger_table(state))
        return
    from spucc.running.energy_ledger import energy_ledger, energy_table

    finished = read_program(file)
    click.echo(ledger_table(finished))
    click.echo(energy_table(energy_ledger(finished)))


def _inspect_result(path: Path) -> None:
    import zipfile

    import numpy as np

    from spucc.npz import load_npz, npz_headers

    rows: list[list[str]] = []
    provenance: Any = {}
    try:
        if path.suffix == ".npz":
            # Only the provenance is read: the draws may be larger than memory.
            with zipfile.ZipFile(path) as archive:
                headers = npz_headers(archive)
            found = load_npz(path, frozenset({"provenance"}))
            provenance = json.loads(str(found["provenance"])) if found else {}
            rows += [[n, str(s), str(t)] for n, (s, t) in headers.items() if n != "provenance"]
        elif path.suffix == ".json":
            document = json.loads(path.read_text(encoding="utf-8"))
            provenance = document["provenance"]
            for name, entry in document["answers"].items():
                rows.append([name, str(np.shape(entry["value"])), entry["kind"]])
        else:
            import h5netcdf

            with h5netcdf.File(path, "r") as root:
                provenance = json.loads(root.attrs["provenance"])
                for group in root.groups.values():
                    for name, v in group.variables.items():
                        if name not in group.dimensions:
                            rows.append([f"{group.name.strip('/')}/{name}", str(v.shape), str(v.dtype)])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, TypeError) as error:
        fail("E0616", f"cannot read `{path}`: it is no result of spucc, or is cut short: {error}")
    click.echo(columns(["name", "shape", "type"], rows) if rows else "no arrays")
    for key, value in provenance.items():
        click.echo(f"{key}: {json.dumps(value) if isinstance(value, dict) else value}")
