"""Whatever the text, the parser answers with diagnostics inside it and never with a traceback."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spucc.diagnostics import Diagnostic, render
from spucc.grammar.format import format_program, format_text
from spucc.grammar.parser import parse
from spucc.grammar.source import normalised

SEEDS = st.integers(0, 2**32)


def inside(found: list[Diagnostic], text: str) -> None:
    """Every diagnostic names a place in the text, at most one column behind a line's end."""
    lines = normalised(text).split("\n")
    for d in found:
        assert d.code.startswith("E01") and d.title
        assert "{" + "found}" not in d.title + d.help
        for span in (d.span, *(label.span for label in d.labels)):
            assert span is not None
            assert 1 <= span.line <= span.end_line <= len(lines)
            assert 1 <= span.column <= len(lines[span.line - 1]) + 1
            assert span.column < span.end_column or span.line < span.end_line
            assert span.end_column <= len(lines[span.end_line - 1]) + 2
    render(found, {"f": text})


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_a_printed_tree_parses_to_itself(generate: ModuleType, seed: int) -> None:
    program = generate.program(seed)
    text = format_program(program)
    again, found = parse(text, "f")
    assert found == []
    assert again == program
    assert format_text(text, "f") == text


@settings(max_examples=300, deadline=None)
@given(SEEDS, SEEDS)
def test_a_broken_program_brings_diagnostics(generate: ModuleType, seed: int, how: int) -> None:
    broken(generate, seed, how)


@pytest.mark.slow
def test_many_broken_programs_bring_diagnostics(generate: ModuleType) -> None:
    for how in range(20_000):
        broken(generate, how % 500, how)


def broken(generate: ModuleType, seed: int, how: int) -> None:
    text = generate.mutated(format_program(generate.program(seed)), how)
    program, found = parse(text, "f")
    inside(found, text)
    if not found:
        formatted = format_program(program)
        assert parse(formatted, "f") == (program, [])
        assert format_text(formatted, "f") == formatted


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_brings_diagnostics(text: str) -> None:
    inside(parse(text, "f")[1], text)


@settings(max_examples=150, deadline=None)
@given(SEEDS, SEEDS)
def test_no_comment_is_lost(generate: ModuleType, seed: int, how: int) -> None:
    program = generate.program(seed)
    text = generate.commented(format_program(program), how)
    formatted = format_text(text, "f")
    again = parse(formatted, "f")[0]
    assert again == program
    assert [c[2] for c in again.comments] == [c[2] for c in parse(text, "f")[0].comments]
    assert format_text(formatted, "f") == formatted
    assert "\n\n\n" not in formatted
