"""How diagnostics reach the user: as text on stderr, with the sources that were read."""

from __future__ import annotations

from collections.abc import Sequence

import click

from spucc.diagnostics import Diagnostic, render

_sources: dict[str, str] = {}


def sources() -> dict[str, str]:
    """The source files that were read so far, for the front end to add to: an error raised later can show its line."""
    return _sources


def report(diagnostics: Sequence[Diagnostic]) -> None:
    """Print diagnostics to stderr, and how many errors there were when there are several."""
    for d in diagnostics:
        if d.span is not None and d.span.file not in _sources:
            _load(d.span.file)
    click.echo(render(diagnostics, _sources), err=True)
    errors = sum(d.is_error for d in diagnostics)
    if errors > 1:
        click.echo(f"\n{errors} errors", err=True)


def _load(file: str) -> None:
    try:
        with open(file, encoding="utf-8", errors="replace") as f:
            _sources[file] = f.read(1 << 26)
    except OSError:
        _sources[file] = ""
