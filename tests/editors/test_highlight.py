"""Colours: the lexer and the TextMate grammar know the words of the language and read every program in the repository."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pygments")

from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, String, Token

from spucc.grammar.builder import TYPES
from spucc.grammar.distributions import DISTRIBUTIONS
from spucc.grammar.functions import BUILTINS
from spucc.grammar.queries import _PARAMS as QUERIES
from spucc.grammar.scanner import KEYWORDS, Scanner
from spucc.highlight import SpuLexer, textmate

ROOT = Path(__file__).resolve().parent.parent.parent
EXTENSION = ROOT / "editors" / "vscode"
EXAMPLES = sorted((ROOT / "examples").rglob("*.spu"))
GRAMMAR = json.loads((EXTENSION / "syntaxes" / "spu.tmLanguage.json").read_text(encoding="utf-8"))


def programs() -> list[str]:
    """Every example, and every sound program of the language reference."""
    page = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    return [f.read_text(encoding="utf-8") for f in EXAMPLES] + re.findall(r"```spu\n(.*?)```", page, re.S)


@pytest.mark.parametrize("text", programs(), ids=range(len(programs())))
def test_every_program_is_read_without_error(text: str) -> None:
    tokens = list(SpuLexer(stripnl=False, ensurenl=False).get_tokens(text))
    assert all(kind is not Error for kind, _ in tokens)
    assert "".join(value for _, value in tokens) == text


@pytest.mark.parametrize("text", programs(), ids=range(len(programs())))
def test_the_lexer_splits_as_the_scanner_does(text: str) -> None:
    """Comments, strings, numbers and words lie where the compiler's own scanner finds them."""
    kinds = {"NAME": "word", "NUMBER": "number", "STRING": "string"} | dict.fromkeys(KEYWORDS, "word")
    expected = [(kinds[t[0]], t[1]) for t in Scanner(text, "f").tokens() if t[0] in kinds]
    found = []
    for kind, value in SpuLexer().get_tokens(text):
        if kind in Number:
            found.append(("number", value))
        elif kind in String:
            found.append(("string", value))
        elif kind in Keyword or kind in Name or kind is Operator.Word:
            found.append(("word", value))
        else:
            assert kind in Token.Text or kind in Comment or kind in Operator or kind in Token.Punctuation
    assert found == expected


def kinds_of(text: str) -> dict[str, str]:
    return {value: str(kind) for kind, value in SpuLexer().get_tokens(text)}


def test_words_have_their_kinds() -> None:
    for word in KEYWORDS:
        assert "Keyword" in kinds_of(f"{word} z")[word] or word in ("and", "or", "not")
    for name in DISTRIBUTIONS:
        assert kinds_of(f"x ~ {name}(1)")[name] == "Token.Name.Class"
    for name in {*BUILTINS, *QUERIES}:
        assert kinds_of(f"y = {name}(x)")[name] == "Token.Name.Builtin"
    for name in TYPES:
        assert kinds_of(f"data z: {name}")[name] == "Token.Keyword.Type"
    # A variable may have the name of a type or of a law elsewhere.
    assert kinds_of("let normal = 1")["normal"] == "Token.Name"


@pytest.mark.parametrize("text", ['let a = "open', "let a = 'b'", "x ? y", "let a = 1.2.3", "let b = 3x"])
def test_what_the_scanner_refuses_is_an_error(text: str) -> None:
    assert any(kind is Error for kind, _ in SpuLexer().get_tokens(text))


def test_pygments_finds_the_lexer_once_installed() -> None:
    from importlib.metadata import entry_points

    if not any(e.name == "spu" for e in entry_points(group="pygments.lexers")):
        pytest.skip("this installation is older than the entry point")
    assert isinstance(get_lexer_by_name("spu"), SpuLexer)


# --- TextMate ---


def test_the_grammar_is_the_generated_one() -> None:
    assert textmate() == GRAMMAR, "run `python -m spucc.highlight`"


def scopes(text: str) -> Iterator[tuple[str, str]]:
    """A text read as an editor does: at each place of a line the pattern that matches first, the earlier of equals."""
    patterns = [(re.compile(p["match"]), p) for p in GRAMMAR["patterns"]]
    for line in text.split("\n"):
        at = 0
        while at < len(line):
            found = [(m.start(), k, m) for k, (p, _) in enumerate(patterns) if (m := p.search(line, at))]
            if not found:
                break
            _, k, m = min(found, key=lambda f: f[:2])
            rule = patterns[k][1]
            if "captures" in rule:
                yield from ((m[int(g)], c["name"]) for g, c in rule["captures"].items())
            else:
                yield m[0], rule["name"]
            assert m.end() > at
            at = m.end()


def test_the_grammar_gives_words_their_scopes() -> None:
    for word in KEYWORDS:
        (scope,) = (s for w, s in scopes(f"{word} ") if w == word)
        assert scope.startswith(("keyword.", "storage.", "constant.language"))
    for name in DISTRIBUTIONS:
        assert (name, "support.class.distribution.spu") in scopes(f"x ~ {name}(1)")
    for name in {*BUILTINS, *QUERIES}:
        assert (name, "support.function.spu") in scopes(f"let y = {name}(x)")
    for name in TYPES:
        assert (name, "support.type.spu") in scopes(f"data z: {name}[3]")


@pytest.mark.parametrize("text", programs(), ids=range(len(programs())))
def test_the_grammar_agrees_with_the_lexer(text: str) -> None:
    """Comments, strings and numbers of every program have those scopes, and nothing else has."""
    wanted = {"comment": Comment, "string": String, "constant.numeric": Number}
    found = [(w, head) for w, s in scopes(text) for head in wanted if s.startswith(head)]
    expected = [(v, h) for k, v in SpuLexer().get_tokens(text) for h, kind in wanted.items() if k in kind]
    assert found == expected


def test_the_extension_s_files_are_there() -> None:
    package = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    (language,) = package["contributes"]["languages"]
    (grammar,) = package["contributes"]["grammars"]
    for name in (package["main"], language["configuration"], grammar["path"]):
        assert (EXTENSION / name).is_file()
    json.loads((EXTENSION / language["configuration"]).read_text(encoding="utf-8"))
    assert language["extensions"] == [".spu"] and grammar["scopeName"] == GRAMMAR["scopeName"]
