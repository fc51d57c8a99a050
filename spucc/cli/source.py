"""`spucc check` and `spucc fmt`: commands about source text."""

from __future__ import annotations

import click

from spucc.cli.options import data_options, program_argument


@click.command()
@program_argument
@data_options
@click.option("--diagnostics", type=click.Choice(["text", "json"]), default="text", show_default=True)
def check(program: str, data: tuple[str, ...], allow_paths: tuple[str, ...], diagnostics: str) -> None:
    """Check PROGRAM and its data; report every error that can be found."""
    from pathlib import Path

    from spucc.cli.options import split_data
    from spucc.cli.report import report, sources
    from spucc.diagnostics import Diagnostic, SpuccError
    from spucc.energy import QueryKind
    from spucc.grammar import load

    values, files = split_data(data)
    found: tuple[Diagnostic, ...] = ()
    code = 0
    summary = ""
    try:
        model = load(Path(program), data=values, files=files, allow_paths=allow_paths, sources=sources())
        found = model.warnings
        if any(q.kind is QueryKind.TRAJECTORY for q in model.energy.queries):
            from spucc.driver import check_queries  # what it loads takes longer than most checks

            check_queries(model.energy)
        variables = ", ".join(
            f"{v.name}{list(v.shape) or ''}" for v in model.energy.variables if not v.stands_for
        )
        asked = ", ".join(q.name for q in model.energy.queries)
        summary = f"{program}: well formed; {model.energy.n} coordinates ({variables}); queries {asked}"
    except SpuccError as error:
        found, code = (*found, *error.diagnostics), error.exit_code
    if diagnostics == "json":
        import json

        from spucc.diagnostics import to_json

        click.echo(json.dumps(to_json(found), indent=1))
    elif found:
        report(found)
    if code:
        raise click.exceptions.Exit(code)
    if diagnostics == "text":
        click.echo(summary)


@click.command()
@click.argument("programs", nargs=-1, required=True)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 when a file would change.")
def fmt(programs: tuple[str, ...], only_check: bool) -> None:
    """Format PROGRAMS in place; `-` reads standard input and prints."""
    from pathlib import Path

    from spucc.cli.report import sources
    from spucc.grammar.format import format_text
    from spucc.grammar.source import read_source
    from spucc.running.results import write_whole

    would = 0
    for name in programs:
        text = _stdin() if name == "-" else read_source(name)
        sources()[name] = text
        formatted = format_text(text, name)
        if name == "-":
            click.echo(formatted, nl=False)
        elif formatted != text:
            would += 1
            if not only_check:
                write_whole(Path(name), formatted.encode())
            click.echo(f"{'would format' if only_check else 'formatted'} {name}")
    if only_check and would:
        raise click.exceptions.Exit(1)


def _stdin() -> str:
    """Standard input as program text, as strictly as a file is read."""
    import sys

    from spucc.grammar.source import MAX_BYTES, decode

    return decode(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>")
