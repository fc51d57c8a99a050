"""Connected parts against SciPy, and which statements the errors about improper densities point at."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from spucc.diagnostics import Diagnostic, SpuccError
from spucc.grammar import elaborate
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
