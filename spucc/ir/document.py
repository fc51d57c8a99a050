"""A whole `State` or `Program` as a file: header, sections, digests, and the container that holds long arrays."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from spucc.diagnostics import Diagnostic, Span, SpuccError, did_you_mean, fail
from spucc.ir import check, container, schema
from spucc.ir.codec import Item
from spucc.ir.text import MAGIC, VERSION, Reader, Writer
from spucc.stages import Program, Stage, State

LIMIT = 64
"""Entries of an array above which a container keeps it as a member of its own."""

_STAGES = {s.value: s for s in Stage}
_DIGEST = re.compile(r"sha256 (\S+) ([0-9a-f]{64})", re.ASCII)


# --- writing --------------------------------------------------------------------------------------------------------


def _compose(value: State | Program, limit: int | None) -> tuple[str, Writer]:
    """The text, and the writer that holds the arrays."""
    stage = value.stage if isinstance(value, State) else Stage.PROGRAM
    items = schema.STATE_ITEMS if isinstance(value, State) else schema.PROGRAM_ITEMS
    out = Writer(limit)
    out.line(f"{MAGIC} {VERSION} {stage}")
    out.device = value.device
    for item in items:
        _compose_item(out, item, value)
    text = "\n".join(out.lines)
    rows = [
        f"sha256 {name} {container.digest(_section_bytes(out.lines[a:b]))}" for name, a, b in out.sections
    ]
    rows += [
        f"sha256 arrays/{name}.npy {container.digest(container.npy(a))}" for name, a in out.arrays.items()
    ]
    return "\n".join([text, "", *rows, "end", ""]), out


def _compose_item(out: Writer, item: Item, value: Any) -> None:
    """An item of the top level after an empty line: a section, if it is not empty."""
    start = len(out.lines) + 1
    out.line("")
    item.write_to(out, value)
    if len(out.lines) > start:
        out.sections.append((item.carries[0], start, len(out.lines)))
    else:
        out.lines.pop()


def _section_bytes(lines: list[str]) -> bytes:
    return "\n".join(lines).encode()


def print_state(state: State, limit: int | None = None) -> str:
    """The text of a state. Arrays of more than `limit` entries are named and left out; None: every array is in the text,
    which then reads back alone."""
    return _compose(state, limit)[0]


def print_program(program: Program, limit: int | None = None) -> str:
    """The text of a program; `limit` as for `print_state`."""
    return _compose(program, limit)[0]


def pack_state(state: State, limit: int | None = LIMIT) -> bytes:
    """The bytes of a state's container."""
    text, out = _compose(state, limit)
    return container.pack("stage.txt", text.encode(), out.arrays)


def pack_program(program: Program, limit: int | None = LIMIT) -> bytes:
    """The bytes of a program's container (`.spuc`)."""
    text, out = _compose(program, limit)
    return container.pack("program.txt", text.encode(), out.arrays)


def write_state(state: State, path: str | os.PathLike[str], limit: int | None = LIMIT) -> None:
    """Write a state's container. Raises E0616 where the file cannot be written."""
    _save(Path(path), pack_state(state, limit))


def write_program(program: Program, path: str | os.PathLike[str], limit: int | None = LIMIT) -> None:
    """Write a program's container (`.spuc`). Raises E0616 where the file cannot be written."""
    _save(Path(path), pack_program(program, limit))


