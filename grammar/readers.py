"""Bytes to arrays: each format with its sizes checked before memory is taken, and nothing ever unpickled."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spucc.diagnostics import SpuccError, fail
from spucc.grammar.values import LARGEST_ARRAY, Array, Const, Graph, SparseConst, Text, Value, number_of

MOST_BYTES = 8 * LARGEST_ARRAY
MOST_TEXT = 200_000_000


def contents(path: Path) -> bytes:
    """The bytes of a file, unpacked if its name ends in `.gz`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            fail("E0311", f"`{path.name}` is too large ({path.stat().st_size:,} bytes)")
        raw = path.read_bytes()
    except OSError as error:
        fail("E0308", f"`{path.name}` cannot be read: {error.strerror or error}")
    return unpacked(raw, path.name) if path.suffix == ".gz" else raw


def unpacked(raw: bytes, name: str) -> bytes:
    """gzip, with a limit on what comes out."""
    out: list[bytes] = []
    total = 0
    data = raw
    try:
        while data:
            machine = zlib.decompressobj(wbits=31)
            while not machine.eof:
                piece = machine.decompress(data, 1 << 22)
                data = machine.unconsumed_tail
                total += len(piece)
                out.append(piece)
                if total > MOST_BYTES:
                    fail("E0311", f"`{name}` is too large once unpacked")
                if not piece and not data and not machine.eof:
                    fail("E0310", f"`{name}` is cut short")
            data = machine.unused_data.lstrip(b"\0")
    except zlib.error as error:
        fail("E0310", f"`{name}` is not a gzip file: {error}")
    return b"".join(out)


