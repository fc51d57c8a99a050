"""Data: precedence, conventions, and every kind of bad input answered by a diagnostic."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spucc.diagnostics import SpuccError, render
from spucc.grammar import csv_files, elaborate, graph_files, json_files, load, matrix_market, readers

PROGRAM = "data A: spd[n]\ndata y: real[n]\nvar x: real[n] ~ multi_normal_prec(y, A)\n"


def codes(program: Any, **options: Any) -> set[str]:
    with pytest.raises(SpuccError) as caught:
        load(program, **options)
    assert render(caught.value.diagnostics)
    return {d.code for d in caught.value.diagnostics}


def test_precedence(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"a": 2, "b": 2, "other": "ignored"}')
    model = load(
        "data a: int = 1\ndata b: int = 1\ndata c: int = 1\nvar x: real[a + 10 * b + 100 * c] ~ normal(0, 1)",
        data={"a": "3"},
        files=[tmp_path / "d.json"],
    )
    assert model.energy.n == 123


def test_formats_agree(tmp_path: Path) -> None:
    y = np.array([0.5, -1.0, 2.0])
    np.savez(tmp_path / "d.npz", y=y)
    (tmp_path / "d.json").write_text(json.dumps({"y": y.tolist()}))
    (tmp_path / "d.csv").write_text("name,y\na,0.5\nb,-1\nc,2\n")
    (tmp_path / "d.json.gz").write_bytes(gzip.compress((tmp_path / "d.json").read_bytes()))
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "y.csv").write_text("0.5\n-1\n2\n")
    (tmp_path / "y.mtx").write_text("%%MatrixMarket matrix array real general\n% c\n3 1\n0.5\n-1\n2\n")
    programs = [("data y: real[n]\n", name) for name in ("d.npz", "d.json", "d.csv", "d.json.gz")]
    programs += [
        (f"let y = {call}\nlet n = 3\n", "")
        for call in ('npy("y.npy")', 'csv("y.csv")[:, 0]', 'mtx("y.mtx")[:, 0]', 'json("d.json.gz")')
        if "json" not in call
    ]
    programs += [('let y = npz("d.npz", "y")\nlet n = 3\n', "")]
    for head, name in programs:
        energy = elaborate(
            head + "var x: real[n] ~ normal(y, 1)\n", folder=tmp_path, files=[tmp_path / name] if name else []
        )
        assert np.array_equal(energy.linear, -y)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"A": [[1, 0], [0, 1]]}, {"E0301"}),
        ({"A": [[1, 0], [0, 1]], "y": [1, float("nan")]}, {"E0305"}),
        ({"A": [[1, 2], [2, 1]], "y": [1]}, {"E0307", "E0301"}),
        ({"A": [[1, 2], [0, 1]], "y": [1, 2]}, {"E0306"}),
        ({"A": [[1, 0, 0], [0, 1, 0]], "y": [1, 2]}, {"E0303"}),
        ({"A": [[1, 0], [0]], "y": [1, 2]}, {"E0317", "E0201"}),
        ({"A": [["a", 0], [0, 1]], "y": None}, {"E0302"}),
        ({"A": {"x": 1}, "y": [1, 2]}, {"E0313"}),
        ({"A": [[float("inf"), 0], [0, 1]], "y": [1, 2]}, {"E0305"}),
    ],
)  # fmt: skip
def test_bad_data(data: dict[str, Any], expected: set[str]) -> None:
    assert codes(PROGRAM, data=data) & expected


def test_files_stay_in_the_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "y.csv").write_text("1\n")
    (home / "link.csv").symlink_to(tmp_path / "y.csv")
    for name in ("../y.csv", str(tmp_path / "y.csv"), "link.csv"):
        program = f'let y = csv("{name}")\nvar x: real ~ normal(y[0, 0], 1)'
        assert codes(program, folder=home) == {"E0309"}
        assert elaborate(program, folder=home, allow_paths=[tmp_path]).linear[0] == -1


def test_bombs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as z:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (10**9,)}
        )
        z.writestr("y.npy", header.getvalue() + bytes(1000))
    assert codes("data y: real[n]\nvar x: real ~ normal(0, 1)", files=[tmp_path / "b.npz"]) == {"E0311"}
    (tmp_path / "d.json").write_text("[" * 100_000)
    assert codes("data y: real[n]\nvar x: real ~ normal(0, 1)", files=[tmp_path / "d.json"]) == {"E0310"}


def _valid(kind: str) -> bytes:
    a, y = np.eye(3) + 0.1, np.arange(3.0)
    if kind == "json":
        return json.dumps({"A": a.tolist(), "y": y.tolist()}).encode()
    if kind == "csv":
        return b"A,y\n1,2\n3,4\n"
    stream = io.BytesIO()
    np.savez(stream, A=a, y=y)
    return stream.getvalue()


@given(st.sampled_from(["json", "npz", "csv"]), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_broken_files(tmp_path: Path, kind: str, data: Any) -> None:
    raw = bytearray(_valid(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        action = data.draw(st.sampled_from(["cut", "byte", "repeat"]))
        if action == "cut":
            raw = raw[: at + 1]
        elif action == "byte":
            raw[at] = data.draw(st.integers(0, 255))
        else:
            raw = raw[:at] + raw[at : at + 40] * 3 + raw[at:]
    path = tmp_path / f"d.{kind}"
    path.write_bytes(bytes(raw))
    try:
        load(PROGRAM, files=[path])
    except SpuccError as error:
        assert render(error.diagnostics)


@given(st.sampled_from(["g.mtx", "g.gset", "g.npy", "g.csv", "g.json"]), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_broken_program_files(tmp_path: Path, name: str, data: Any) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones((2, 2)))
    raw = bytearray({
        "g.mtx": b"%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 1.5\n2 1 3\n",
        "g.gset": b"3 2\n1 2 1\n2 3 -1\n", "g.npy": stream.getvalue(), "g.csv": b"a,b\n1,2\n3,4\n",
        "g.json": b"[[1, 2], [3, 4]]",
    }[name])  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(bytes(raw))
    kind = name.split(".")[1]
    try:
        load(f'let g = {kind}("{name}")\nvar x: real ~ normal(0, 1)', folder=tmp_path)
    except SpuccError as error:
        assert render(error.diagnostics)


@pytest.mark.parametrize(
    ("given", "line", "words"),
    [
        ("sigmma", 1, "did you mean `sigma`?"),
        ("w", 3, "a param"),
        ("k", 4, "a constant"),
        ("x", 5, "a random variable"),
        ("n", 2, "the length of an axis"),
        ("zzz", None, "its data are sigma, y"),
    ],
)
def test_what_is_given_by_name_must_be_a_datum(given: str, line: int | None, words: str) -> None:
    program = "data sigma: real = 1\ndata y: real[n] = [1, 2]\nparam w: real = 0\nlet k = 2\nvar x: real ~ normal(w, sigma)\n"
    with pytest.raises(SpuccError) as caught:
        elaborate(program, data={given: "2"})
    (found,) = caught.value.diagnostics
    assert (found.code, found.span and found.span.line) == ("E0318", line)
    assert words in found.title + found.help


def test_a_misspelt_datum_without_default_is_one_error_and_not_two() -> None:
    with pytest.raises(SpuccError) as caught:
        elaborate("data sigma: real\nvar x: real ~ normal(0, sigma)\n", data={"sigmma": 2, "other": 3})
    first, second = caught.value.diagnostics
    assert (
        (first.code, second.code) == ("E0318", "E0301")
        and "`other`" in first.title
        and "`sigmma`" in second.help
    )
    # Nothing is said of names that a statement with a fault may have declared.
    with pytest.raises(SpuccError) as caught:
        elaborate("data sigma: reel\nvar x: real ~ normal(0, 1)\n", data={"other": 2})
    assert "E0318" not in {d.code for d in caught.value.diagnostics}


def _large(kind: str) -> bytes:
    """A data file of a megabyte or two, of the kinds that take most memory for their size."""
    n = 300_000
    digits = np.random.default_rng(0).integers(0, 9, n)
    words = [str(d) for d in digits]
    match kind:
        case "csv":
            return "\n".join(["a,b,c", *[",".join(words[k : k + 3]) for k in range(0, n, 3)] * 2]).encode()
        case "json":
            return json.dumps({"a": [[int(d)] for d in digits]}).encode()
        case "graph":
            return json.dumps({"n": n, "edges": [[k, k + 1] for k in range(n // 3)]}).encode()
        case "mtx":
            return "\n".join(
                ["%%MatrixMarket matrix array integer general", f"{2 * n} 1", *words * 2]
            ).encode()
        case "gset":
            edges = [f"{k + 1} {k + 2}" for k in range(n // 3)]
            return "\n".join([f"{n} {len(edges)}", *edges]).encode()
    buffer = io.BytesIO()
    np.save(buffer, np.tile(digits, 2))
    return buffer.getvalue()


READ: dict[str, Any] = {
    "csv": lambda raw: csv_files.numeric_table(csv_files.table(raw, "f")),
    "json": lambda raw: json_files.from_json(json_files.parse_json(raw, "f")["a"], "f"),
    "graph": lambda raw: json_files.from_json(json_files.parse_json(raw, "f"), "f"),
    "mtx": lambda raw: matrix_market.mtx(raw, "f"),
    "gset": lambda raw: graph_files.gset(raw, "f"),
}


@pytest.mark.parametrize("kind", READ)
def test_what_a_reader_takes_is_known_before_it_reads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate is no less than the peak that the allocator saw, and no more than eight times that."""
    asked: list[int] = []
    monkeypatch.setattr(readers, "room", lambda size, name: asked.append(size))
    raw = _large(kind)
    assert len(raw) > readers.SMALL
    tracemalloc.start()
    READ[kind](raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= max(asked) <= 8 * peak


@pytest.mark.parametrize("kind", ["csv", "json", "graph", "mtx", "gset", "npy", "npz", "json.gz"])
def test_a_file_that_takes_more_than_is_free_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "free_memory", lambda: 3_000_000)
    raw = _large(kind.removesuffix(".gz"))
    function = "json" if kind == "graph" else kind
    if kind == "npz":
        np.savez(tmp_path / "f.npz", a=np.zeros(10**6))
    else:
        (tmp_path / f"f.{function}").write_bytes(gzip.compress(raw) if kind.endswith("gz") else raw)
    call = f'{function.removesuffix(".gz")}("f.{function}"{", " + chr(34) + "a" + chr(34) if kind == "npz" else ""})'
    (tmp_path / "p.spu").write_text(f"let g = {call}\nvar x: real ~ normal(0, 1)\n")
    with pytest.raises(SpuccError) as caught:
        load(tmp_path / "p.spu")
    (found,) = caught.value.diagnostics
    assert found.code == "E0311" and "are free" in found.title and found.span and found.span.line == 1


def test_free_memory_is_what_the_limits_leave() -> None:
    """Under `ulimit -v` no more than the limit; a large file is then an error and not a crash."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from spucc.free_memory import free_memory; print(free_memory())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**29 < int(run.stdout) < 2**31
