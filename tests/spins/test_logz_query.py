"""`logz` of spin programs, asked in the language, against enumeration, closed forms and a transfer matrix."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spucc.diagnostics import SpuccError
from spucc.driver import compile_program


def ask(text: str, target: str = "ideal-spin") -> object:
    return compile_program(text + "\nquery z = logz()\n", target=target).run(samples=8).answer("z")


def test_a_ring_has_its_closed_form() -> None:
    found = ask(
        "var s: spin[30]\nfor (i, j) in edges(ring(30)) { energy -0.7 * s[i] * s[j] }\ntemperature 1.3"
    )
    k = 0.7 / 1.3
    want = np.logaddexp(30 * np.log(2 * np.cosh(k)), 30 * np.log(2 * np.sinh(k)))
    assert float(found.value) == pytest.approx(want, abs=1e-10)
    assert float(found.error) == 0.0


def test_observed_spins_bits_and_products_of_many() -> None:
    text = (
        "var s: spin[3]\nvar b: bit[3]\nobserve s[1] = -1\n"
        "energy 0.4 * s[0] * s[1] * b[0] * b[1] - 0.9 * b[0] * b[1] * b[2] + 0.3 * s[2] * s[0] + 0.2\ntemperature 0.6"
    )
    z = 0.0
    for s0, s2 in itertools.product((-1, 1), repeat=2):
        for b0, b1, b2 in itertools.product((0, 1), repeat=3):
            e = -0.4 * s0 * b0 * b1 - 0.9 * b0 * b1 * b2 + 0.3 * s2 * s0 + 0.2
            z += np.exp(-e / 0.6)
    assert float(ask(text).value) == pytest.approx(np.log(z), abs=1e-10)


def test_a_wide_lattice_within_its_error() -> None:
    """12 × 40 open ferromagnet at βJ = 0.25 by annealed importance sampling; 4.5 of its own errors (false alarms below 1e-4)
    against the transfer matrix."""
    found = ask(
        "var s: spin[12, 40]\nenergy -sum(s[1:, :] * s[:-1, :]) - sum(s[:, 1:] * s[:, :-1])\ntemperature 4"
    )
    rows = np.array(list(itertools.product((-1.0, 1.0), repeat=12)))
    along = np.exp(0.25 * (rows[:, 1:] * rows[:, :-1]).sum(axis=1))
    v, log = np.ones(len(rows)), 0.0
    for column in range(40):
        if column:
            t = v.reshape((2,) * 12)
            for axis in range(12):
                # one spin of the column meets its neighbour in the next
                t = np.moveaxis(
                    np.tensordot(np.exp(0.25 * np.array([[1, -1], [-1, 1.0]])), t, (1, axis)), 0, axis
                )
            v = t.ravel()
        v = v * along
        log += np.log(v.max())
        v = v / v.max()
    want = log + np.log(v.sum())
    assert 0 < float(found.error) < 0.1
    assert abs(float(found.value) - want) < 4.5 * float(found.error)


def test_quartic_and_mixed_programs_are_refused() -> None:
    with pytest.raises(SpuccError, match="E0420"):
        ask("var x: real[2] ~ double_well(-1, 1)", "langevin-ideal")
    with pytest.raises(SpuccError, match=r"E0420.*real variables too"):
        ask("var x: real ~ normal(0, 1)\nvar s: spin\nenergy x * s")
