"""The front end's entry points: `load` a program with its data, or just `elaborate` it to its energy."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spucc.diagnostics import Diagnostic, Span, SpuccError
from spucc.energy import Energy
from spucc.grammar import tree
from spucc.grammar.binding import Bound, undeclared
from spucc.grammar.compose import energy_of
from spucc.grammar.context import Context, Declared
from spucc.grammar.data_files import open_files
from spucc.grammar.parser import parse
from spucc.grammar.source import read_source
from spucc.grammar.statements import run_all
from spucc.grammar.values import own_sizes

# Nested expressions walk the Python stack; the parser bounds their depth.
RECURSION = 20_000


@dataclass(frozen=True, eq=False)
class Model:
    """A program with its data, elaborated. `sources` are the texts of all files, for rendering messages."""

    energy: Energy
    program: tree.Program
    sources: Mapping[str, str]
    program_digest: str
    data_digest: str
    warnings: tuple[Diagnostic, ...]
    declared: tuple[Declared, ...]


def elaborate(
    program: str | os.PathLike[str],
    *,
    data: Mapping[str, Any] | None = None,
    files: Sequence[str | os.PathLike[str]] = (),
    allow_paths: Sequence[str | os.PathLike[str]] = (),
    name: str = "<program>",
    folder: str | os.PathLike[str] | None = None,
) -> Energy:
    """The energy of a program: a path, or its text. See `load`."""
    return load(program, data=data, files=files, allow_paths=allow_paths, name=name, folder=folder).energy


def load(
    program: str | os.PathLike[str],
    *,
    data: Mapping[str, Any] | None = None,
    files: Sequence[str | os.PathLike[str]] = (),
    allow_paths: Sequence[str | os.PathLike[str]] = (),
    name: str = "<program>",
    folder: str | os.PathLike[str] | None = None,
    sources: dict[str, str] | None = None,
) -> Model:
    """Read, parse and elaborate. A `str` that holds a line break, or does not end in `.spu`, is the program's
    text.

    `data` maps names to numbers, arrays, graphs, or the text after `--data NAME=`; `files` are data files.
    `name` and `folder` are for programs given as text. `sources`, if given, receives the texts of all files
    read, also when a `SpuccError` with every fault found is raised.
    """
    texts: dict[str, str] = {} if sources is None else sources
    ctx, parsed = analysed(program, data, files, allow_paths, name, folder, texts)
    if any(d.is_error for d in ctx.diagnostics):
        raise SpuccError(_ordered(ctx.diagnostics))
    with calm():
        try:
            energy, warnings = energy_of(ctx)
        except SpuccError as error:
            raise SpuccError(_ordered([*ctx.diagnostics, *error.diagnostics])) from None
    state = hashlib.sha256()
    for file in sorted(texts):
        state.update(texts[file].encode())
    held = hashlib.sha256()
    for key, part in sorted({**ctx.bound.digests, **ctx.files_read}.items()):
        held.update(f"{Path(key).name}={part};".encode())
    return Model(
        energy=energy, program=parsed, sources=texts, program_digest=state.hexdigest(),
        data_digest=held.hexdigest(), warnings=tuple(_ordered([*ctx.diagnostics, *warnings])),
        declared=tuple(ctx.declared),
    )  # fmt: skip


def analysed(
    program: str | os.PathLike[str],
    data: Mapping[str, Any] | None,
    files: Sequence[str | os.PathLike[str]],
    allow_paths: Sequence[str | os.PathLike[str]],
    name: str,
    folder: str | os.PathLike[str] | None,
    texts: dict[str, str],
) -> tuple[Context, tree.Program]:
    """Parse and run all statements; faults are in the context."""
    is_text = isinstance(program, str) and ("\n" in program or not program.endswith(".spu"))
    if is_text:
        text, shown = str(program), name
        home = None if folder is None else Path(folder)
    else:
        path = Path(program)
        text, shown = read_source(path), str(path)
        home = path.parent if folder is None else Path(folder)
    texts[shown] = text
    parsed, faults = parse(text, shown)
    ctx = Context(home, tuple(Path(p) for p in allow_paths), sources=texts)
    if not is_text:
        ctx.importing.append(Path(program).resolve())
    ctx.diagnostics += faults
    run_program(ctx, parsed, data, files)
    return ctx, parsed


def run_program(
    ctx: Context,
    parsed: tree.Program,
    data: Mapping[str, Any] | None,
    files: Sequence[str | os.PathLike[str]],
) -> None:
    """Read the data and run all statements; what is wrong is left in the context."""
    opened, missing = open_files([Path(f) for f in files])
    ctx.bound = Bound(dict(data or {}), opened)
    ctx.diagnostics += missing
    with calm(), own_sizes():
        run_all(ctx, parsed.statements)
    if missing:
        ctx.diagnostics = [d for d in ctx.diagnostics if d.code != "E0301"]
    ctx.diagnostics += list(undeclared(ctx))


def _ordered(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """By place in the text, each once."""
    seen = {(d.code, d.title, d.span): d for d in found}
    return sorted(seen.values(), key=lambda d: (d.span is not None, d.span or Span("", 0, 0, 0, 0)))


@contextmanager
def calm() -> Iterator[None]:
    """A deeper stack, and NumPy silent: what is not finite is found and said by its own checks."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, RECURSION))
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        sys.setrecursionlimit(before)
