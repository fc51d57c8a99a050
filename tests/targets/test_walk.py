"""Trajectories of many unequal cells against scipy's Lyapunov solver and matrix exponential, and plane waves."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from scipy import linalg, sparse

from spucc.backend import Streams
from spucc.device import Family
from spucc.diagnostics import SpuccError
from spucc.targets.circuits import Board
from spucc.targets.exact import WalkCells
from spucc.targets.linear import system, transition
from spucc.targets.stepper import WALKED_CELLS, stepper
from spucc.targets.walk import Walk, coefficients

from . import circuits_by_hand as hand

FAMILIES = [Family.CAPACITIVE, Family.RESISTIVE, Family.INDUCTIVE, Family.IDEAL]
Array = np.ndarray


def to_walk(circuit: Board) -> Array:
    """The matrix that takes the states of `system` to those of a walk: (i, v) to (L i, C v), coupled i to L i."""
    unit = system(circuit).unit
    if circuit.family is Family.INDUCTIVE:
        return circuit.matrix.toarray() * unit
    if circuit.family is not Family.CAPACITIVE:
        return np.diag(unit)
    return linalg.block_diag(np.diag(circuit.inductance), circuit.matrix.toarray()) * unit


def maps(walk: Walk, step: float, mix: Array) -> tuple[Array, Array]:
    """F and Q of a step from the step's own maps of states and numbers, no statistics."""
    d, n, numbers = walk.states, walk.n, mix.shape[1]
    f = walk.substep(np.eye(d), np.zeros((numbers, n, d)), step, mix)
    width = numbers * n
    g = walk.substep(np.zeros((d, width)), np.eye(width).reshape(numbers, n, width), step, mix)
    return f, g @ g.T


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_of_two_hundred_random_circuits(family: Family) -> None:
    """F and Q in standard deviations of equilibrium; unequal everything, noise out of equilibrium."""
    rng = np.random.default_rng(11)
    for _ in range(200):
        circuit = hand.random_circuit(rng, family, int(rng.integers(1, 5)), equal=False)
        linear = system(circuit)
        d = linear.noise @ linear.noise.T
        s = linalg.solve_continuous_lyapunov(linear.drift, d)
        h = rng.choice([1e-4, 0.1, 1.0, 3.0]) / np.abs(np.linalg.eigvals(linear.drift)).max()
        walk = Walk(circuit, h, 0.0)
        assert 0 < walk.error < 1e-10
        f, q = np.eye(walk.states), np.zeros((walk.states, walk.states))
        count, step = walk._steps(h)
        for one, kick in [maps(walk, step, walk.mix)] * count:
            f, q = one @ f, one @ q @ one.T + kick
        to = to_walk(circuit)
        sd = np.sqrt(np.diagonal(to @ s @ to.T))
        f_oracle = to @ linalg.expm(-linear.drift * h) @ np.linalg.inv(to)
        q_oracle = to @ transition(linear, h)[1] @ to.T
        assert np.abs((f - f_oracle) / sd[:, None] * sd).max() < 1e-9
        assert np.abs((q - q_oracle) / sd[:, None] / sd).max() < 1e-9


