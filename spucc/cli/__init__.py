"""The command line: parses arguments, calls the library, prints. Every command's module imports what it needs when it runs,
so that `spucc --help` stays quick."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Never

import click

from spucc import __version__

COMMANDS = {
    "run": "spucc.cli.run",
    "compile": "spucc.cli.compile",
    "check": "spucc.cli.source",
    "fmt": "spucc.cli.source",
    "explain": "spucc.cli.explain",
    "draw": "spucc.cli.draw",
    "inspect": "spucc.cli.inspect",
    "drive": "spucc.cli.drive",
    "opt": "spucc.cli.compile",
    "diff": "spucc.cli.inspect",
    "law": "spucc.cli.run",
    "verify": "spucc.cli.verify",
    "plot": "spucc.cli.plot",
    "lsp": "spucc.cli.lsp",
    "passes": "spucc.cli.lists",
    "targets": "spucc.cli.lists",
}
"""Command → module. The order is that of `spucc --help`."""


class Commands(click.Group):
    """Loads a command's module when it is asked for, and offers near names for one that does not exist."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if cmd_name in ("compile",) else cmd_name
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from spucc.diagnostics import did_you_mean

            near = did_you_mean(args[0], COMMANDS)
            if not near and args[0].endswith(".spu"):
                near = f"did you mean `spucc run {args[0]}`?"
            ctx.fail(f"no command `{args[0]}`; " + (near or "`spucc --help` lists them"))
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="spucc")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Compile probabilistic models to thermodynamic computers, and run them.

    \b
    spucc run model.spu --data data.json --target spu8 --samples 10000 --seed 1 -o result.nc
    spucc compile model.spu --target spu8 -o model.spuc
    spucc check model.spu
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif not {"-h", "--help"} & set(sys.argv):
        from spucc.cli.quick import import_sparse_quickly

        import_sparse_quickly()


def main() -> Never:
    """Run the command line and exit: 0 well, 1 errors in program or data, 2 wrong usage, 3 target or link, 130 interrupted."""
    from spucc.diagnostics import SpuccError

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot print Σ or ⪰ gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except SpuccError as error:
        from spucc.cli.report import report

        report(error.diagnostics)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader went away (`spucc … | head`); nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if isinstance(error, MemoryError):
            text = (
                "error[E0599]: out of memory\nhelp: ask for fewer --samples, or for moments instead of draws"
            )
        elif os.environ.get("SPUCC_DEBUG"):
            raise
        else:
            text = (
                f"error[E0600]: a fault of spucc itself: {type(error).__name__}: {error}\n"
                "help: please report it with the program; SPUCC_DEBUG=1 shows where it happened"
            )
        click.echo(text, err=True)
        sys.exit(1)
