"""Every page of the E02xx, E03xx and E04xx errors of the front end holds a program that causes exactly that error."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from spucc.diagnostics import SpuccError, render
from spucc.grammar import load

FOLDER = Path(__file__).parents[2] / "docs" / "errors"
GRAMMAR = Path(__file__).parents[2] / "grammar"
BLOCK = re.compile(r"```(\S+)(?: (\S+))?\n(.*?)```", re.S)


def codes() -> set[str]:
    """The codes that the elaborator uses."""
    pages = {p.name for p in GRAMMAR.glob("*.py")}
    texts = "".join((GRAMMAR / name).read_text(encoding="utf-8") for name in pages)
    return set(re.findall(r'"([EW]0[234]\d\d)"', texts))


@pytest.mark.parametrize("code", sorted(codes()))
def test_page(code: str, tmp_path: Path) -> None:
    page = (FOLDER / f"{code}.md").read_text(encoding="utf-8")
    assert re.match(rf"# {code}: \S", page)
    blocks = BLOCK.findall(page)
    if code == "E0222":
        assert not blocks
        return
    program = next(text for kind, name, text in blocks if kind == "spu" and not name)
    files, data = [], {}
    for kind, name, text in blocks:
        if name == "data":
            (tmp_path / f"data.{kind}").write_text(text)
            files.append(tmp_path / f"data.{kind}")
        elif name == "--data":
            key, value = text.strip().split("=", 1)
            data[key] = value
        elif name:
            (tmp_path / name).write_text(text)
    if "<!-- test: needs objects.npy -->" in page:
        np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "program.spu").write_text(program)
    sources: dict[str, str] = {}
    try:
        model = load(tmp_path / "program.spu", data=data, files=files, sources=sources)
        found = list(model.warnings)
    except SpuccError as error:
        found = list(error.diagnostics)
    assert {d.code for d in found} == {code}, render(found, sources)
    for d in found:
        if d.code not in ("E0425", "W0401", "E0310"):
            assert d.span is not None and d.span.file
        assert render(found, sources)
