"""What `spucc inspect` does."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

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


# What tells how good an answer is, beside it under its name; of some the worst of all entries is shown.
_BESIDE = ("error", "scheduled", "ess", "rhat", "autocorrelation")
_WORST = {
    "ess": ("least ess", np.min),
    "autocorrelation": ("autocorrelation", np.max),
    "rhat": ("rhat", np.max),
}

# Entries of a figure that are read.
_MOST = 1 << 22

Shape = tuple[tuple[int, ...], str]


def _inspect_result(path: Path) -> None:
    """How far its run got; each array, with what is beside it; where it all comes from."""
    show = {".npz": _npz, ".json": _json, ".nc": _netcdf}[path.suffix]
    try:
        lines, provenance = show(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, TypeError, AttributeError, RecursionError):
        fail("E0616", f"cannot read `{path}`: it is no result of spucc, or is cut short")
    if not provenance.pop("complete", True):
        lines = [_INTERRUPTED, *lines]
    for key, value in provenance.items():
        lines.append(f"{key}: {json.dumps(value) if isinstance(value, dict) else value}")
    click.echo("\n".join(lines))


_INTERRUPTED = "unfinished: interrupted, with the draws that were taken until then"


def _netcdf(path: Path) -> tuple[list[str], dict[str, Any]]:
    from spucc.running.stored import PROGRAM_BYTES, opened, stored

    held = stored(path)
    found, places = {}, {}
    with opened(path) as root:
        for place, (shape, kind) in held.arrays.items():
            group, _, name = place.partition("/")
            if group == "run":
                continue
            found[name], places[name] = (shape, kind), place
            if group == "answers" and not held.finished and not _written(root[place]):
                found[name] = shape, "not written yet"
        rows = _table(found, lambda name: np.asarray(root[f"answers/{name}"][...]), places)
    provenance = dict(held.provenance)
    provenance.pop("complete", None)
    lines = [rows]
    if not held.finished:
        lines = [held.how_far, rows]
        provenance["samples"] = f"{held.done * held.chains} of {provenance.get('samples')}"
    what = (
        f"{len(held.program):,} bytes"
        if held.program
        else f"not in the file (kept up to {PROGRAM_BYTES >> 20} MiB)"
    )
    return [*lines, f"program: {what}"], provenance


def _written(variable: Any) -> bool:
    """Whether an answer is there: until then it is NaN."""
    return 0 in variable.shape or not np.isnan(np.asarray(variable[tuple(0 for _ in variable.shape)]))


def _npz(path: Path) -> tuple[list[str], dict[str, Any]]:
    from spucc.npz import load_npz, npz_headers

    # The draws are not read: they may be larger than memory.
    with zipfile.ZipFile(path) as archive:
        headers = npz_headers(archive)
    told = load_npz(path, frozenset({"provenance"}))
    found = {n: (s, str(t)) for n, (s, t) in headers.items() if n != "provenance"}
    rows = _table(found, lambda name: load_npz(path, frozenset({name}))[name])
    return [rows], json.loads(str(told["provenance"])) if told else {}


def _json(path: Path) -> tuple[list[str], dict[str, Any]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, Shape] = {}
    values = {}
    for name, entry in document["answers"].items():
        found[name] = np.shape(entry["value"]), entry["kind"]
        for key in _BESIDE:
            if key in entry:
                values[f"{name}.{key}"] = np.array(entry[key], dtype=np.float64)
                found[f"{name}.{key}"] = values[f"{name}.{key}"].shape, "float64"
    return [_table(found, values.__getitem__)], {
        **document["provenance"],
        "complete": document.get("complete", True),
    }


def _table(
    found: dict[str, Shape],
    read: Callable[[str], NDArray[Any]],
    places: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The arrays, by their places in the file, with shapes and types, the worst of what tells how good they are, and the
    names of that."""
    if not found:
        return "no arrays"
    beside = {f"{n}.{key}" for n in found for key in _BESIDE}
    rows = []
    for name, (shape, kind) in found.items():
        if name in beside:
            continue
        own = [key for key in _BESIDE if f"{name}.{key}" in found]
        worst = []
        for key, (_, pick) in _WORST.items():
            size = int(np.prod(found[f"{name}.{key}"][0], dtype=np.int64)) if key in own else 0
            value = float(pick(read(f"{name}.{key}"))) if 0 < size <= _MOST else np.nan
            worst.append("" if np.isnan(value) else f"{value:.5g}")
        rows.append([places.get(name, name), str(shape), kind, *worst, " ".join(f".{key}" for key in own)])
    shown = [k for k in range(7) if k < 3 or any(row[k] for row in rows)]
    header = ["name", "shape", "type", *(title for title, _ in _WORST.values()), "beside it"]
    return columns([header[k] for k in shown], [[row[k] for k in shown] for row in rows])
