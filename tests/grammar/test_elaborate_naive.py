"""Random valid programs have the same energy as a naive, entry-by-entry interpreter gives them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from spucc.diagnostics import SpuccError
from spucc.energy import Energy
from spucc.grammar.compose import energy_of
from spucc.grammar.context import Context
from spucc.grammar.parser import parse_or_raise
from spucc.grammar.statements import run_all

from .naive import interpret, monomials
from .programs import PROGRAMS


def unchecked(text: str, monkeypatch: pytest.MonkeyPatch) -> Energy:
    """The energy without the check that it can be normalised, which random programs do not pass."""
    import spucc.grammar.compose as compose

    monkeypatch.setattr(compose, "settle", lambda energy, evidence: (energy, []))
    ctx = Context(None)
    run_all(ctx, parse_or_raise(text, "t.spu").statements)
    if ctx.diagnostics:
        raise SpuccError(ctx.diagnostics)
    return energy_of(ctx)[0]


def agree(text: str, energy: Energy) -> None:
    expected = interpret(parse_or_raise(text, "t.spu"))
    found = monomials(energy)
    scale = max(1.0, max(abs(c) for c in expected.values()))
    for key in expected.keys() | found.keys():
        a, b = expected.get(key, 0.0), found.get(key, 0.0)
        assert abs(a - b) <= 1e-11 * scale, (key, a, b)


@given(PROGRAMS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs(text: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            energy = unchecked(text, monkeypatch)
        except SpuccError as error:
            assert {d.code for d in error.diagnostics} <= {"E0404", "E0417"}, text
            return
        agree(text, energy)
