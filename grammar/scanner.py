"""Text to tokens: one regular expression, and the rules on where a statement ends.

A statement ends at a newline or at `;`. Inside `( )`, `[ ]` and the `< >` of bounds a newline is white space,
and a line that ends in a binary operator, `~`, a comma or `=` goes on. The scanner therefore keeps the stack
of open brackets, and so it is also the one to notice a bracket that is never closed: at the line where a new
statement plainly begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from spucc.diagnostics import Diagnostic, Label, Span
from spucc.grammar import lexical_errors

# What kind it is, its text, and the line and column (from 1) where it begins; no token goes over a line's
# end.
Token = tuple[str, str, int, int]

KEYWORDS = frozenset(
    """data let var param energy observe for in if else temperature train query import fn
    and or not true false None""".split()
)

# At most so many brackets within brackets. The tree itself is bounded by `parser.MAX_DEPTH`.
MAX_BRACKETS = 200

_DIGITS = r"\d++(?:_\d++)*+"
_TOKEN = re.compile(
    rf"""[ \t\f]*+(?:
      ([A-Za-z_][A-Za-z0-9_]*+)
    | ((?:{_DIGITS}(?:\.(?:{_DIGITS})?+)?+|\.{_DIGITS})(?:[eE][+-]?+{_DIGITS})?+(?![\w.]))
    | (\.\.\.|:=|\*\*=|[-+*/%^&|@]=(?!=)|===|!==|=>|->|//|&&|\|\||!(?!=)|[%^&|?$])
    | (\*\*|[=!<>]=|[-+*/@(){{}}\[\],:;~=<>.])
    | (\n)
    | (\#[^\n]*+)
    | ("(?:[^"\\\n]|\\[^\n])*+")
    | ("[^\n]*+|'[^'\n]*+'?|\.?\d[\w.]*+|[^\n])
    | \Z)""",
    re.VERBOSE | re.ASCII,
)
_NAME, _NUMBER, _FOREIGN, _OPERATOR, _NEWLINE, _COMMENT, _STRING = range(1, 8)

_KINDS = {**dict.fromkeys(["<", "<=", ">", ">=", "==", "!="], "CMP"), "+": "ADD", "-": "ADD", ";": "SEP"}
_KINDS |= {**dict.fromkeys(["*", "/", "@"], "MUL"), **{c: c for c in ["**", *"(){}[],:~=."]}}
_WORDS = {word: word for word in KEYWORDS}
_CLOSER = {"(": ")", "[": "]", "{": "}", "<": ">"}
_CONTINUES = frozenset([",", "=", "ADD", "MUL", "**", "CMP", "and", "or", "~"])

# A line that begins a statement even where a bracket is open: no statement's keyword and no `~` stands in
# brackets.
_STATEMENT = re.compile(
    r"""[ \t\f]*+(?:(?:data|let|var|param|energy|observe|temperature|train|query|import|fn)[ \t]++[\w("-]
    |(?:[^\n~\#"()\[\]{}<>]++|\([^()\n]*+\)|\[[^\[\]\n]*+\])*+~)""",
    re.VERBOSE,
)
_BOUND = re.compile(r"\s*(?:lower|upper)\s*=(?!=)")


class Scanner:
    """The tokens of one text. `comments` and `fault` are filled as the tokens are drawn."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.comments: list[tuple[int, int, str, bool]] = []
        self.fault: Diagnostic | None = None  # what the last token of kind ERROR stands for
        self._open: list[Token] = []
        self._too_deep = False

    @property
    def innermost(self) -> Token | None:
        """The innermost open bracket of the statement at hand."""
        return self._open[-1] if self._open and self._open[-1][1] != "{" else None

    def tokens(self) -> Iterator[Token]:
        """Every token up to `$END`. One of kind ERROR has left its diagnostic in `fault`."""
        line, line_start, last, separator = 1, 0, "SEP", None
        opened = self._open
        words, kinds = _WORDS, _KINDS
        for match in _TOKEN.finditer(self.text):
            group = match.lastindex
            if group is None:
                break
            text = match[group]
            column = match.start(group) - line_start + 1
            if group == _NAME:
                kind = words.get(text, "NAME")
            elif group == _OPERATOR:
                kind = kinds[text]
            elif group == _NUMBER:
                kind = "NUMBER"
            elif group == _NEWLINE:
                if opened and opened[-1][1] != "{":
                    if _STATEMENT.match(self.text, match.end()):
                        yield self._unclosed(opened[-1])
                        while opened and opened[-1][1] != "{":
                            opened.pop()
                        separator = ("SEP", text, line, column)
                elif separator is None and last not in _CONTINUES and last != "SEP":
                    separator = ("SEP", text, line, column)
                line += 1
                line_start = match.end()
                continue
            elif group == _COMMENT:
                alone = not self.text[line_start : match.start(group)].strip()
                self.comments.append((line, column, text.rstrip(), alone))
                continue
            elif group == _STRING:
                kind = "STRING"
            elif group == _FOREIGN:
                kind = "FOREIGN"
            else:
                kind = "ERROR"
            if separator is not None:
                if kind != "{" and not (kind == "else" and last == "}"):
                    yield separator
                separator = None
            last = kind
            if group == _OPERATOR:
                if text in "([{<":
                    if text == "<":
                        if not _BOUND.match(self.text, match.end()):
                            yield (kind, text, line, column)
                            continue
                        kind = "LBOUND"
                    opened.append((kind, text, line, column))
                    if len(opened) > MAX_BRACKETS:
                        opened.pop()
                        self._too_deep = True
                        self.fault = lexical_errors.too_deep(self._span(line, column, 1), MAX_BRACKETS)
                        yield ("ERROR", text, line, column)
                        break
                elif text in ")]}" or (text[0] == ">" and opened and opened[-1][1] == "<"):
                    if text[0] == ">":
                        last = "=" if text == ">=" else "RBOUND"
                    yield from self._close((kind, text, line, column))
                    continue
            elif kind == "ERROR":
                self.fault = lexical_errors.name(text, self._span(line, column, len(text)))
            yield (kind, text, line, column)
        yield from self._end(line, len(self.text) - line_start + 1)

    def _close(self, token: Token) -> Iterator[Token]:
        """A closing bracket, with the faults it brings to light."""
        _, text, line, column = token
        opened = self._open
        if text == "}" and any(t[1] == "{" for t in opened) and opened[-1][1] != "{":
            yield self._unclosed(opened[-1])
            while opened[-1][1] != "{":
                opened.pop()
        if not opened or (text == "}") != (opened[-1][1] == "{"):
            self.fault = lexical_errors.unmatched(text, self._span(line, column, 1))
            yield ("ERROR", text, line, column)
            return
        begin = opened.pop()
        if _CLOSER[begin[1]] != text[0]:
            other = self._span(begin[2], begin[3], 1)
            self.fault = lexical_errors.mismatched(begin[1], text, self._span(line, column, 1), other)
            yield ("ERROR", text, line, column)
        elif begin[1] == "<":
            yield ("RBOUND", ">", line, column)
            if text == ">=":
                yield ("=", "=", line, column + 1)
        else:
            yield token

    def _end(self, line: int, column: int) -> Iterator[Token]:
        """The end: what is still open is reported once, and blocks are closed so that they are kept."""
        if self._open and not self._too_deep:
            yield self._unclosed(self._open[-1])
        yield ("SEP", "", line, column)
        for token in reversed(self._open):
            if token[1] == "{":
                yield ("}", "", line, column)
                yield ("SEP", "", line, column)
        yield ("$END", "", line, column)

    def _unclosed(self, token: Token) -> Token:
        _, text, line, column = token
        self.fault = lexical_errors.unclosed(text, _CLOSER[text], self._span(line, column, 1))
        outermost = next((t for t in self._open if t[1] != "{"), token)
        if outermost is not token:
            where = Label(self._span(outermost[2], outermost[3], 1), "inside this one")
            self.fault = lexical_errors.with_label(self.fault, where)
        return ("ERROR", text, line, column)

    def _span(self, line: int, column: int, length: int) -> Span:
        return Span(self.file, line, column, line, column + length)
