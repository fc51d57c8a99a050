"""What would take minutes or all memory gets an error, at its place."""

from __future__ import annotations

import pytest

from spucc.diagnostics import SpuccError
from spucc.grammar import elaborate
from spucc.grammar.context import MOST_STEPS
from spucc.grammar.statements import MAX_ERRORS


def faults(text: str) -> list[tuple[str, int]]:
    with pytest.raises(SpuccError) as caught:
        elaborate(text)
    return [(d.code, d.span.line if d.span else 0) for d in caught.value.diagnostics]


@pytest.mark.parametrize("energy", ["sum(x)**2", "sum(x)**4", "sum(x) * sum(x[1:]) * x[0]"])
def test_a_square_of_a_long_sum_is_refused_at_its_statement(energy: str) -> None:
    assert faults(f"var x: real[100000] ~ normal(0, 1)\nenergy {energy}\n") == [("E0217", 2)]


def test_the_steps_of_a_program_are_bounded() -> None:
    """Statements count, and the turns of a loop that cannot be taken at once; a loop that can counts once."""
    body = "energy x[0]\n" * 10
    turns = MOST_STEPS // 100
    varying = f"var x: real[9] ~ normal(0, 1)\nfor i in range({turns}) {{\nlet s = x[:i % 9]\n{body}}}\n"
    ((code, line),) = faults(varying.replace("i % 9", "i - 8 * floor(i / 8)"))
    assert code == "E0228" and 3 <= line <= 13
    steady = f"var x: real[9] ~ normal(0, 1)\nfor i in range({100 * turns}) {{\n{body}}}\n"
    assert elaborate(steady).n == 9


def test_errors_end_where_nobody_reads_on() -> None:
    assert len(faults("let a = b\n" * (3 * MAX_ERRORS))) == MAX_ERRORS


def test_a_name_among_a_hundred_thousand_is_found_missing_at_once() -> None:
    text = "".join(f"let some_name_{k} = {k}\n" for k in range(5_000)) + "let a = some_nome\n" * MAX_ERRORS
    assert len(faults(text)) == MAX_ERRORS
