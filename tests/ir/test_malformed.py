"""Broken files, each with one fault: one code, and the place at fault."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spucc.diagnostics import SpuccError
from spucc.ir import (
    container,
    pack_program,
    pack_state,
    print_program,
    print_state,
    read_any,
    read_program,
    write_program,
)
from spucc.stages import Stage

from . import build

TEXT = print_program(build.program())
FREE = re.sub(r"^sha256 .*\n", "", TEXT, flags=re.MULTILINE)


def fault(data: bytes | str) -> tuple[str, int, str]:
    """Code, line and words of the first fault of a file that has to have one."""
    with pytest.raises(SpuccError) as caught:
        read_any(data.encode() if isinstance(data, str) else data, "x.spuc")
    for d in caught.value.diagnostics:
        assert d.span is not None and d.span.file.startswith("x.spuc")
    first = caught.value.diagnostics[0]
    assert first.span is not None
    return first.code, first.span.line, " ".join([first.title, first.help, *first.notes])


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


# What is replaced, by what, the code, and words of the message. The fault is on the line that was edited, unless the start
# of the line that is at fault stands last ("+": after the end of what can be shown).
EDITS: list[tuple[str, str, str, str, str]] = [
    ("spucc-ir 1 program", "spucc-ir 2 program", "E0606", "version 2", ""),
    ("spucc-ir 1 program", "spucc-ir 1 programme", "E0606", "did you mean `program`", ""),
    ("spucc-ir 1 program", "var x: real[3]", "E0605", "no text of spucc", ""),
    ("temperature = 1.0", "temperature = warm", "E0618", "a number such as", ""),
    ("temperature = 1.0", "temprature = 1.0", "E0610", "did you mean `temperature`", ""),
    ("temperature = 1.0", "temperature", "E0609", "temperature = …", ""),
    ("temperature = 1.0", "temperature = 0.0", "E0614", "above 0", "source {"),
    ("temperature = 1.0", "temperature = nan", "E0614", "above 0", "source {"),
    ("  constant = 0.0\n", "", "E0610", "`constant` belongs here", "temperature = 1.0"),
    ("linear = zeros 3", "linear = zeros 4", "E0614", "`linear` has 4", "source {"),
    ("linear = zeros 3", "linear = zeros 99999999999", "E0618", "more than a file of this size", ""),
    ("linear = zeros 3", "linear = ones 3", "E0618", "write zeros", ""),
    ("sparse symmetric 3 {", "sparse symmetric 4 {", "E0614", "4 coordinates", "source {"),
    ("sparse symmetric 3 {", "sparse symmetrical 3 {", "E0618", "symmetric or general", ""),
    ("sparse symmetric 3 {", "sparse general 3 3 {", "E0614", "not symmetric", "quadratic {"),
    ("sparse symmetric 3 {", "sparse symmetric {", "E0609", "size", ""),
    ("0  1   -0.5   # x[0] x[1]", "1  0   -0.5", "E0614", "sorted", "sparse symmetric 3 {"),
    ("0  1   -0.5   # x[0] x[1]", "0  1", "E0609", "2 words, but there are 3", ""),
    ("0  1   -0.5   # x[0] x[1]", "0  1   -0.5  1", "E0609", "4 words, but there are 3", ""),
    ("0  1   -0.5   # x[0] x[1]", "0  1   minus", "E0618", "float", ""),
    ("0  1   -0.5   # x[0] x[1]", "0  one   -0.5", "E0618", "int", ""),
    ("0  1   -0.5   # x[0] x[1]", "0  1   inf", "E0614", "not finite", "quadratic {"),
    ("0  1   -0.5   # x[0] x[1]", f"0  {10**25}   -0.5", "E0618", "int", ""),
    ("0  1   -0.5   # x[0] x[1]", "0  1_0   -0.5", "E0618", "int", ""),
    ("i  j  value", "i  i  value", "E0610", "twice", ""),
    ("i  j  value", "i  value", "E0610", "missing", ""),
    ('"x"       3', '"x"       4', "E0614", "4 entries", "source {"),
    ('"x"       3', '"x"     3x9x9', "E0614", "entries", "source {"),
    ('"x"       3', "x         3", "E0618", "quotation marks", ""),
    ("3  real        0", "3  complex        0", "E0618", "real, spin, bit", ""),
    ("3  real        0", "3  real        1", "E0614", "starts at 1", "source {"),
    ("coordinates = 0..2", "coordinates = 0..3", "E0614", "4 entries", "job {"),
    ("coordinates = 0..2", "coordinates = 0 0 1", "E0614", "twice", "job {"),
    ("coordinates = 0..2", "coordinates = 0..99999999", "E0618", "more than a file", ""),
    ("coordinates = 0..2", "coordinates = 2..0", "E0618", "backwards", ""),
    ("coordinates = 0..2", "coordinates = 7..9", "E0614", "not one of 0 … 2", "spucc-ir"),
    ("target = model", "target = modle", "E0618", "earlier block", ""),
    ("model = source", "model = target", "E0618", "earlier block", ""),
    ("value configuration {", "value placed {", "E0610", "`family` belongs here", "schedule {"),
    ("value configuration {", "value gadget {", "E0618", "configuration", ""),
    ("value configuration {", "value {", "E0618", "configuration", ""),
    ("draws = 1000", "draws = -1", "E0614", "at least 0", "schedule {"),
    ("chains = 4", "chains = 4.5", "E0618", "whole number", ""),
    ("settle = 0.0001", "settle = nan", "E0614", "at least 0", "schedule {"),
    ("family = capacitive", "family = resistive", "E0614", "do not fit a device", "codes {"),
    ("2.003e-09     1.0", "2.003e-09     -1.0", "E0614", "`weight`", "codes {"),
    ("2.003e-09     1.0", "0.0     1.0", "E0614", "`scale`", "codes {"),
    ("plain          120", "plain          256", "E0614", "`ground` says 256", "codes {"),
    ("plain          120", "plain          -1", "E0614", "`ground` says -1", "codes {"),
    ("plain          120", "splain         120", "E0618", "role", ""),
    ("ground:code", "ground:value", "E0614", "integer codes", "codes {"),
    ("ground:code", "ground", "E0610", "no column", ""),
    ("1      1           1  plain", "0      1           1  plain", "E0614", "twice", "codes {"),
    ("1      1           1  plain", "4      1           1  plain", "E0614", "`cell` says 4", "codes {"),
    ("1      1           1  plain", "1      9           1  plain", "E0614", "`chain` says 9", "codes {"),
    ("1      1           1  plain", "1      1           7  plain", "E0614", "`coordinate` says 7", "job {"),
    ("1  2             90", "2  1             90", "E0614", "sorted", "codes {"),
    ("1  2             90", "0  1             90", "E0614", "sorted", "codes {"),
    ("1  2             90", "1  3             90", "E0614", "`edges` says 3", "codes {"),
    ("matrix diagonal 3 {", "matrix diagonal 4 {", "E0614", "3 diagonal entries", ""),
    ("matrix = identity 3", "matrix = identity 2", "E0614", "2 rows", "form {"),
    ("matrix = identity 3", "matrix = identity 999999999", "E0618", "more than", ""),
    ("matrix = identity 3", "matrix = select 3 3 0..3", "E0614", "select 3", ""),
    ("matrix = identity 3", "matrix = select 3 2 0..2", "E0614", "below 2", ""),
    ("kind = sample", "kind = samples", "E0618", "sample, mean", ""),
    ("    | bits = 8", "    | bits = 80", "E0615", "$.ground.bits", "spec {"),
    ("    | bits = 8", "    | bits = [[[", "E0615", "cannot be read", "spec {"),
    ("    | bits = 8", "    | volume = 11", "E0615", "volume", "spec {"),
    ("    | cells = [3]", "    | cells = [4]", "E0614", "`dead` says 4", "device {"),
    ("      2  3\n", "      2  4\n", "E0614", "`edges` says 4", "topology {"),
    ("    nodes = 4", "    nodes = 5", "E0614", "4 positions", "topology {"),
    ("    nodes = 4\n", "", "E0614", "without a number of cells", "topology {"),
    ('"all"  "realise"', '"all"', "E0609", "columns", ""),
    ("job    name", "jobs   name", "E0610", "columns of `ledger`", ""),
    ("\nend\n", "\n", "E0608", "`end`", "+"),
    ("\nend\n", "\nend\nmore\n", "E0610", "after the end", "+"),
]


@pytest.mark.parametrize(("old", "new", "code", "words", "at"), EDITS, ids=lambda v: str(v)[:24].strip())
def test_hand_edits(old: str, new: str, code: str, words: str, at: str) -> None:
    assert old in FREE
    found, line, said = fault(FREE.replace(old, new, 1))
    assert (found, words in said) == (code, True), (found, said)
    if at != "+":
        edited = FREE.replace(old, new, 1)
        assert line == (line_of(edited, at) if at else line_of(FREE, old)), said


@pytest.mark.parametrize("limit", [None, 2])
def test_truncated_everywhere(limit: int | None) -> None:
    """Cut after every line, and at many bytes of a container."""
    rows = FREE.split("\n")
    for k in range(len(rows) - 2):
        assert fault("\n".join(rows[:k]))[0] in ("E0605", "E0608", "E0609", "E0610", "E0614", "E0615"), rows[
            k - 1
        ]
    data = pack_program(build.program(), limit)
    for k in range(2, len(data) - 1, 97):
        assert fault(data[:k])[0] == "E0607"


def test_reordered_blocks() -> None:
    """Every two neighbouring lines of equal depth swapped: a fault or another sound program, never anything else."""
    rows = FREE.split("\n")
    for k in range(len(rows) - 2):
        swapped = "\n".join([*rows[:k], rows[k + 1], rows[k], *rows[k + 2 :]])
        try:
            read_any(swapped.encode(), "x.spuc")
        except SpuccError as error:
            assert all(d.code.startswith("E06") for d in error.diagnostics)


def test_digests() -> None:
    """Each section is covered, a comment too; without its digest the edit is read."""
    for part in (
        "draws = 1000",
        'version = "0.1.0"',
        "# x[0]",
        "constant = 0.0",
        '"ring4"',
        "3.2e-06",
        "bits=8}",
    ):
        assert (
            fault(
                TEXT.replace(part, part.replace("0", "1").replace("ring4", "ring5").replace("=8", "=7"), 1)
            )[0]
            == "E0619"
        )
    changed = FREE.replace("draws = 1000", "draws = 2000")
    program = read_program(changed.encode())
    assert program.jobs[0].value.schedule.draws == 2000  # type: ignore[union-attr]
    digest = re.search(r"^sha256 source .*$", TEXT, re.MULTILINE)
    assert digest is not None
    assert fault(TEXT.replace(digest[0], digest[0] + "\n" + digest[0]))[0] == "E0610"
    assert fault(TEXT.replace(digest[0], digest[0].replace("source", "sauce")))[0] == "E0619"
    assert fault(TEXT.replace(digest[0], digest[0][:-1]))[0] == "E0609"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"\xff\xfe",
        b"PK",
        b"PK\x05\x06" + bytes(18),
        bytes(1000),
        b"spucc-ir",
        "spucc-ir ١ energy".encode(),
    ],
)
def test_no_file_of_ours(data: bytes) -> None:
    assert fault(data)[0] in ("E0605", "E0607", "E0606")


# --- containers -----------------------------------------------------------------------------------------------------

Members = list[tuple[str, bytes]]


def packed(members: Members, packing: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=packing)
    return out.getvalue()


def members_of(limit: int = 2) -> Members:
    state = build.states()[Stage.PLACED]
    with zipfile.ZipFile(io.BytesIO(pack_state(state, limit))) as archive:
        found = [(i.filename, archive.read(i)) for i in archive.infolist()]
    text = re.sub(rb"(?m)^sha256 .*\n", b"", found[0][1])
    return [("stage.txt", text), *found[1:]]


def renamed(name: str) -> Callable[[Members], Members]:
    return lambda m: [*m, (name, b"x")]


@pytest.mark.parametrize(
    "name",
    ["../evil.npy", "/etc/passwd", "arrays/../../evil.npy", "arrays\\..\\x.npy", "C:/x.npy", "arrays/", "arrays/.npy",
     "arrays/a/b.npy", "arrays/A.npy", "arrays/é.npy", "arrays/x.npz", "pickle.pkl", "stage.txt/", "program.txt",
     "arrays/x.npy\n"],
)  # fmt: skip
def test_names_that_a_container_may_not_hold(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fault(packed([*members_of(), (name, b"x")]))[0] == "E0607"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice() -> None:
    members = members_of()
    code, _, said = fault(packed([*members, members[-1]]))
    assert code == "E0607" and "twice" in said
    assert fault(packed([members[0], *members]))[0] == "E0607"


def test_zip_bombs() -> None:
    """Ratio, sizes that are not true, and sheer number; each is refused before it is unpacked."""
    members = members_of()
    bomb = packed([*members, ("arrays/bomb.npy", bytes(1 << 27))], zipfile.ZIP_DEFLATED)
    code, _, said = fault(bomb)
    assert code == "E0607" and "unpack to" in said and len(bomb) < 1 << 20
    small = packed(members)
    at = small.rindex(b"PK\x01\x02")
    lying = bytearray(small)
    lying[at + 24 : at + 28] = struct.pack("<I", 1 << 31)
    assert fault(bytes(lying))[0] == "E0607"
    many = packed([*members, *((f"arrays/a{k}.npy", b"") for k in range(container.MAX_MEMBERS))])
    code, _, said = fault(many)
    assert code == "E0607" and "members" in said


def test_encrypted_and_strangely_packed_members() -> None:
    members = members_of()
    data = bytearray(packed(members))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    assert fault(bytes(data))[0] == "E0607"
    assert fault(packed(members, zipfile.ZIP_LZMA))[0] == "E0607"
    assert fault(packed(members, zipfile.ZIP_BZIP2))[0] == "E0607"


def test_deflated_containers_are_read() -> None:
    """Whoever unpacked one and packed it again with an ordinary tool."""
    assert read_any(packed(members_of(), zipfile.ZIP_DEFLATED)).stage is Stage.PLACED  # type: ignore[union-attr]


def test_a_bit_that_flipped() -> None:
    data = bytearray(packed(members_of()))
    at = data.index(b"NUMPY") + 130
    data[at] ^= 1
    code, _, said = fault(bytes(data))
    assert code == "E0607" and "CRC" in said


def test_a_fault_in_a_container_quotes_its_line() -> None:
    """Nobody can look up a line of a member of a zip file."""
    members = members_of()
    members[0] = (members[0][0], members[0][1].replace(b"temperature = 1.0", b"temperature = warm", 1))
    code, _, said = fault(packed(members))
    assert code == "E0618" and "the line is `temperature = warm`" in said
    assert "the line is" not in fault(FREE.replace("temperature = 1.0", "temperature = warm", 1))[2]


def test_no_text() -> None:
    assert fault(packed(members_of()[1:]))[0] == "E0607"


def array(header: bytes, data: bytes = bytes(48), version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


HEADERS = [
    b"{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }\n",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (6,), }\n",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (12,), }\n",
    b"{'descr': '>i8', 'fortran_order': False, 'shape': (2, 2), }\n",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2, 2), }\n",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999, 999999999999), }\n",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (-2, 2), }\n",
    b"{'descr': '<i8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }\n",
    b"{'shape': (2, 2), 'descr': '<i8', 'fortran_order': False, }\n",
    b"",
]


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_arrays(header: bytes) -> None:
    members = members_of()
    at = next(k for k, (n, _) in enumerate(members) if n.endswith("couplers.edges.npy"))
    members[at] = (members[at][0], array(header, bytes(32)))
    code, _, said = fault(packed(members))
    assert code == "E0613" and "couplers.edges" in said


def test_arrays_that_do_not_fit() -> None:
    """Missing, unused, of another kind, of another length, not of version 1.0, cut, an object array of NumPy's own."""
    members = members_of()
    at = next(k for k, (n, _) in enumerate(members) if n.endswith("couplers.coupling.npy"))

    def with_content(content: bytes) -> bytes:
        return packed([*members[:at], (members[at][0], content), *members[at + 1 :]])

    good = members[at][1]
    assert fault(packed(members[:at] + members[at + 1 :]))[0] == "E0613"
    assert fault(packed([*members, ("arrays/other.npy", good)]))[0] == "E0613"
    assert fault(with_content(container.npy(np.arange(2))))[0] == "E0613"
    assert fault(with_content(container.npy(np.ones(3))))[0] == "E0613"
    assert fault(with_content(container.npy(np.ones((2, 1)))))[0] == "E0613"
    assert fault(with_content(good[:-1]))[0] == "E0613"
    assert fault(with_content(good[:5]))[0] == "E0613"
    assert fault(with_content(good[:6] + b"\x02" + good[7:]))[0] == "E0613"
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    assert fault(with_content(out.getvalue()))[0] == "E0613"
    assert fault(with_content(container.npy(np.array([np.nan, 1.0]))))[0] == "E0614"


