"""`import "priors.spu"`: the statements of another file, once, relative to the file that names it."""

from __future__ import annotations

from spucc.diagnostics import fail
from spucc.grammar import tree
from spucc.grammar.context import Context
from spucc.grammar.files import resolve


def run_import(ctx: Context, node: tree.Import) -> None:
    """Run the statements of an imported file in the scope of the program."""
    from spucc.grammar.parser import parse
    from spucc.grammar.source import read_source
    from spucc.grammar.statements import run_all

    path = resolve(ctx, node.path.value, node.path.span)
    if path in ctx.importing:
        names = " → ".join(p.name for p in [*ctx.importing[ctx.importing.index(path) :], path])
        fail("E0215", f"files import one another in a circle: {names}", node.span)
    if path in ctx.imported:
        return
    ctx.imported.add(path)
    if len(ctx.imported) > 1000:
        fail("E0215", "a program of more than 1000 files", node.span)
    text = read_source(path)
    shown = _shown(ctx, node)
    ctx.sources[shown] = text
    program, faults = parse(text, shown)
    ctx.diagnostics += faults
    folder = ctx.folder
    ctx.importing.append(path)
    ctx.folder = path.parent
    try:
        run_all(ctx, program.statements)
    finally:
        ctx.folder = folder
        ctx.importing.pop()


def _shown(ctx: Context, node: tree.Import) -> str:
    """The imported file's name as messages show it: relative to where the program's own name is."""
    from pathlib import PurePath

    return str(PurePath(node.span.file).parent / node.path.value)
