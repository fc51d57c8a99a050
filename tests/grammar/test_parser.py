"""What each construct parses to, where its nodes lie, and how large and deep a text may be."""

from __future__ import annotations

import gc
import json
import time
from importlib.resources import files
from pathlib import Path

import pytest

from spucc.diagnostics import Span, SpuccError
from spucc.grammar import source, table, tree
from spucc.grammar.format import format_text
from spucc.grammar.parser import MAX_DEPTH, parse, parse_or_raise
from spucc.grammar.scanner import MAX_BRACKETS
from spucc.grammar.walk import LONGEST_CHAIN, walk

S = Span("f", 1, 1, 1, 1)


def name(word: str) -> tree.Name:
    return tree.Name(S, word)


def num(text: str) -> tree.Number:
    plain = text.replace("_", "")
    return tree.Number(S, text, int(plain) if plain.isdigit() else float(plain))


def op(left: tree.Expr, sign: str, right: tree.Expr) -> tree.Binary:
    return tree.Binary(S, sign, left, right)


def call(word: str, *args: tree.Expr) -> tree.Call:
    return tree.Call(S, name(word), args)


def one(text: str) -> tree.Statement:
    (statement,) = parse_or_raise(text, "f").statements
    return statement


def value(text: str) -> tree.Expr:
    statement = one("let a = " + text)
    assert isinstance(statement, tree.Let)
    return statement.value


a, b, c, x = name("a"), name("b"), name("c"), name("x")
REAL = tree.Type(S, "real")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data n: int", tree.Data(S, name("n"), tree.Type(S, "int"), None)),
        (
            "data n: int<lower=1, upper=2*a>[3] = 8",
            tree.Data(
                S, name("n"), tree.Type(S, "int", num("1"), op(num("2"), "*", a), (num("3"),)), num("8")
            ),
        ),
        ("data n: int<lower=1>= 8", tree.Data(S, name("n"), tree.Type(S, "int", num("1")), num("8"))),
        ("let a = b", tree.Let(S, a, b)),
        ("var x: real", tree.Var(S, x, REAL, None)),
        ("var x: real ~ normal(a)", tree.Var(S, x, REAL, call("normal", a))),
        ("param x: real[a, b,] = c", tree.Param(S, x, tree.Type(S, "real", shape=(a, b)), c)),
        ("fn f() = a", tree.Function(S, name("f"), (), a)),
        ("fn f(a, b,) = a + b", tree.Function(S, name("f"), (a, b), op(a, "+", b))),
        ("x - a ~ normal(b)", tree.Tilde(S, op(x, "-", a), call("normal", b))),
        ("(a, b) ~ rbm(c)", tree.Tilde(S, tree.Tuple(S, (a, b)), call("rbm", c))),
        ("energy a", tree.EnergyTerm(S, a)),
        ("observe x[a] = b", tree.Observe(S, tree.Index(S, x, (a,)), b)),
        ("temperature a", tree.Temperature(S, a)),
        ("for a in b { }", tree.For(S, (a,), b, ())),
        ("for (a, b) in c { energy x }", tree.For(S, (a, b), c, (tree.EnergyTerm(S, x),))),
        ("for a, b in c\n{\nenergy x;\n}", tree.For(S, (a, b), c, (tree.EnergyTerm(S, x),))),
        ("if a { energy x }", tree.If(S, a, (tree.EnergyTerm(S, x),), ())),
        ("if a { } else { energy x }", tree.If(S, a, (), (tree.EnergyTerm(S, x),))),
        ("if a { }\n\n# so\nelse if b { }\nelse { }", tree.If(S, a, (), (tree.If(S, b, (), ()),))),
        ('import "a.spu"', tree.Import(S, tree.String(S, "a.spu"))),
        ("train a,\n b", tree.Train(S, (a, b))),
        ("query a = mean(x)", tree.Query(S, a, call("mean", x))),
        ("query a = var(x)", tree.Query(S, a, call("var", x))),
    ],
)  # fmt: skip
def test_statements(text: str, expected: tree.Statement) -> None:
    assert one(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", op(a, "+", op(b, "*", c))),
        ("a - b - c", op(op(a, "-", b), "-", c)),
        ("a @ b / c", op(op(a, "@", b), "/", c)),
        ("a ** b ** c", op(a, "**", op(b, "**", c))),
        ("-a**b", tree.Unary(S, "-", op(a, "**", b))),
        ("a**-b", op(a, "**", tree.Unary(S, "-", b))),
        ("(-a)**b", op(tree.Unary(S, "-", a), "**", b)),
        ("-a * b", op(tree.Unary(S, "-", a), "*", b)),
        ("- -a", tree.Unary(S, "-", tree.Unary(S, "-", a))),
        ("not a == b", tree.Unary(S, "not", op(a, "==", b))),
        ("a or b and not c", op(a, "or", op(b, "and", tree.Unary(S, "not", c)))),
        ("a<-b", op(a, "<", tree.Unary(S, "-", b))),
        ("a if b else c if x else a", tree.IfElse(S, a, b, tree.IfElse(S, c, x, a))),
        ("a[b][c]", tree.Index(S, tree.Index(S, a, (b,)), (c,))),
        ("a[b].T", tree.Attribute(S, tree.Index(S, a, (b,)), "T")),
        ("a[:]", tree.Index(S, a, (tree.Slice(S, None, None, None),))),
        ("a[b:]", tree.Index(S, a, (tree.Slice(S, b, None, None),))),
        ("a[:b]", tree.Index(S, a, (tree.Slice(S, None, b, None),))),
        ("a[b:c]", tree.Index(S, a, (tree.Slice(S, b, c, None),))),
        ("a[::b]", tree.Index(S, a, (tree.Slice(S, None, None, b),))),
        ("a[b::]", tree.Index(S, a, (tree.Slice(S, b, None, None),))),
        ("a[b::c]", tree.Index(S, a, (tree.Slice(S, b, None, c),))),
        ("a[:b:c]", tree.Index(S, a, (tree.Slice(S, None, b, c),))),
        ("a[b:c:x]", tree.Index(S, a, (tree.Slice(S, b, c, x),))),
        ("a[:, None,]", tree.Index(S, a, (tree.Slice(S, None, None, None), tree.NoneLiteral(S)))),
        ("[]", tree.Array(S, ())),
        ("[a,\n  # so\n [b],\n]", tree.Array(S, (a, tree.Array(S, (b,))))),
        ("(a,)", tree.Tuple(S, (a,))),
        ("(a, b,)", tree.Tuple(S, (a, b))),
        ("((a))", a),
        ("true", tree.Boolean(S, True)),
        ("x(a, b=c)", tree.Call(S, x, (a,), (tree.Keyword(S, "b", c),))),
        ("x(a if b else c,)", call("x", tree.IfElse(S, a, b, c))),
        ("x(a for b in c)", tree.Comprehension(S, x, a, ("b",), c)),
        ("x(a for (a, b) in c if a < b)", tree.Comprehension(S, x, a, ("a", "b"), c, op(a, "<", b))),
        ("3", num("3")),
        ("1_000", num("1_000")),
        ("1.5", num("1.5")),
        (".5", num(".5")),
        ("2.", num("2.")),
        ("2e-3", num("2e-3")),
        ('"a # b"', tree.String(S, "a # b")),
        (r'"\"\\\n\t"', tree.String(S, '"\\\n\t')),
        ("a +\n\n  b", op(a, "+", b)),
        ("\n a", a),
        ("a and # so\n b", op(a, "and", b)),
    ],
)  # fmt: skip
def test_expressions(text: str, expected: tree.Expr) -> None:
    assert value(text) == expected


