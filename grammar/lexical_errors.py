"""The errors that the scanner finds: brackets that do not match, and characters that make no token."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from spucc.diagnostics import Diagnostic, Label, Span

_LOOKALIKES = {
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": '"', "’": '"', "`": '"',
    "−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "∗": "*", "⋅": "*", "÷": "/", "∕": "/",
    "≤": "<=", "≥": ">=", "≠": "!=", "∼": "~", "～": "~", "˜": "~", "∈": "in",
    "²": "**2", "³": "**3", "…": "...",
    "（": "(", "）": ")", "，": ",", "；": ";", "：": ":", "＝": "=", "＋": "+", "－": "-",
    "\u00a0": "a space", "\u202f": "a space", "\u2009": "a space", "\u200b": "nothing", "\ufeff": "nothing",
    "\u2028": "a new line", "\u2029": "a new line", "\v": "a new line",
}  # fmt: skip


def name(text: str, span: Span) -> Diagnostic:
    """The error of a piece of text that begins no token."""
    first = text[0]
    if first == '"':
        return Diagnostic(
            "E0105",
            "this string is not closed",
            span,
            help='close it with `"` before the line ends; `\\"` is a quote',
        )
    if first == "'":
        return Diagnostic(
            "E0106", "strings stand in double quotes", span, help=f'write "{text.strip(chr(39))}"'
        )
    if first.isascii() and (first.isdigit() or first == "."):
        return Diagnostic("E0107", f"`{_shown(text)}` is not a number", span, help=_number_help(text))
    if first in _LOOKALIKES:
        title = f"{_described(first)} looks like program text but is another character"
        return Diagnostic("E0106", title, span, help=f"write {_quoted(_LOOKALIKES[first])} instead")
    if first.isalpha():
        title = f"{_described(first)} cannot stand in a name"
        return Diagnostic("E0104", title, span, help="names are made of the letters a-z, A-Z, digits and `_`")
    hint = "is this a text file?" if ord(first) < 32 else ""
    return Diagnostic("E0104", f"{_described(first)} has no meaning here", span, help=hint)


def unclosed(opener: str, closer: str, span: Span) -> Diagnostic:
    help = f"add the missing `{closer}`"
    return Diagnostic("E0102", f"this `{opener}` is never closed", span, "opened here", help=help)


def unmatched(text: str, span: Span) -> Diagnostic:
    return Diagnostic(
        "E0103", f"this `{text}` closes nothing", span, help="remove it, or add the bracket that it closes"
    )


def mismatched(opener: str, text: str, span: Span, begin: Span) -> Diagnostic:
    closer = {"(": ")", "[": "]", "{": "}", "<": ">"}[opener]
    labels = (Label(begin, "opened here"),)
    title = f"`{opener}` is closed by `{text}`"
    return Diagnostic("E0103", title, span, labels=labels, help=f"close it with `{closer}`")


def too_deep(span: Span, limit: int) -> Diagnostic:
    return Diagnostic(
        "E0108",
        f"this is nested too deeply: more than {limit} levels",
        span,
        help="give the inner parts names with `let`, or write the sum of an array with `sum`",
    )


def with_label(fault: Diagnostic, label: Label) -> Diagnostic:
    return replace(fault, labels=(*fault.labels, label))


def _number_help(text: str) -> str:
    if re.fullmatch(r"0[xXbBoO]\w+", text):
        return "write the number in decimal"
    if text.count(".") > 1:
        return "a number has one decimal point"
    if "_" in text:
        return "`_` stands between two digits: 1_000"
    if re.fullmatch(r"[\d.]+[eE]", text):
        return "an exponent needs digits: 1e-3"
    split = re.fullmatch(r"([\d.]+)([A-Za-z]\w*)", text)
    if split:
        return f"a product needs its sign: {split[1]} * {split[2]}; a name cannot begin with a digit"
    return "numbers look like 3, 1.5, 2e-3 or 1_000"


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"


def _quoted(text: str) -> str:
    return text if " " in text or text == "nothing" else f"`{text}`"


def _described(char: str) -> str:
    """The character with its Unicode name, which tells apart what looks the same."""
    known = unicodedata.name(char, "")
    number = f"U+{ord(char):04X}"
    seen = f"`{char}` " if char.isprintable() and not char.isspace() else ""
    return f"the character {seen}({number}{' ' + known if known else ''})"