def _text(raw: bytes, name: str) -> str:
    if len(raw) > MOST_TEXT:
        fail(
            "E0311",
            f"`{name}` is too large for a text file ({len(raw):,} bytes)",
            help="use `.npz` or `.npy`",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail("E0310", f"`{name}` is not UTF-8 text (byte {error.start})")


# --- tables ---


@dataclass(frozen=True, eq=False)
class Table:
    """A csv file: the header if there is one, and the lines below it."""

    name: str
    header: tuple[str, ...]
    first_line: int
    lines: list[str]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fields(line: str) -> list[str]:
    import csv

    return [f.strip() for f in next(csv.reader([line]), [])]


def table(raw: bytes, name: str) -> Table:
    """Split a csv file into header and lines."""
    lines = _text(raw, name).splitlines()
    start = next((k for k, line in enumerate(lines) if line.strip()), len(lines))
    if start == len(lines):
        fail("E0310", f"`{name}` is empty")
    first = _fields(lines[start])
    header = () if all(_is_number(f) for f in first) else tuple(first)
    if len(set(header)) != len(header):
        fail("E0310", f"`{name}` has two columns of the same name")
    body = start + 1 if header else start
    return Table(name, header, body, lines[body:])


def numeric_table(t: Table, columns: tuple[int, ...] | None = None) -> Array:
    """The numbers of a table or of some of its columns, [rows, columns]."""
    lines = [line for line in t.lines if line.strip()]
    if not lines:
        return np.zeros((0, len(t.header) if columns is None else len(columns)))
    try:
        return np.atleast_2d(
            np.loadtxt(lines, delimiter=",", usecols=columns, ndmin=2, comments=None, quotechar='"')
        )
    except (ValueError, IndexError):
        pass
    width = len(t.header) or len(_fields(lines[0]))
    for number, line in enumerate(t.lines):
        if not line.strip():
            continue
        fields = _fields(line)
        where = f"line {number + t.first_line + 1} of `{t.name}`"
        if len(fields) != width:
            fail("E0310", f"{where} has {len(fields)} fields, expected {width}")
        for k in range(width) if columns is None else columns:
            if not _is_number(fields[k]):
                column = f" in the column `{t.header[k]}`" if t.header else ""
                found = fields[k][:40] or "nothing"
                fail(
                    "E0310",
                    f"{where}: `{found}`{column} is not a number",
                    help="leave rows with missing values out"
                    if not fields[k] or fields[k] in ("NA", "?")
                    else "",
                )
    fail("E0310", f"`{t.name}` is not a table of numbers")


# --- NumPy ---


def npy(raw: bytes, name: str) -> Array:
    """An `.npy` file; its header is read and checked first."""
    return _read_npy(io.BytesIO(raw), len(raw), name)


def _read_npy(stream: Any, available: int, name: str) -> Array:
    try:
        version = np.lib.format.read_magic(stream)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = reader(stream)
    except Exception as error:
        fail("E0310", f"`{name}` is not a NumPy file: {str(error)[:200]}")
    if dtype.hasobject:
        fail(
            "E0312",
            f"`{name}` holds Python objects, which are never read: they could run any code",
            help="save it as an array of numbers",
        )
    if dtype.kind not in "biuf":
        fail("E0302", f"`{name}` holds {dtype}, not numbers")
    count = number_of(shape)
    if count > LARGEST_ARRAY:
        fail("E0311", f"`{name}` holds {count:,} numbers, at most {LARGEST_ARRAY:,} are read")
    if count * dtype.itemsize > available:
        fail("E0310", f"`{name}` is cut short: its header promises {count:,} numbers")
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        fail("E0310", f"`{name}` is cut short")
    array = np.frombuffer(data, dtype=dtype)
    array = array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
    if dtype.kind == "f" and dtype.itemsize > 8:
        array = array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class Archive:
    """An `.npz` file; members are read when they are asked for."""

    def __init__(self, raw: bytes, name: str) -> None:
        self.name = name
        try:
            self.zip = zipfile.ZipFile(io.BytesIO(raw))
            infos = self.zip.infolist()
        except Exception as error:
            fail("E0310", f"`{name}` is not an npz file: {str(error)[:200]}")
        self.members = {i.filename.removesuffix(".npy"): i for i in infos if i.filename.endswith(".npy")}

    def names(self) -> list[str]:
        return list(self.members)

    def read(self, key: str) -> Array:
        info = self.members[key]
        label = f"{self.name}:{key}"
        if info.file_size > MOST_BYTES:
            fail("E0311", f"`{label}` is too large ({info.file_size:,} bytes)")
        if info.flag_bits & 1:
            fail("E0310", f"`{label}` is encrypted")
        try:
            with self.zip.open(info) as stream:
                return _read_npy(stream, info.file_size, label)
        except SpuccError:
            raise
        except Exception as error:  # a damaged archive: zipfile raises a dozen kinds, ValueError among them
            fail("E0310", f"`{label}` cannot be read: {str(error)[:200]}")


# --- JSON ---


def parse_json(raw: bytes, name: str) -> Any:
    text = _text(raw, name)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        fail("E0310", f"`{name}`, line {error.lineno}, column {error.colno}: {error.msg}")
    except RecursionError:
        fail("E0310", f"`{name}` is nested too deeply")
    except ValueError as error:
        fail("E0310", f"`{name}` is not JSON: {str(error)[:200]}")


def from_json(parsed: Any, name: str) -> Value:
    """A JSON value as a value of the language."""
    if isinstance(parsed, str) and not _is_number(parsed):
        return Text(parsed)
    if isinstance(parsed, dict):
        return graph_from(parsed, name)
    if parsed is None:
        fail("E0302", f"`{name}` holds null where a number should be")
    try:
        array = np.asarray(parsed)
    except (ValueError, OverflowError, RecursionError):
        fail("E0317", f"`{name}` holds an array whose rows have different lengths")
    if array.dtype.kind in "US":
        try:
            array = array.astype(np.float64)
        except ValueError:
            fail("E0302", f"`{name}` holds text where numbers should be")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (ValueError, TypeError, OverflowError):
            fail("E0302", f"`{name}` holds something that is not a number")
    if array.size > LARGEST_ARRAY:
        fail("E0311", f"`{name}` holds {array.size:,} numbers")
    return Const(array)


def graph_from(parsed: dict[str, Any], name: str) -> Graph:
    """`{"n": 3, "edges": [[0, 1], [1, 2, 0.5]]}`"""
    if "edges" not in parsed:
        fail(
            "E0313", f"`{name}` is not a graph: it has no `edges`", help='{"n": 3, "edges": [[0, 1], [1, 2]]}'
        )
    edges = parsed["edges"]
    try:
        rows = [tuple(e) for e in edges]
        widths = {len(e) for e in rows}
        if not widths <= {2, 3}:
            raise ValueError
        array = np.array([e if len(e) == 3 else (*e, 1.0) for e in rows], dtype=np.float64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        fail("E0313", f"the edges of `{name}` must be pairs `[i, j]` or triples `[i, j, weight]`")
    top = int(array[:, :2].max()) + 1 if array.size and np.isfinite(array).all() else 0
    n = parsed.get("n", top)
    if isinstance(n, float) and n == int(n):
        n = int(n)
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        fail("E0313", f"the number of nodes `n` of `{name}` must be an integer")
    weights = parsed.get("weights")
    if weights is not None:
        try:
            array[:, 2] = np.asarray(weights, dtype=np.float64)
        except (TypeError, ValueError):
            fail("E0313", f"the weights of `{name}` must be one number for each edge")
    return checked_graph(n, array, name)


def checked_graph(n: int, rows: Array, name: str) -> Graph:
    """A graph from rows (i, j, w), each checked."""
    from spucc.grammar.graphs import MOST_NODES, graph_of

    if n > MOST_NODES:
        fail("E0311", f"`{name}` has {n:,} nodes, at most {MOST_NODES:,} are taken")
    sound: Any = np.isfinite(rows)
    finite = sound.all(axis=1)
    ends = np.where(finite[:, None], rows[:, :2], 0.0)
    outside: Any = (ends != np.floor(ends)) | (ends < 0) | (ends >= n)
    bad = np.flatnonzero(~finite | outside.any(axis=1))
    if bad.size:
        k = int(bad[0])
        fail(
            "E0313",
            f"edge {k} of `{name}` is ({rows[k, 0]:g}, {rows[k, 1]:g}, {rows[k, 2]:g}): nodes are integers "
            f"from 0 to {n - 1}, weights finite",
        )
    i, j = ends[:, 0].astype(np.int64), ends[:, 1].astype(np.int64)
    loop = np.flatnonzero(i == j)
    if loop.size:
        fail("E0313", f"edge {int(loop[0])} of `{name}` joins node {int(i[loop[0]])} to itself")
    return graph_of(n, i, j, np.ascontiguousarray(rows[:, 2]))


def _numbers(words: list[str], name: str) -> Array:
    try:
        return np.array(words, dtype=np.float64)
    except ValueError:
        bad = next(w for w in words if not _is_number(w))
        fail("E0310", f"`{name}` holds `{bad[:40]}` where a number should be")


def gset(raw: bytes, name: str) -> Graph:
    """`n m`, then m lines `i j` or `i j w`, nodes from 1."""
    lines = [line.split() for line in _text(raw, name).splitlines() if line.strip()]
    if not lines or len(lines[0]) != 2:
        fail("E0310", f"`{name}` must begin with a line `n m`")
    n, m = _numbers(lines[0], name)
    if n != int(n) or len(lines) - 1 != m:
        fail("E0310", f"`{name}` promises {m:g} edges and has {len(lines) - 1}")
    widths = {len(line) for line in lines[1:]}
    if not widths <= {2, 3}:
        fail("E0310", f"an edge of `{name}` is a line `i j` or `i j w`")
    words = [w for line in lines[1:] for w in (line if len(line) == 3 else [*line, "1"])]
    rows = _numbers(words, name).reshape(-1, 3)
    rows[:, :2] -= 1
    return checked_graph(int(n), rows, name)


# --- MatrixMarket ---


def mtx(raw: bytes, name: str) -> Value:
    """A MatrixMarket file: coordinate or array; real, integer or pattern; general, symmetric or
    skew-symmetric."""
    text = _text(raw, name)
    head, _, rest = text.partition("\n")
    words = head.lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        fail("E0310", f"`{name}` does not begin with `%%MatrixMarket matrix …`")
    layout, field, symmetry = words[2:]
    if layout not in ("coordinate", "array") or field not in ("real", "integer", "pattern", "double"):
        fail("E0310", f"`{name}`: a MatrixMarket file `{layout} {field}` is not read")
    if symmetry not in ("general", "symmetric", "skew-symmetric"):
        fail("E0310", f"`{name}`: the symmetry `{symmetry}` is not read")
    body = [w for line in rest.splitlines() if not line.lstrip().startswith("%") for w in line.split()]
    sizes = _numbers(body[: 3 if layout == "coordinate" else 2], name)
    if sizes.size < 2 or not (
        np.isfinite(sizes).all() and (sizes >= 0).all() and (sizes == np.floor(sizes)).all()
    ):
        fail("E0310", f"`{name}` does not say its size")
    n, m = int(sizes[0]), int(sizes[1])
    if symmetry != "general" and n != m:
        fail("E0310", f"`{name}` is said to be {symmetry}, but is {n} × {m}")
    if layout == "array":
        return _mtx_array(body[2:], n, m, symmetry, name)
    return _mtx_coordinate(body[3:], n, m, int(sizes[2]) if sizes.size > 2 else -1, field, symmetry, name)


def _mtx_array(words: list[str], n: int, m: int, symmetry: str, name: str) -> Value:
    if n * m > LARGEST_ARRAY:
        fail("E0311", f"`{name}` holds {n * m:,} numbers")
    strict = symmetry == "skew-symmetric"
    wanted = n * m if symmetry == "general" else n * (n + 1) // 2 - (n if strict else 0)
    if len(words) != wanted:
        fail("E0310", f"`{name}` promises {wanted} numbers and has {len(words)}")
    values = _numbers(words, name)
    if symmetry == "general":
        return Const(np.ascontiguousarray(values.reshape(m, n).T))
    j, i = np.triu_indices(n, 1 if strict else 0)
    full = np.zeros((n, n))
    full[j, i] = -values if strict else values
    full[i, j] = values
    return Const(full)


def _mtx_coordinate(
    words: list[str], n: int, m: int, count: int, field: str, symmetry: str, name: str
) -> Value:
    from scipy import sparse

    if max(n, m) >= 2**31:
        fail("E0311", f"`{name}` is {n} × {m}")
    width = 2 if field == "pattern" else 3
    if len(words) != count * width:
        fail("E0310", f"`{name}` promises {count} entries and has {len(words) / width:g}")
    entries = _numbers(words, name).reshape(count, width)
    ends = entries[:, :2] - 1
    inside: Any = (ends >= 0) & (ends < np.array([n, m])) & (ends == np.floor(np.nan_to_num(ends)))
    bad = np.flatnonzero(~np.asarray(inside).reshape(count, 2).all(axis=1))
    if bad.size:
        k = int(bad[0])
        fail(
            "E0310",
            f"entry {k + 1} of `{name}` is at ({entries[k, 0]:g}, {entries[k, 1]:g}), outside {n} × {m}",
        )
    values = np.ones(count) if field == "pattern" else entries[:, 2]
    if not np.isfinite(values).all():
        fail("E0305", f"entry {int(np.flatnonzero(~np.isfinite(values))[0]) + 1} of `{name}` is not finite")
    i, j = ends[:, 0].astype(np.int64), ends[:, 1].astype(np.int64)
    if symmetry != "general":
        off = i != j
        sign = -1.0 if symmetry == "skew-symmetric" else 1.0
        i, j, values = (np.concatenate(p) for p in ((i, j[off]), (j, i[off]), (values, sign * values[off])))
    matrix = sparse.csr_array(sparse.coo_array((values, (i, j)), shape=(n, m)))
    return SparseConst(matrix, None, frozenset(["symmetric"]) if symmetry == "symmetric" else frozenset())
