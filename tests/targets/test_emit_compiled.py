"""`spucc compile program.spuc --emit …`: what can be made of a program that is compiled already."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import spucc
from spucc.cli import cli
from spucc.diagnostics import SpuccError
from spucc.ir import read_any
from spucc.stages import Program

MODEL = "var x: real[3] ~ multi_normal([5, -5, 3], [[1, 0.6, 0], [0.6, 1, 0.3], [0, 0.3, 1]])\nquery x = sample(x)\n"


def compile_cli(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["compile", *arguments])


@pytest.fixture
def spuc(tmp_path: Path) -> Path:
    file = tmp_path / "m.spuc"
    spucc.compile(MODEL, target="spu8").save(file)
    (tmp_path / "m.spu").write_text(MODEL)
    return file


def test_the_netlist_is_that_of_the_model(spuc: Path) -> None:
    model, cir = spuc.with_suffix(".spu"), spuc.with_suffix(".cir")
    direct = compile_cli(str(model), "--target", "spu8", "--emit", "spice").output
    printed = compile_cli(str(spuc), "--emit", "spice")
    assert printed.exit_code == 0 and "filesource" in direct

    def circuit(text: str) -> list[str]:
        # The program's digest knows the name of the file that it was read from.
        return [line for line in text.splitlines() if not line.startswith("* program")]

    assert circuit(printed.output) == circuit(direct)
    assert compile_cli(str(spuc), "--emit", "spice", "-o", str(cir)).exit_code == 0
    assert "m.noise" in cir.read_text() and cir.with_suffix(".noise").stat().st_size > 1000


def test_its_text_and_page(spuc: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.spuc"
    assert compile_cli(str(spuc), "--emit", "program", "-o", str(again)).exit_code == 0
    assert again.read_bytes() == spuc.read_bytes()
    text = compile_cli(str(spuc), "--emit", "program").output
    assert isinstance(read_any(text.encode()), Program)
    page = tmp_path / "page.html"
    assert compile_cli(str(spuc), "--report", str(page)).exit_code == 0 and "<html" in page.read_text()


def test_what_cannot_be_made_of_it(spuc: Path, tmp_path: Path) -> None:
    behind = compile_cli(str(spuc), "--emit", "placed").exception
    assert isinstance(behind, SpuccError) and "E0690" in str(behind)
    for options, word in (
        ([], "compiled already"),
        (["--emit", "spice", "--bits", "4"], "--bits"),
        (["--emit", "spice", "--target", "king-8x8"], "--target"),
    ):
        refused = compile_cli(str(spuc), *options)
        assert refused.exit_code == 2 and word in refused.output
    stage = tmp_path / "stage.spuc"
    assert (
        compile_cli(
            str(spuc.with_suffix(".spu")), "--target", "spu8", "--emit", "placed", "-o", str(stage)
        ).exit_code
        == 0
    )
    assert "is the stage `placed`" in compile_cli(str(stage), "--emit", "spice").output
