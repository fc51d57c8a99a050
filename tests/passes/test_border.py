"""Linear solves on devices whose cells have no means of their own, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

import spucc
from spucc.energy import QueryKind
from spucc.ir import read_program, write_program

A = np.array([[2.0, 0.5, 0.1], [0.5, 1.5, -0.4], [0.1, -0.4, 1.0]])
B = np.array([1.0, 2.0, 3.0])
TEXT = """
data A: real[3, 3] = [[2, 0.5, 0.1], [0.5, 1.5, -0.4], [0.1, -0.4, 1]]
data b: real[3] = [1, 2, 3]
var y: real ~ normal(1, 2)
temperature 2
query x = solve(A, b)
query X = inverse(A)
query m = mean(y)
query e = expectation(y * y)
"""


@pytest.mark.parametrize("target", ["spu8", "spu8-signed", "inductive-64"])
def test_the_answer_is_a_ratio_of_covariances_and_not_the_hosts(target: str) -> None:
    """The cells have no mean to add; forty runs err as they say, z scores with a false alarm below 1e-6."""
    program = spucc.compile(TEXT, target=target)
    (query,) = (q for q in program.source.queries if q.kind is QueryKind.SOLVE)
    assert query.products and program.source.variables[-1].name == "x.border"
    solved = next(j for j in program.jobs if j.target.n == 4)
    assert not np.any(solved.target.linear)
    assert max(e.sd_error for e in program.ledger) < 1e-3
    scores = []
    for seed in range(40):
        answer = program.run(samples=2000, seed=seed).answer("x")
        assert answer.error is not None
        scores.append((answer.value - linalg.solve(A, B)) / answer.error)
    z = np.array(scores)
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(40)
    assert np.abs(z).max() < 6 and 0.6 < z.std() < 1.4


def test_paths_give_the_same_answer_and_programs_read_back(tmp_path) -> None:
    program = spucc.compile(TEXT, target="spu8")
    write_program(program, tmp_path / "a.spuc")
    again = read_program(tmp_path / "a.spuc")
    one, two = (p.run(samples=8000, seed=1, mode="trajectory", chains=4) for p in (program, again))
    x = one.answer("x")
    assert np.array_equal(x.value, two["x"]) and x.rhat is not None and x.rhat.shape == (3,)
    assert np.abs((x.value - linalg.solve(A, B)) / x.error).max() < 5.5
    # The other questions are about what they were about.
    assert abs(one.answer("m").value - 1.0) < 5.5 * one.answer("m").error
    # y has the variance 4·2 at temperature 2.
    assert abs(one.answer("e").value - 9.0) < 5.5 * one.answer("e").error
    assert np.abs(one["X"] - linalg.inv(A)).max() < 0.2


def test_few_draws_and_extreme_sizes_keep_their_errors() -> None:
    """With three draws the error is that of a regression, never 0; the size of b scales answer and error alike."""
    program = spucc.compile(TEXT, target="spu8")
    for seed in range(20):
        answer = program.run(samples=3, seed=seed, chains=1).answer("x")
        assert answer.error is not None and (answer.error > 1e-6).all()
    one = program.run(samples=2000, seed=0).answer("x")
    for size in ("1e-150", "1e150"):
        big = spucc.compile(TEXT.replace("solve(A, b)", f"solve(A, {size} * b)"), target="spu8")
        answer = big.run(samples=2000, seed=0).answer("x")
        assert np.allclose(answer.value / float(size), one.value, rtol=1e-3)
        assert np.allclose(answer.error / float(size), one.error, rtol=1e-3)


def test_bias_currents_need_no_border() -> None:
    program = spucc.compile(TEXT, target="resistive-64")
    assert program.source.n == 7 and not any(q.products for q in program.source.queries if q.name == "x")


def test_two_solves_have_a_border_each_and_no_potential_has_none() -> None:
    text = """
    data A: real[2, 2] = [[1, 0.3], [0.3, 1]]
    query u = solve(A, [1, -1])
    query v = solve(A, [0, 2])
    query w = solve(A, [0, 0])
    """
    program = spucc.compile(text, target="spu8-signed")
    assert [v.name for v in program.source.variables if v.name.endswith(".border")] == [
        "u.border",
        "v.border",
    ]
    result = program.run(samples=20_000, seed=0)
    a = np.array([[1, 0.3], [0.3, 1]])
    for name, b in (("u", [1, -1]), ("v", [0, 2]), ("w", [0, 0])):
        answer = result.answer(name)
        assert np.abs((answer.value - linalg.solve(a, b)) / answer.error).max() < 5.5


def test_what_is_dominant_stays_so() -> None:
    """A dominant system of both signs on unsigned capacitors: the border does not make it need a read-out of its own."""
    rng = np.random.default_rng(0)
    w = np.triu(rng.uniform(-1, 1, (3, 3)), 1)
    a = w + w.T
    a += np.diag(np.abs(a).sum(axis=1) + 0.05)
    text = f"data A: real[3, 3] = {a.tolist()}\nquery x = solve(A, [1, -2, 3])"
    program = spucc.compile(text, target="spu8")
    ways = " ".join(n for s in program.jobs[0].steps for n in s.notes)
    assert "read-out" not in ways and "readout" not in ways
    answer = program.run(samples=20_000, seed=0).answer("x")
    assert np.abs((answer.value - linalg.solve(a, [1, -2, 3])) / answer.error).max() < 5.5


def test_a_device_without_room_for_a_border_says_so() -> None:
    """Eight unknowns on eight cells, and a potential everywhere on a lattice: the host's mean, and the ledger says that it is."""
    rng = np.random.default_rng(1)
    w = -np.triu(rng.random((8, 8)), 1)
    a = w + w.T + np.diag(np.abs(w + w.T).sum(axis=1) + 1.0)
    text = f"data A: real[8, 8] = {a.tolist()}\nquery x = solve(A, [1, 2, 3, 4, 5, 6, 7, 8])"
    program = spucc.compile(text, target="spu8")
    assert "a border takes 9 cells, and 8 work" in program.steps[0].notes[0]
    answer = program.run(samples=4000, seed=0).answer("x")
    assert np.abs((answer.value - linalg.solve(a, np.arange(1.0, 9.0))) / answer.error).max() < 5.5
    lattice = """
    let G = grid(4, 4)
    query x = solve(laplacian(G) + eye(16), ones(16))
    query y = solve(laplacian(G) + eye(16), concat([1], zeros(15)))
    """
    notes = spucc.compile(lattice, target="king-8x8").steps[0].notes
    assert "16 couplers at one cell, and there are 8" in notes[0] and "cell more" in notes[1]