def test_text_without_its_arrays() -> None:
    code, _, said = fault(print_state(build.states()[Stage.PLACED], 2))
    assert code == "E0613" and "whole .spuc file" in said


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    program = build.program()
    write_program(program, tmp_path / "model.spuc")
    for path, help_ in (
        (tmp_path / "modle.spuc", "model.spuc"),
        (tmp_path, ""),
        (tmp_path / "no" / "x", ""),
        ("a\0b", ""),
    ):
        with pytest.raises(SpuccError) as caught:
            read_program(path)
        assert caught.value.diagnostics[0].code == "E0616" and help_ in caught.value.diagnostics[0].help
    with pytest.raises(SpuccError) as caught:
        write_program(program, tmp_path / "no" / "x.spuc")
    assert caught.value.diagnostics[0].code == "E0616"
    assert [p.name for p in tmp_path.iterdir()] == ["model.spuc"]


def test_zlib_is_what_deflates() -> None:
    """A member whose deflate stream is broken, its CRC being right for what was meant."""
    data = packed(members_of(), zipfile.ZIP_DEFLATED)
    begin = data.index(b"stage.txt") + len(b"stage.txt")
    broken = data[:begin] + b"\xff" * 10 + data[begin + 10 :]
    assert zlib.crc32(broken) != zlib.crc32(data)
    assert fault(broken)[0] == "E0607"
