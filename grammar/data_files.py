"""The files of `--data FILE`: named values in JSON, npz and csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spucc.diagnostics import Diagnostic, SpuccError, fail
from spucc.grammar import csv_files, graph_files, json_files, npy_files, readers
from spucc.grammar.values import Const, Graph, Value


@dataclass(eq=False)
class DataFile:
    """One `--data FILE`."""

    name: str
    content: Any
    kind: str

    def names(self) -> list[str]:
        if self.kind == "npz":
            return list(self.content.names())
        if self.kind == "csv":
            return list(self.content.header)
        return list(self.content)

    def read(self, key: str) -> Value:
        if self.kind == "npz":
            return Const(self.content.read(key))
        if self.kind == "csv":
            at = self.content.header.index(key)
            return Const(csv_files.numeric_table(self.content, (at,))[:, 0])
        return json_files.from_json(self.content[key], f"{self.name}:{key}")


def open_files(paths: Sequence[Path]) -> tuple[list[DataFile], list[Diagnostic]]:
    """The data files, and what is wrong with those that cannot be read."""
    files: list[DataFile] = []
    faults: list[Diagnostic] = []
    for path in paths:
        try:
            files.append(_open(path))
        except SpuccError as error:
            faults += error.diagnostics
    return files, faults


def _open(path: Path) -> DataFile:
    name = path.name
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in (".json", ".npz", ".csv"):
        fail(
            "E0310",
            f"`{name}` is not a kind of data file",
            help="data files are .json, .npz or .csv, also with .gz",
        )
    if not path.is_file():
        fail("E0308", f"there is no file `{path}`")
    raw = readers.contents(path)
    if kind == ".npz":
        return DataFile(name, npy_files.Archive(raw, name), "npz")
    if kind == ".csv":
        table = csv_files.table(raw, name)
        if not table.header:
            fail("E0310", f"`{name}` has no header: its first line names the columns")
        return DataFile(name, table, "csv")
    content = json_files.parse_json(raw, name)
    if not isinstance(content, dict):
        fail("E0310", f"`{name}` must hold an object with the data by name", help='{"N": 3, "y": [1, 2, 3]}')
    return DataFile(name, content, "json")


def npz_graph(file: DataFile, name: str) -> Graph | None:
    """`G_edges` (and `G_weights`, `G_n`) in an npz file make the graph G."""
    if file.kind != "npz" or f"{name}_edges" not in file.names():
        return None
    parts: dict[str, Any] = {"edges": file.read(f"{name}_edges").array.tolist()}  # type: ignore[union-attr]
    for key in ("weights", "n"):
        if f"{name}_{key}" in file.names():
            parts[key] = file.read(f"{name}_{key}").array.tolist()  # type: ignore[union-attr]
    return graph_files.graph_from(parts, f"{file.name}:{name}")
