"""Connected parts against SciPy, mixed quadratics against every setting, and the statements that errors point at."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from spucc.diagnostics import Diagnostic, SpuccError
from spucc.grammar import elaborate, load
from spucc.grammar.components import components, once_each


@pytest.mark.parametrize("seed", range(40))
def test_connected_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 200)), int(rng.integers(0, 200))
    i, j = rng.integers(0, n, (2, m))
    half = sparse.coo_array((np.ones(m), (i, j)), shape=(n, n))
    pattern = sparse.csr_array(half + half.T)
    _, expected = connected_components(pattern, directed=False)
    found = components(pattern)
    least = [int(np.flatnonzero(expected == part)[0]) for part in expected]
    assert found.tolist() == least


def test_a_long_path_in_any_order_is_one_part() -> None:
    n = 20_000
    for order in (np.arange(n), np.arange(n)[::-1], np.random.default_rng(0).permutation(n)):
        half = sparse.coo_array((np.ones(n - 1), (order[:-1], order[1:])), shape=(n, n))
        assert not components(sparse.csr_array(half + half.T)).any()


@pytest.mark.parametrize("width", [10, 10_000])
def test_once_each(width: int) -> None:
    index = np.random.default_rng(1).integers(0, 10, 50)
    assert once_each(index, width).tolist() == sorted(set(index.tolist()))


def fault(text: str) -> Diagnostic:
    with pytest.raises(SpuccError) as caught:
        elaborate(text)
    (found,) = caught.value.diagnostics
    return found


def test_a_flat_direction_points_at_what_reads_it_and_at_the_query() -> None:
    found = fault("var x: real[2]\nvar y: real ~ normal(0, 1)\nenergy (x[0] - x[1])**2\nquery m = mean(x)\n")
    assert found.code == "E0407" and found.span is not None and found.span.line == 1
    assert [label.span.line for label in found.labels] == [3, 4]


def test_what_no_statement_reads_is_said_to_be_so() -> None:
    found = fault("var y: real ~ normal(0, 1)\nvar x: real\n")
    assert found.span is not None and found.span.line == 2
    assert found.label == "no statement gives it an energy" and not found.labels


@pytest.mark.parametrize(
    ("energies", "line"),
    [
        (["x[0]**4", "-x[1]**4 + x[0]", "x[1]**2"], 3),
        (["x[0]**4 + x[1]**4", "-6 * x[0]**2 * x[1]**2"], 3),
        (["x[0]**2", "(x[1] - 3)**3"], 3),
    ],
)
def test_a_quartic_that_falls_points_at_its_statement(energies: list[str], line: int) -> None:
    lines = ["var x: real[2]", *(f"energy {e}" for e in energies)]
    found = fault("\n".join(lines) + "\n")
    assert found.code == "E0409" and found.span is not None and found.span.line == line
    assert [label.span.line for label in found.labels] == [1]


MIXED = """
data c: real[4]
var x: real[3] ~ normal(0, 1)
var s: spin[2]
var b: bit
energy c[0] * s[0] * x[0]**2 + c[1] * s[0] * s[1] * x[0] * x[1] + c[2] * b * x[1] * x[2] + c[3] * s[1] * b * x[2]**2
energy s[0] * s[1] * b * x[0] - s[0] * x[2]
"""


@pytest.mark.parametrize("seed", range(30))
def test_a_mixed_quadratic_is_decided_as_trying_every_setting_decides_it(seed: int) -> None:
    """Oracle: the least eigenvalue of the Hessian in x, written by hand, for each of the eight settings."""
    c = np.random.default_rng(seed).normal(size=4) * 0.6

    def least(s0: float, s1: float, b: float) -> float:
        hessian = np.eye(3)
        hessian[0, 0] += 2 * c[0] * s0
        hessian[2, 2] += 2 * c[3] * s1 * b
        hessian[0, 1] = hessian[1, 0] = c[1] * s0 * s1
        hessian[1, 2] = hessian[2, 1] = c[2] * b
        return float(np.linalg.eigvalsh(hessian)[0])

    if all(least(*setting) > 0 for setting in itertools.product((-1, 1), (-1, 1), (0, 1))):
        assert load(MIXED, data={"c": c}).warnings == ()
        return
    with pytest.raises(SpuccError) as caught:
        load(MIXED, data={"c": c})
    (found,) = caught.value.diagnostics
    assert found.code == "E0409" and found.span is not None and found.span.line == 6
    values = [float(v) for v in re.findall(r"= (-?\d)", found.notes[0])]
    assert len(values) == 3 and least(*values) < 0


def test_statements_that_cannot_be_negative_need_no_settings() -> None:
    """Thirty bits that choose between two noises, on a chain of differences: 2³⁰ settings are not tried."""
    noises = "energy sum(0.5 * (1 - b) * (w[:30] - w[1:] - 1)**2) + sum(0.05 * b * (w[:30] - w[1:] - 1)**2)\n"
    program = f"var w: real[31] ~ normal(0, 10)\nvar b: bit[30]\n{noises}"
    assert load(program).warnings == ()
    (warning,) = load(program.replace("0.5 * (1 - b)", "0.5 * (0.5 - b)")).warnings
    assert (
        warning.code == "W0401"
        and "every setting" in warning.title
        and warning.span
        and warning.span.line == 3
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("var s: spin\nobserve s = 1\nenergy s * x[0]**2 + x[1]**2", None),
        ("var s: spin\nobserve s = -1\nenergy s * x[0]**2 + x[1]**2", "E0408"),
        ("var y: real\nobserve y = 2\nenergy y * x[0]**2 - y * x[0] * x[1] + x[1]**2", None),
        ("var s: spin[3]\nenergy s[0] * s[1] * s[2] + (x[0] - x[1])**2", "E0407"),
        ("var s: spin[2]\nenergy s[0] * s[1] * x[1] + (x[0] - x[1])**2\nquery d = mean(x[0] - x[1])", "E0408"),
        ("var s: spin[2]\nenergy s[0] * x[1] + (x[0] - x[1])**2\nquery d = mean(x[0] - x[1])", "E0408"),
        ("var s: spin[2]\nenergy s[0] * s[1] * (x[1] - x[0]) + (x[0] - x[1])**2\nquery d = mean(x[0] - x[1])", None),
        ("var s: spin\nenergy x[0]**4 + s * x[0] * x[1] + 0.4 * s * x[1]**2 + 0.5 * x[1]**2", None),
        ("var s: spin\nenergy x[0]**4 + s * x[0] * x[1] + 0.6 * s * x[1]**2 + 0.5 * x[1]**2", "E0409"),
    ],
)  # fmt: skip
def test_spins_and_observed_values_beside_reals(text: str, code: str | None) -> None:
    program = f"var x: real[2]\n{text}\n"
    if code is None:
        assert load(program).warnings == ()
        return
    with pytest.raises(SpuccError) as caught:
        load(program)
    assert {d.code for d in caught.value.diagnostics} == {code}
