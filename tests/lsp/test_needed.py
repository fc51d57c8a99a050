"""What is run for one answer says the same as the whole program."""

from __future__ import annotations

from pathlib import Path

import pytest

from spucc.grammar import tree
from spucc.lsp.document import Document, Setting

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/**/*.spu"))

PROGRAM = """\
data n: int = 3
fn late(a) = a * scale
let scale = 2.5
var x1: real[n] ~ normal(0, 1)
var x2: real[n] ~ normal(0.5 * x1, 1)
var x3: real[n] ~ normal(0.5 * x2, scale)
let twice = late(x3) + x1
energy sum(twice**2)
for i in range(n - 1) {
    let d = x3[i + 1] - late(x2[i])
    energy 0.25 * d**2
}
if n > 2 { energy x1[0] } else { energy x2[0] }
observe x2[0] = 1
let spare = zeros(n)
query m = mean(x3)
"""


def places(document: Document) -> list[tuple[int, int]]:
    """The names that a program declares and uses, and where its statements begin."""
    named = [(s.line, s.column) for symbol in document.names.symbols for s in symbol.places()]
    return named + [(s.span.line, s.span.column) for s in document.program.statements]


def assert_alike(document: Document) -> None:
    for line, column in places(document):
        root = document.needs.root(line, column)
        assert root is not None
        answer = document.hover(line, column, document.needed_by(root))
        assert answer == document.hover(line, column, document.model)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_answers_are_those_of_the_whole_program(path: Path) -> None:
    data = tuple(p for end in (".json", ".npz", ".csv") if (p := path.with_suffix(end)).is_file())
    text = path.read_text(encoding="utf-8")
    assert_alike(Document(text, Setting(str(path), path.parent, data)))


def test_declarations_below_a_function_and_laws_of_laws_are_followed_as_far_as_needed() -> None:
    document = Document(PROGRAM, Setting("model.spu"))
    assert_alike(document)
    root = document.needs.root(8, 1)
    assert root is not None
    needed = document.needs.of(root).statements
    assert [s.span.line for s in needed] == [1, 2, 3, 4, 6, 7, 8]
    assert all(s.distribution is None for s in needed if isinstance(s, tree.Var))
    assert "E += " in document.hover(8, 1, document.needed_by(root))


def test_what_other_files_declare_and_read_is_there(tmp_path: Path) -> None:
    (tmp_path / "priors.spu").write_text("var x: real[size] ~ normal(0, 1)\nfn twice(a) = 2 * a\n")
    text = 'let size = 4\nlet other = 1\nimport "priors.spu"\nlet y = twice(x)\nenergy sum(y**2)\n'
    document = Document(text, Setting(str(tmp_path / "whole.spu"), tmp_path))
    assert "let y: real[4]" in document.hover(5, 12, document.needed_by(4))
    assert_alike(document)