def test_what_is_left_out_is_what_is_stated() -> None:
    """Fewer numbers than are exact, with the covariance of a scalar step in closed form."""
    for reach in (1e-3, 0.5, 4.0):
        mix, lost = coefficients(reach)
        assert lost < 3e-12
        term = np.array([(-reach) ** k / np.prod(np.arange(1.0, k + 1)) for k in range(mix.shape[0])])
        variance = float(((term @ mix) ** 2).sum())
        assert np.isclose(variance, -np.expm1(-2 * reach) / (2 * reach), rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_paths_begin_and_go_on_as_the_circuit_does(family: Family) -> None:
    """The covariance of a cold start, of equilibrium, and of draws one after the other, over 4000 chains of three cells: within
    6 standard errors (of 54 entries each, a false alarm in 1e-7 of seeds)."""
    circuit = hand.random_circuit(np.random.default_rng(5), family, 3, equal=False)
    # Noise at the temperature of each resistor: the law after infinite time is Boltzmann's.
    noise = np.full(3, circuit.noise[0])
    if family is Family.CAPACITIVE:
        noise = circuit.scale / circuit.resistance
    if family is Family.INDUCTIVE:
        noise = circuit.scale * circuit.resistance
    circuit = replace(circuit, noise=noise, series_resistance=np.zeros(3))
    linear = system(circuit)
    h = 2.0 / np.abs(np.linalg.eigvals(linear.drift)).max()
    chains = 4000
    s = linalg.solve_continuous_lyapunov(linear.drift, linear.noise @ linear.noise.T)
    f = linalg.expm(-linear.drift * h)
    for settle, start in ((0.0, s), (1.5 * h, transition(linear, 1.5 * h)[1])):
        source = WalkCells(Walk(circuit, h, settle), Streams(3, "x"), chains, "float64", None)
        y = source.take(0, 2) - linear.mean_read()
        later = f @ start @ f.T + transition(linear, h)[1]
        variance = [np.diagonal(linear.read(c)) for c in (start, later)]
        for i, j, known in ((0, 0, start), (1, 1, later), (1, 0, f @ start)):
            error = np.sqrt(2 * np.outer(variance[i], variance[j]) / chains)
            assert (np.abs(y[:, i].T @ y[:, j] / chains - linear.read(known)) < 6 * error).all()


def test_a_long_interval_forgets_and_out_of_equilibrium_walks_to_its_law() -> None:
    rng = np.random.default_rng(2)
    circuit = hand.random_circuit(rng, Family.CAPACITIVE, 2, equal=False)
    walk = Walk(circuit, 1e-6, 0.0)
    assert not circuit.equilibrium and walk._settle * walk.slowest > 10
    count, step = walk._steps(walk._settle)
    q: Array = np.zeros((4, 4))
    one, kick = maps(walk, step, coefficients(step * walk._fastest)[0])
    for _ in range(count):
        q = one @ q @ one.T + kick
    to = to_walk(circuit)
    s = to @ transition(system(circuit), inf)[1] @ to.T
    sd = np.sqrt(np.diagonal(s))
    assert np.abs((q - s) / sd[:, None] / sd).max() < 1e-9
    still = replace(circuit, noise=circuit.scale / circuit.resistance, series_resistance=np.zeros(2))
    far = WalkCells(Walk(still, 1e3, 0.0), Streams(0, "x"), 2000, "float64", None).take(0, 2)
    r = (far[:, 0] * far[:, 1]).mean(axis=0) / far[:, 0].var(axis=0)
    assert np.abs(r).max() < 6 / np.sqrt(2000)
    with pytest.raises(SpuccError, match="E0724"):
        Walk(circuit, 1e3, 0.0)


def large(side: int) -> Board:
    """A lattice of unequal RLC cells in equilibrium."""
    rng = np.random.default_rng(0)
    n = side * side
    resistance = 1e3 * rng.uniform(0.9, 1.1, n)
    one = np.ones(n)
    return Board(
        Family.CAPACITIVE,
        sparse.csr_array(1e-9 * hand.lattice(side, side, 0.5)),
        0 * one,
        resistance,
        1e-4 * rng.uniform(0.9, 1.1, n),
        0 * one,
        1e-12 / resistance,
        1e-9,
        1.0,
        1e-12,
    )


def test_large_circuits_never_densify_and_can_be_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """2500 unequal cells: whole, in pieces, from a state, and a chain by itself have the same bytes."""
    circuit = large(50)

    def refuse(*_: object) -> None:
        raise AssertionError("a sparse matrix was made dense")

    monkeypatch.setattr(sparse.csr_array, "toarray", refuse)
    walk = stepper(circuit, 1e-6, 0.0)
    assert isinstance(walk, Walk) and circuit.n > WALKED_CELLS and walk.error < 1e-10
    streams = Streams(7, "x")
    whole = WalkCells(walk, streams, 2, "float64", None).take(0, 4)
    pieces = WalkCells(walk, streams, 2, "float64", None)
    first = pieces.take(0, 1)
    rest = WalkCells(walk, streams, 2, "float64", pieces.state).take(1, 3)
    assert np.array_equal(np.concatenate([first, rest], axis=1), whole)
    # v ~ N(0, θC⁻¹): the energy of a state, 6 standard errors of 5000 squares.
    energy = np.einsum("cn,nc->c", whole[:, 3], circuit.matrix @ whole[:, 3].T) / 1e-12
    assert np.abs(energy / circuit.n - 1).max() < 6 * np.sqrt(2 / circuit.n)