def test_statements_end_at_lines_and_semicolons() -> None:
    text = ";;let a = 1; let b = 2;\n\n;energy a\r\ntrain b\rdata x: real<lower=0>\nenergy c"
    kinds = [type(s).__name__ for s in parse_or_raise(text, "f").statements]
    assert kinds == ["Let", "Let", "EnergyTerm", "Train", "Data", "EnergyTerm"]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", "\ufeff", " \t\f", ";"])
def test_an_empty_program_is_one(text: str) -> None:
    assert parse_or_raise(text, "f").statements == ()


def test_spans_lie_over_what_they_stand_for() -> None:
    text = "let a = (b + c) * f(x[1:],\n  2)\nfor i in a {\n}\n"
    first, second = parse_or_raise(text, "f").statements
    assert first.span == Span("f", 1, 1, 2, 5)
    assert second.span == Span("f", 3, 1, 4, 2)
    lines = text.split("\n")
    found = set()
    for node in walk(first):
        if node.span.line == node.span.end_line:
            found.add(lines[node.span.line - 1][node.span.column - 1 : node.span.end_column - 1])
    assert found == {"a", "(b + c)", "b", "c", "f", "x[1:]", "x", "1:", "1", "2"}


def test_comments_are_kept_with_their_places() -> None:
    program = parse_or_raise("# one \nlet a = 1  # two\n", "f")
    assert program.comments == ((1, 1, "# one", True), (2, 12, "# two", False))


