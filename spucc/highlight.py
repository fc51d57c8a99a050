"""Colours for `.spu` text: the words of the language by kind, a Pygments lexer, and the TextMate grammar of `editors/`.

Both are made from the same lists, which come from the implementation: `python -m spucc.highlight` writes the grammar into
`editors/vscode/syntaxes/`, and a test holds the file to it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text

from spucc.grammar.builder import TYPES
from spucc.grammar.context import BUILTIN_CONSTANTS
from spucc.grammar.distributions import DISTRIBUTIONS
from spucc.grammar.functions import BUILTINS, load_all
from spucc.grammar.queries import _PARAMS as QUERIES
from spucc.grammar.scanner import KEYWORDS

load_all()
CONSTANTS = ("true", "false", "None")
WORD_OPERATORS = ("and", "or", "not")
DECLARATIONS = ("data", "let", "var", "param", "fn")
FLOW = tuple(sorted(KEYWORDS - {*CONSTANTS, *WORD_OPERATORS, *DECLARATIONS}))
FUNCTIONS = tuple(sorted({*BUILTINS, *QUERIES, "range"}))
LAWS = tuple(sorted(DISTRIBUTIONS))

_DIGITS = r"\d+(?:_\d+)*"
NUMBER = rf"(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?(?![\w.])"
OPERATOR = r"\*\*|[=!<>]=|[-+*/@~=<>]"
STRING = r'"(?:[^"\\\n]|\\[nt"\\])*"'


class SpuLexer(RegexLexer):  # type: ignore[misc]  # pygments has no types
    """`.spu` programs. Anything that the scanner would refuse is an error token."""

    name = "spucc"
    url = "https://pypi.org/project/spucc/"
    aliases: ClassVar[list[str]] = ["spu", "spucc"]
    filenames: ClassVar[list[str]] = ["*.spu"]
    mimetypes: ClassVar[list[str]] = ["text/x-spu"]

    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"\s+", Text.Whitespace),
            (r"#[^\n]*", Comment.Single),
            (STRING, String.Double),
            (NUMBER, Number),
            (r"(fn)(\s+)([A-Za-z_]\w*)", bygroups(Keyword.Declaration, Text.Whitespace, Name.Function)),
            # `var(x)` is the variance.
            (r"var(?=\s*\()", Name.Builtin),
            (words(DECLARATIONS, r"\b", r"\b"), Keyword.Declaration),
            (words(FLOW, r"\b", r"\b"), Keyword),
            (words(CONSTANTS, r"\b", r"\b"), Keyword.Constant),
            (words(WORD_OPERATORS, r"\b", r"\b"), Operator.Word),
            (r"(:)(\s*)(" + "|".join(TYPES) + r")\b", bygroups(Punctuation, Text.Whitespace, Keyword.Type)),
            (r"(~)(\s*)(" + "|".join(LAWS) + r")\b", bygroups(Operator, Text.Whitespace, Name.Class)),
            (words(FUNCTIONS, r"\b", r"(?=\s*\()"), Name.Builtin),
            (words(tuple(BUILTIN_CONSTANTS), r"\b", r"\b"), Name.Constant),
            (r"[A-Za-z_][A-Za-z0-9_]*", Name),
            (OPERATOR, Operator),
            (r"[()\[\]{},:;.]", Punctuation),
        ]
    }


def textmate() -> dict[str, Any]:
    """The grammar for VS Code and the other editors that read TextMate's."""

    def any_of(listed: tuple[str, ...]) -> str:
        return r"\b(?:" + "|".join(sorted(listed, key=lambda w: (-len(w), w))) + r")\b"

    def rule(scope: str, match: str) -> dict[str, Any]:
        return {"name": f"{scope}.spu", "match": match}

    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "spucc",
        "scopeName": "source.spu",
        "fileTypes": ["spu"],
        "patterns": [
            rule("comment.line.number-sign", r"#.*$"),
            rule("string.quoted.double", STRING),
            {
                "match": r"\b(fn)\s+([A-Za-z_]\w*)",
                "captures": {
                    "1": {"name": "storage.type.function.spu"},
                    "2": {"name": "entity.name.function.spu"},
                },
            },
            {
                "match": r"(:)\s*(" + "|".join(TYPES) + r")\b",
                "captures": {
                    "1": {"name": "punctuation.separator.spu"},
                    "2": {"name": "support.type.spu"},
                },
            },
            {
                "match": r"(~)\s*(" + "|".join(LAWS) + r")\b",
                "captures": {
                    "1": {"name": "keyword.operator.spu"},
                    "2": {"name": "support.class.distribution.spu"},
                },
            },
            rule("support.function", any_of(FUNCTIONS) + r"(?=\s*\()"),
            rule("storage.type", any_of(DECLARATIONS)),
            rule("keyword.control", any_of(FLOW)),
            rule("constant.language", any_of((*CONSTANTS, *BUILTIN_CONSTANTS))),
            rule("keyword.operator.word", any_of(WORD_OPERATORS)),
            rule("constant.numeric", r"(?<![\w.])" + NUMBER),
            rule("keyword.operator", OPERATOR),
            rule("variable.other", r"[A-Za-z_][A-Za-z0-9_]*"),
        ],
    }


def main() -> None:
    """Write the grammar where the extension has it."""
    target = (
        Path(__file__).resolve().parent.parent / "editors" / "vscode" / "syntaxes" / "spu.tmLanguage.json"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(textmate(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
