"""From a file's bytes to the text of a program, with every way in which that can fail said plainly."""

from __future__ import annotations

import os
from pathlib import Path

from spucc.diagnostics import Diagnostic, Span, SpuccError, fail

# The tree of a text takes some two hundred times its size, and numbers in bulk belong in data files.
MAX_BYTES = 3 * 2**19


def read_source(path: str | os.PathLike[str], wanted_by: Span | None = None) -> str:
    """The text of a program, without byte order mark and with `\\n` at the end of each line.

    `wanted_by` is the place of the `import` that names the file, if one does.
    """
    file = os.fspath(path)
    try:
        with open(file, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        fail("E0141", f"there is no file `{file}`", wanted_by, help=_near(Path(file)))
    except IsADirectoryError:
        fail("E0142", f"`{file}` is a folder, not a program", wanted_by, help="name a `.spu` file in it")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fail("E0145", f"`{file}` cannot be read: {reason}", wanted_by)
    fault = too_large(len(raw), file)
    if fault is not None:
        raise SpuccError(fault)
    return decode(raw, file)


def decode(raw: bytes, file: str) -> str:
    """Bytes as text, or the error that says where they stop being UTF-8."""
    try:
        return normalised(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        # A byte order mark is left out of the text that the error counts in.
        good = normalised(error.object[: error.start].decode("utf-8", errors="replace"))
        line = good.count("\n") + 1
        column = len(good) - good.rfind("\n")
        place = Span(file, line, column, line, column + 1)
        title = f"the byte 0x{error.object[error.start]:02X} is not UTF-8"
        fail("E0143", title, place, help="save the file as UTF-8")


def normalised(text: str) -> str:
    """Text with `\\n` at the end of each line and a space in place of a byte order mark."""
    if text.startswith("\ufeff"):
        text = " " + text[1:]
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def too_large(size: int, file: str) -> Diagnostic | None:
    """The error of a text above the limit."""
    if size <= MAX_BYTES:
        return None
    title = f"the program is larger than {MAX_BYTES / 2**20:g} MB"
    help = (
        'put its numbers into a data file (`data J: real[n]`, `npy("J.npy")`) and repeated lines into a `for`'
    )
    return Diagnostic("E0144", title, Span(file, 1, 1, 1, 1), help=help)


def offset(text: str, line: int, column: int) -> int:
    """The index into a text of a line and a column, both from 1."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
    return start + column - 1


def _near(path: Path) -> str:
    """The file that is there with nearly the name of the one that is not."""
    from difflib import get_close_matches

    if not path.parent.exists():
        return f"there is no folder `{path.parent}`"
    try:
        there = sorted(p.name for p in path.parent.iterdir())
    except OSError:
        return ""
    close = get_close_matches(path.name, there, n=1, cutoff=0.7)
    return f"did you mean `{path.parent / close[0]}`?" if close else ""