def test_a_keyword_argument_may_look_like_a_bound() -> None:
    assert value("x(lower=a)") == tree.Call(S, x, (), (tree.Keyword(S, "lower", a),))
    assert value("x < lower") == op(x, "<", name("lower"))


# --- how large and how deep ---


@pytest.mark.parametrize(
    "text",
    [
        "energy " + "(" * 10_000 + "x" + ")" * 10_000,
        "energy " + "(" * 10_000,
        "energy " + "[" * 10_000,
        "energy " + "f(" * 10_000,
        "if a {" * 10_000,
        "energy " + "+".join(["x"] * 100_000),
        "energy " + "-" * 100_000 + "x",
        "energy " + "x**" * 100_000 + "x",
        "energy x" + "[0]" * 100_000,
        "energy " + "x if y else " * 80_000 + "x",
        "if a { } " + "else if a { } " * 10_000,
    ],
    ids=lambda text: text[:20],
)
def test_depth_is_bounded(text: str) -> None:
    assert [d.code for d in parse(text, "f")[1]] == ["E0108"]


def test_what_is_not_too_deep_can_be_walked_and_compared() -> None:
    chain = "energy " + "+".join(["x"] * LONGEST_CHAIN)
    brackets = "energy " + "f(" * (MAX_DEPTH - 2) + "x" + ")" * (MAX_DEPTH - 2)
    assert MAX_DEPTH <= MAX_BRACKETS
    for text in (chain, brackets):
        tree_of_it = parse_or_raise(text, "f")
        assert tree_of_it == parse_or_raise(text, "f")
        assert tree_of_it != parse_or_raise(text.replace("x", "y", 1), "f")
        assert parse_or_raise(format_text(text, "f"), "f") == tree_of_it


def test_length_is_not_depth() -> None:
    assert parse("energy x\n" * 10_000, "f")[1] == []
    assert parse("for i in x {\n" + "energy x\n" * 5_000 + "}", "f")[1] == []
    assert parse("let a = [" + "1, " * 10_000 + "]", "f")[1] == []


def test_a_text_above_the_limit_is_refused() -> None:
    assert [d.code for d in parse(" " * (source.MAX_BYTES + 1), "f")[1]] == ["E0144"]


@pytest.mark.parametrize("piece", [" ", "(", '"', "9", "a", "#", "~", "x[", "}", "'", "_", "\n(", "1_", "-"])
def test_time_grows_with_length(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        begin = time.process_time()
        parse(text, "f")
        return time.process_time() - begin

    seconds(1000)
    assert seconds(400_000) < 40 * seconds(20_000) + 0.5


def test_the_collector_is_as_it_was() -> None:
    assert gc.isenabled()
    parse("let a = 1\n" * 5000, "f")
    assert gc.isenabled()
    gc.disable()
    try:
        parse("let a = 1\n" * 5000, "f")
        assert not gc.isenabled()
    finally:
        gc.enable()


# --- files ---


def test_the_table_is_fresh(tmp_path: Path) -> None:
    table.write(tmp_path / "table.json")
    stored = (files("spucc.grammar") / "spu.table.json").read_text(encoding="utf-8")
    assert (tmp_path / "table.json").read_text(encoding="utf-8") == stored, (
        "run python -m spucc.grammar.table"
    )


def test_a_stale_table_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = json.loads((files("spucc.grammar") / "spu.table.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(table, "digest", lambda grammar: "another")
    assert table.load() == table.from_data(stored)


def read_fault(path: Path) -> tuple[str, int, int]:
    with pytest.raises(SpuccError) as caught:
        source.read_source(path)
    (fault,) = caught.value.diagnostics
    return (fault.code, fault.span.line, fault.span.column) if fault.span else (fault.code, 0, 0)


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.spu"
    path.write_bytes(b"\xef\xbb\xbflet a = 1\r\nlet b = 2\r")
    assert source.read_source(path) == "let a = 1\nlet b = 2\n"
    path.write_bytes(b"\xef\xbb\xbflet a = 1\r\n# \xc3\xa4 \xff")
    assert read_fault(path) == ("E0143", 2, 5)
    path.write_bytes(b" " * (source.MAX_BYTES + 1))
    assert read_fault(path) == ("E0144", 1, 1)
    assert read_fault(tmp_path) == ("E0142", 0, 0)
    assert read_fault(tmp_path / "b.spu") == ("E0141", 0, 0)
    assert read_fault(Path("a\0b")) == ("E0145", 0, 0)


def test_a_missing_file_with_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "model.spu").write_text("")
    with pytest.raises(SpuccError) as caught:
        source.read_source(tmp_path / "modle.spu")
    assert "model.spu" in caught.value.diagnostics[0].help
