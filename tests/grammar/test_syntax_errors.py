"""Each example of a syntax error has its own message, and each page shows a program that causes its error."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from spucc.diagnostics import Diagnostic
from spucc.grammar import parser, syntax_errors

EXAMPLES = [(entry, example) for entry in syntax_errors.entries() for example in entry["examples"]]
PAGES = sorted(
    page.name[:-3] for page in files("spucc.errors").iterdir() if re.fullmatch(r"E01\d\d\.md", page.name)
)


def pattern(template: str) -> re.Pattern[str]:
    """A title or help text of the list with anything in its blanks."""
    return re.compile(re.sub(r"\\\{(found|last|first|name)\\\}", ".*", re.escape(template)))


@pytest.mark.parametrize(("entry", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_an_example_is_given_its_own_message(entry: dict[str, str], example: str) -> None:
    first = parser.parse(example, "f")[1][0]
    assert first.code == entry["code"]
    assert pattern(entry["title"]).fullmatch(first.title)
    assert pattern(entry.get("help", "")).fullmatch(first.help)


def test_no_two_entries_claim_one_situation() -> None:
    owners: dict[syntax_errors.Key, dict[str, str]] = {}
    for entry, example in EXAMPLES:
        key = syntax_errors.key_of(entry, parser.probe(example))
        assert owners.setdefault(key, entry) is entry, f"{example!r} is claimed by {owners[key]['title']!r}"


def page(code: str) -> str:
    return (files("spucc.errors") / f"{code}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", PAGES)
def test_a_page_shows_its_error(code: str) -> None:
    text = page(code)
    assert re.match(rf"# {code}: \S.*\n\n\S", text)
    programs = re.findall(r"^```spu\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if "E0141" <= code <= "E0149":
        assert programs == []  # these are errors of files, not of texts
        return
    (program,) = programs
    assert [d.code for d in parser.parse(program, "f")[1]] == [code]


def test_every_code_has_a_page() -> None:
    package = files("spucc.grammar")
    used = {entry["code"] for entry in syntax_errors.entries()}
    for module in ("builder", "expression_builder", "lexical_errors", "source", "syntax_errors"):
        used |= set(re.findall(r'"(E01\d\d)"', (package / f"{module}.py").read_text(encoding="utf-8")))
    assert sorted(used) == PAGES


# --- errors that no list of examples names ---


def faults(text: str) -> list[tuple[str, int, int]]:
    return [(d.code, d.span.line, d.span.column) for d in parser.parse(text, "f")[1] if d.span]


def only(text: str) -> Diagnostic:
    (found,) = parser.parse(text, "f")[1]
    return found


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("let a = (1 + 2\nlet b = 3", ("E0102", 1, 9)),
        ("x ~ normal(0, 1\ny ~ normal(0, 1)", ("E0102", 1, 11)),
        ("x ~ normal(0, 1\ny[1:] ~ normal(f(2), 1)", ("E0102", 1, 11)),
        ("energy f(a[1)", ("E0103", 1, 13)),
        ("for i in range(3) {\n    energy x[i\n}", ("E0102", 2, 13)),
        ("for i in range(3) {\n    energy x[i]\n", ("E0102", 1, 19)),
        ("let a = [1, 2\n    3, 4]", ("E0136", 2, 5)),
        ("let a = 1}", ("E0103", 1, 10)),
        ('let a = "abc', ("E0105", 1, 9)),
        ("let a = 'abc'", ("E0106", 1, 9)),
        ("let a = 3x", ("E0107", 1, 9)),
        ("let a = 0x10", ("E0107", 1, 9)),
        ("let a = 1__0", ("E0107", 1, 9)),
        ("let a = 1e999", ("E0107", 1, 9)),
        ("let a = 9223372036854775808", ("E0107", 1, 9)),
        ("let a = " + "9" * 5000, ("E0107", 1, 9)),
        ("let a = 1 − 2", ("E0106", 1, 11)),
        ("let a =\u00a01", ("E0106", 1, 8)),
        ("let a = 1\0", ("E0104", 1, 10)),
        ("let for = 3", ("E0109", 1, 5)),
        ("energy data + 1", ("E0109", 1, 8)),
        ("let a = b < c <= d", ("E0116", 1, 15)),
        ("energy x[1 < 2 == 3]", ("E0116", 1, 16)),
        ("let a =\nlet b = 3", ("E0130", 1, 7)),
        ("data x: real<lower=0, lower=1>", ("E0121", 1, 23)),
        ("data x: real<low=0>", ("E0121", 1, 13)),
        ("data x: float", ("E0128", 1, 9)),
        ("let a = f(x=1, 2)", ("E0126", 1, 16)),
        ("let a = f(x=1, x=2)", ("E0126", 1, 16)),
        ('import "a\\qb"', ("E0132", 1, 10)),
        ("fn f(a, a) = 1", ("E0137", 1, 9)),
    ],
)  # fmt: skip
def test_the_error_is_shown_where_it_is(text: str, place: tuple[str, int, int]) -> None:
    assert faults(text) == [place]


def test_all_errors_are_found_in_one_go() -> None:
    text = """\
let a := 1
data n: int = 3
for i in 1:n {
    energy x[i] ^ 2
    if a {
        real z;
        energy x[i]**2
    }
}
x ~ normal
let b = 2
else { let c == 3 }
"""
    program, found = parser.parse(text, "f")
    assert [(d.code, d.span.line) for d in found if d.span] == [
        ("E0110", 1), ("E0118", 3), ("E0115", 4), ("E0117", 6), ("E0114", 10), ("E0123", 12), ("E0113", 12),
    ]  # fmt: skip
    assert [type(s).__name__ for s in program.statements] == ["Data", "If", "Let", "If"]


def test_a_missing_line_end_costs_no_statement() -> None:
    program, found = parser.parse("energy x let y = 3", "f")
    assert [d.code for d in found] == ["E0124"]
    assert len(program.statements) == 2


def test_errors_end_after_a_hundred() -> None:
    assert len(parser.parse("let a := 1\n" * 500, "f")[1]) == parser.MAX_ERRORS


def test_brackets_that_do_not_match_point_at_both() -> None:
    found = only("let a = (1]")
    assert found.labels[0].span.column == 9


def test_a_near_type_is_offered() -> None:
    assert "`real`" in only("data x: rael").help
    assert only("data x: vector[3]").help == "write `real[n]`"
