"""`spucc explain`: an error code's page, or where a variable of a program went."""

from __future__ import annotations

import re

import click


@click.command()
@click.argument("what")
@click.argument("variable", required=False)
@click.option("--coupler", default=None, metavar="I,J", help="The way back from a coupler between two cells.")
def explain(what: str, variable: str | None, coupler: str | None) -> None:
    """Explain an error code (E0203), or VARIABLE of a compiled program WHAT (model.spuc x[3])."""
    if re.fullmatch(r"[EW]\d{4}", what):
        click.echo(page(what), nl=False)
        return
    from spucc.explaining.variable import explain_coupler, explain_variable
    from spucc.ir import read_program

    if not what.endswith(".spuc"):
        raise click.UsageError(
            f"`{what}` is neither an error code such as E0203 nor a compiled program (.spuc)"
        )
    program = read_program(what)
    if coupler is not None:
        try:
            i, j = (int(k) for k in coupler.split(","))
        except ValueError:
            raise click.UsageError(f"--coupler takes two cells such as 2,5, not `{coupler}`") from None
        click.echo(explain_coupler(program, i, j))
    elif variable is not None:
        click.echo(explain_variable(program, variable))
    else:
        raise click.UsageError("say which variable (`x[3]`) or which coupler (--coupler 2,5)")


def page(code: str) -> str:
    """The page of an error code. Raises a usage error that offers near codes for one that does not exist."""
    from importlib.resources import files

    folder = files("spucc.errors")
    text = folder / f"{code}.md"
    if not text.is_file():
        from spucc.diagnostics import did_you_mean

        codes = [p.name[:5] for p in folder.iterdir() if p.name.endswith(".md")]
        near = did_you_mean(code, codes) or "codes look like E0203"
        raise click.UsageError(f"there is no error `{code}`; {near}")
    return text.read_text(encoding="utf-8")
