"""Pictures of programs: the report, drawings of model and chip, and what a notebook shows.

spucc compile model.spu --target spu8 --report report.html
spucc draw program.spuc -o chip.svg
"""

from __future__ import annotations

from pathlib import Path

from spucc.report.album import Album
from spucc.report.page import report_html
from spucc.running.results import write_whole
from spucc.stages import Program

__all__ = ["Album", "report_html", "write_report"]


def write_report(program: Program, path: Path, album: Album | None = None) -> None:
    """Write the page of a program, one file that needs nothing else, whole or not at all.

    `album`, an observer that watched the compilation, lets the page step through what each pass made. Raises E0392 when the
    file cannot be written.
    """
    write_whole(path, report_html(program, album).encode())
