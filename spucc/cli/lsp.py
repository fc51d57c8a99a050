"""`spucc lsp`: the language server, over standard input and output."""

from __future__ import annotations

import click


@click.command()
@click.option(
    "--tcp", type=int, metavar="PORT", help="Listen on a port of this machine instead of standard input."
)
def lsp(tcp: int | None) -> None:
    """Serve editors: diagnostics, hover, definitions, completion, renaming, formatting (Language Server Protocol).

    Data files: those of the same name beside the program (`model.json` for `model.spu`), and those that the editor gives as
    initialization options: {"data": ["FILE", …], "allowPaths": ["DIR", …]}.
    """
    from spucc.diagnostics import fail

    try:
        import pygls  # noqa: F401
    except ImportError:
        fail("E0394", "the language server needs pygls", help="`pip install 'spucc[lsp]'`")
    from spucc.lsp.server import create

    server = create()
    if tcp is None:
        server.start_io()
    else:
        server.start_tcp("127.0.0.1", tcp)