def _save(path: Path, data: bytes) -> None:
    """All or nothing: an interrupted run leaves the old file."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = stream.name
            stream.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        fail("E0616", f"cannot write `{path}`: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- reading --------------------------------------------------------------------------------------------------------


def read_any(source: str | os.PathLike[str] | bytes, name: str = "") -> State | Program:
    """The state or program in a file (a path) or in bytes: a container or one text.

    Raises `SpuccError` with E0605 to E0619, which name the line, section or member at fault; `name` is what the file is
    called in them.
    """
    if isinstance(source, bytes):
        data, file = source, name or "<bytes>"
    else:
        data, file = _load(Path(source)), name or str(source)
    if not data.startswith(b"PK"):
        return _parse(data, file, {}, {})
    inside, text, members = container.unpack(data, file)
    arrays = {n: container.array_of(c, n, file) for n, c in members.items()}
    return _parse(text, f"{file}/{inside}", members, arrays, contained=True)


def read_state(source: str | os.PathLike[str] | bytes, name: str = "") -> State:
    """As `read_any`; a program is the state after the last pass."""
    value = read_any(source, name)
    if isinstance(value, Program):
        kept = {f.name: getattr(value, f.name) for f in fields(value) if f.name != "pipeline"}
        return State(stage=Stage.PROGRAM, **kept)
    return value


def read_program(source: str | os.PathLike[str] | bytes, name: str = "") -> Program:
    """As `read_any`; E0606 for a state that passes are still to be run on."""
    value = read_any(source, name)
    if isinstance(value, Program):
        return value
    file = name or ("<bytes>" if isinstance(source, bytes) else str(source))
    if value.stage is not Stage.PROGRAM:
        fail(
            "E0606",
            f"`{file}` holds the stage `{value.stage}`, but a program is wanted",
            Span(file, 1, 1, 1, 1),
            help=f"go on from it: `spucc compile --start-from {file} -o program.spuc`",
        )
    return Program(**{f.name: getattr(value, f.name) for f in fields(value) if f.name != "stage"})


def _load(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size > container.MAX_BYTES:
            fail("E0607", f"the file is larger than {container.MAX_BYTES} bytes", Span(str(path), 1, 1, 1, 1))
        return path.read_bytes()
    except (OSError, ValueError) as error:
        near = ""
        if isinstance(error, FileNotFoundError) and path.parent.is_dir():
            near = did_you_mean(path.name, (p.name for p in path.parent.iterdir()))
        fail("E0616", f"cannot read `{path}`: {getattr(error, 'strerror', None) or error}", help=near)


def _parse(
    data: bytes, file: str, members: dict[str, bytes], arrays: dict[str, Any], contained: bool = False
) -> State | Program:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if b"\0" in data[:4096]:
            what = "it is a netCDF result" if data.startswith(b"\x89HDF") else "it holds binary data"
            fail(
                "E0605",
                f"`{file}` is no text of spucc: {what}",
                help="give the .spuc file that `spucc compile -o` wrote",
            )
        line = data.count(b"\n", 0, error.start) + 1
        fail("E0605", "this is no text of spucc: it is not UTF-8", Span(file, line, 1, line, 2))
    if len(data) > container.MAX_TEXT:
        fail("E0607", f"the text is larger than {container.MAX_TEXT} bytes", Span(file, 1, 1, 1, 1))
    src = Reader(text, file, arrays, len(data) + sum(map(len, members.values())), contained)
    stage = _header(src)
    # A state after the last pass has no pipeline yet: that is what sets a program apart.
    complete = stage is Stage.PROGRAM and src.key() == "pipeline"
    items = schema.PROGRAM_ITEMS if complete else schema.STATE_ITEMS
    got: dict[str, Any] = {}
    sections: dict[str, str] = {}
    for item in items:
        src.peek()
        start = src.start
        item.read_into(src, got)
        name = item.carries[0] if item.carries else ""
        sections[name] = (
            container.digest(text[start : src.end].rstrip("\n").encode()) if src.end > start else ""
        )
        if name == "device":
            src.device = got["device"]
    _footer(src, sections, members)
    value: State | Program = Program(**got) if complete else State(stage=stage, **got)
    wrong = [Diagnostic("E0614", text, Span(file, 1, 1, 1, 1)) for text in check.whole(value, stage)]
    if wrong:
        raise SpuccError(wrong)
    return value


def _header(src: Reader) -> Stage:
    """The first line: `spucc-ir VERSION STAGE`."""
    words = src.peek().split()
    if len(words) != 3 or words[0] != MAGIC or not words[1].isdecimal():
        src.fault(
            "E0605", "this is no text of spucc", help=f"its first line would be `{MAGIC} {VERSION} STAGE`"
        )
    if words[1] != str(VERSION):
        src.fault(
            "E0606",
            f"this text is of version {words[1][:20]}; this spucc reads version {VERSION}",
            help="read it with the spucc that wrote it, or compile the model again",
        )
    if words[2] not in _STAGES:
        src.fault("E0606", f"there is no stage `{words[2][:40]}`", help=did_you_mean(words[2], _STAGES))
    src.take()
    return _STAGES[words[2]]


def _footer(src: Reader, sections: dict[str, str], members: dict[str, bytes]) -> None:
    """Digests, each of which may be left out, and `end`."""
    seen: set[str] = set()
    while src.key() == "sha256":
        match = _DIGEST.fullmatch(src.peek())
        if match is None:
            src.fault(
                "E0609", "cannot read this digest", help="write `sha256 SECTION` and 64 hexadecimal digits"
            )
        name, wanted = match[1], match[2]
        if name in seen:
            src.fault("E0610", f"the digest of `{name[:80]}` stands here twice")
        seen.add(name)
        if name.startswith(container.ARRAYS):
            content = members.get(name[len(container.ARRAYS) : -len(".npy")])
            found = None if content is None else container.digest(content)
        else:
            found = sections.get(name)
        if not found:
            src.fault("E0619", f"there is a digest of `{name[:80]}`, but nothing of that name")
        if found != wanted:
            src.fault(
                "E0619",
                f"`{name}` is not what was written: its digest differs",
                help="if you changed it on purpose, delete this line; else get the file again",
            )
        src.take()
    src.expect("end")
    src.take()
    if src.peek():
        src.fault("E0610", "there is text after the end")
    unused = [n for n in src.arrays if n not in src.used]
    if unused:
        src.fault("E0613", f"nothing in the text speaks of the array `{unused[0]}`")
