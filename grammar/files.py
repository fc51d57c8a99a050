"""Files named in a program: `csv npy npz mtx json gset`, found relative to it and never outside its
folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spucc.diagnostics import Span, SpuccError, fail
from spucc.grammar import csv_files, graph_files, json_files, matrix_market, npy_files, readers
from spucc.grammar.arguments import Arguments
from spucc.grammar.context import Context
from spucc.grammar.functions import builtin
from spucc.grammar.values import Const, Value


def resolve(ctx: Context, name: str, span: Span) -> Path:
    """The file a program names; outside the program's folder it must be allowed."""
    if ctx.folder is None:
        fail(
            "E0309",
            f"`{name}` cannot be found: this program is not a file, so it has no folder",
            span,
            help="save the program, or give its folder",
        )
    try:
        path = (ctx.folder / name).resolve()
        roots = [ctx.folder.resolve(), *(p.resolve() for p in ctx.allow_paths)]
    except (OSError, ValueError, RuntimeError):
        fail("E0308", f"`{name}` is not a path", span)
    if not any(path == root or root in path.parents for root in roots):
        fail(
            "E0309",
            f"`{name}` lies outside the folder of the program",
            span,
            help=f"`--allow-path {path.parent}` allows it",
        )
    if not path.is_file():
        near = _near(path)
        fail("E0308", f"there is no file `{name}`", span, help=near)
    return path


def _near(path: Path) -> str:
    from spucc.diagnostics import did_you_mean

    try:
        names = [p.name for p, _ in zip(sorted(path.parent.iterdir()), range(1000))]
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def load(ctx: Context, name: str, span: Span, read: Callable[[bytes, str], Any], *key: str) -> Any:
    """Read a file once; its digest is remembered with the data of the program."""
    path = resolve(ctx, name, span)
    place = (str(path), read.__name__, *key)
    if place not in ctx.files:
        try:
            raw = readers.contents(path)
            ctx.files_read[str(path)] = hashlib.sha256(raw).hexdigest()
            ctx.files[place] = read(raw, name)
            ctx.memory.given(len(raw) // 2)  # a number takes two characters at least
        except SpuccError as error:
            from spucc.grammar.evaluate import located

            raise located(error, span) from None
    return ctx.files[place]


@builtin("csv", "file")
def _csv(a: Arguments) -> Value:
    """The numbers of a table, [rows, columns]; a header is left out."""
    table: csv_files.Table = load(a.ctx, a.text("file"), a.span, csv_files.table)
    return Const(csv_files.numeric_table(table))


@builtin("npy", "file")
def _npy(a: Arguments) -> Value:
    """The array in a NumPy file."""
    return Const(load(a.ctx, a.text("file"), a.span, npy_files.npy))


@builtin("npz", "file key")
def _npz(a: Arguments) -> Value:
    """One array of a NumPy archive."""
    archive: npy_files.Archive = load(a.ctx, a.text("file"), a.span, npy_files.Archive)
    key = a.text("key")
    if key not in archive.names():
        from spucc.diagnostics import did_you_mean

        fail(
            "E0308",
            f"`{a.text('file')}` holds no array `{key}`",
            a.spans["key"],
            help=did_you_mean(key, archive.names()) or "it holds " + ", ".join(sorted(archive.names())[:10]),
        )
    return Const(archive.read(key))


@builtin("mtx", "file")
def _mtx(a: Arguments) -> Value:
    """A MatrixMarket matrix: sparse where it is stored by coordinates."""
    found: Value = load(a.ctx, a.text("file"), a.span, matrix_market.mtx)
    return found


@builtin("json", "file")
def _json(a: Arguments) -> Value:
    """A number, an array of numbers, a string or a graph."""
    parsed = load(a.ctx, a.text("file"), a.span, json_files.parse_json)
    return json_files.from_json(parsed, a.text("file"))


@builtin("gset", "file")
def _gset(a: Arguments) -> Value:
    """A graph in the text form of the Gset collection: `n m`, then `i j w` a line, nodes from 1."""
    found: Value = load(a.ctx, a.text("file"), a.span, graph_files.gset)
    return found
