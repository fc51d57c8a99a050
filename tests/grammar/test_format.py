"""Formatting keeps the tree, keeps the comments, and has one outcome."""

from __future__ import annotations

import pytest

from spucc.diagnostics import SpuccError
from spucc.grammar.format import WIDTH, format_text
from spucc.grammar.parser import parse_or_raise


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("let  a=1 ;let b= -a", "let a = 1\nlet b = -a\n"),
        ("let a = ((b)+(c*d))", "let a = b + c * d\n"),
        ("let a = (b+c)*d-(e-f)", "let a = (b + c) * d - (e - f)\n"),
        ("let a = (-b)**(c**d)", "let a = (-b)**c**d\n"),
        ("let a = (b**c)**-d", "let a = (b**c)**-d\n"),
        ("let a = -(b*c)", "let a = -(b * c)\n"),
        ("let a = not (b==c) and (d or e)", "let a = not b == c and (d or e)\n"),
        ("let a = (b<c)<d", "let a = (b < c) < d\n"),
        ("let a = (b if c else d) if e else (f if g else h)",
         "let a = (b if c else d) if e else f if g else h\n"),
        ("let a = 3 .T", "let a = (3).T\n"),
        ("let a = (b+c).T[d]", "let a = (b + c).T[d]\n"),
        ("let a = b [ : , None, 1: , :-1 , ::2 ]", "let a = b[:, None, 1:, :-1, ::2]\n"),
        ("let a = f(b , c = d,)", "let a = f(b, c=d)\n"),
        ("let a = sum(b for i,j in c if d)", "let a = sum(b for (i, j) in c if d)\n"),
        ("let a = (b,)", "let a = (b,)\n"),
        ("data x:int< lower = 0 >[ 3 ]=[1_0,2.5e3]", "data x: int<lower=0>[3] = [1_0, 2.5e3]\n"),
        ("data x: int<lower=(1 if a else 2)>", "data x: int<lower=(1 if a else 2)>\n"),
        ("for i,j in x\n{ energy i }", "for (i, j) in x {\n    energy i\n}\n"),
        ("for i in x { energy i }", "for i in x { energy i }\n"),
        ("if a { energy b } else { energy c }", "if a { energy b } else { energy c }\n"),
        ("if a { } else if b { energy c }\nelse { }", "if a {\n} else if b {\n    energy c\n}\n"),
        ('import "a\\\\b\\""', 'import "a\\\\b\\""\n'),
        ("", ""),
        ("\n\n# so\n\n\n", "# so\n"),
    ],
)  # fmt: skip
def test_forms(text: str, formatted: str) -> None:
    assert format_text(text, "f") == formatted
    assert format_text(formatted, "f") == formatted


def test_blank_lines_and_comments_keep_their_place() -> None:
    text = """\


# head
let a = 1   # behind
# below



let b = [1, # one
  2]  # two
if a { # on if

  # first
  energy b

  # last

} else if b {
  energy b
} # after the brace
else { # on else
  # only
  energy c
}


for i in a { energy i } # loop
energy a; energy b # b
# end
"""
    expected = """\
# head
let a = 1  # behind
# below

# one
let b = [1, 2]  # two
if a {  # on if
    # first
    energy b

    # last
} else if b {
    energy b
    # after the brace
} else {  # on else
    # only
    energy c
}

for i in a { energy i }  # loop
energy a
energy b  # b
# end
"""
    formatted = format_text(text, "f")
    assert sorted(c[2] for c in parse_or_raise(formatted, "f").comments) == sorted(
        c[2] for c in parse_or_raise(text, "f").comments
    )
    assert formatted == expected
    assert format_text(formatted, "f") == formatted


def test_long_lines_break_where_they_may() -> None:
    long = [f"name_{i:02}" for i in range(16)]
    calls = ", ".join(f"{w}[{i}]" for i, w in enumerate(long))
    texts = [
        "let a = " + " + ".join(long),
        "let a = " + " * ".join(f"({w} + 1)" for w in long),
        f"let a = f({calls}, axis=0)",
        f"let a = [{calls}]",
        f"let a = [[{calls}], [{calls}]]",
        f"energy sum({' + '.join(long[:9])} for i in range(name) if i < name_00)",
        f"x ~ normal({' - '.join(long)}, 1)",
        f"if {' and '.join(long)} {{ energy a }}",
        f"for i in concat({calls}) {{ energy a }}",
        f"train {', '.join(long)}",
        f"data x: real[{', '.join(long)}]",
    ]
    for text in texts:
        formatted = format_text(text, "f")
        assert all(len(line) <= WIDTH for line in formatted.splitlines()), formatted
        assert formatted.count("\n") > 1
        assert parse_or_raise(formatted, "f") == parse_or_raise(text, "f")
        assert format_text(formatted, "f") == formatted


def test_a_program_with_errors_is_not_formatted() -> None:
    with pytest.raises(SpuccError):
        format_text("let a := 1", "f")


def test_deep_and_long_programs_can_be_formatted() -> None:
    for text in (
        "energy " + "+".join(["x"] * 199),
        "energy " + "f(" * 190 + "x" + ")" * 190,
        "energy " + "x**" * 190 + "x",
        "let a = [" + "1, " * 20_000 + "2]",
    ):
        formatted = format_text(text, "f")
        assert format_text(formatted, "f") == formatted
