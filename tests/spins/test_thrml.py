"""Compiled spins as programs of thrml, and run there; against enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from spucc.backend import Mode, Request
from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy, compile_program
from spucc.oracle import enumerate_spins
from spucc.running.run import run_program
from spucc.targets.thrml_program import Thrml, export

pytest.importorskip("thrml")

QUICK = "condition,split,encode,realise-spins,place,embed-spins,quantize-spins,lower-sweeps{settle=40}"

MIXED = """
var s: spin[4]
var b: bit[2]
energy 0.6 * s[0] * s[1] * s[2] - 0.4 * b[0] * s[3] + 0.5 * b[0] * b[1] - 0.2 * sum(s)
observe s[3] = -1
temperature 0.8
query x = sample(s)
query y = sample(b)
"""


def test_a_program_runs_on_thrml_and_answers_in_the_users_names() -> None:
    """Independent chains, one draw each: means and pair moments of all five free variables within 5 standard errors (15
    figures: false alarms below 1e-5)."""
    program = compile_program(
        MIXED,
        target="ideal-spin",
        passes=QUICK,
    )
    chains = 2500
    result = run_program(program, samples=chains, chains=chains, backend="thrml", seed=3)
    x, y = result.answer("x").value, result.answer("y").value
    assert (x[:, 3] == -1).all()
    got = np.concatenate([x[:, :3], y], axis=1)
    energy = [
        0.6 * a * b * c + 0.4 * p + 0.5 * p * q - 0.2 * (a + b + c)
        for a, b, c, p, q in product((-1, 1), (-1, 1), (-1, 1), (0, 1), (0, 1))
    ]
    states = np.array(list(product((-1, 1), (-1, 1), (-1, 1), (0, 1), (0, 1))), dtype=float)
    p = np.exp(-np.array(energy) / 0.8)
    p /= p.sum()
    for i in range(5):
        for j in range(i + 1):
            f, g = states[:, i] * states[:, j], got[:, i] * got[:, j]
            if i == j:
                f, g = states[:, i], got[:, i]
            sd = np.sqrt(p @ f**2 - (p @ f) ** 2)
            assert abs(g.mean() - p @ f) < 5 * sd / np.sqrt(chains)


def test_a_binary_quadratic_model_has_the_same_energies_in_thrml() -> None:
    dimod = pytest.importorskip("dimod")
    import jax.numpy as jnp
    from thrml.block_management import Block

    from spucc.targets.dimod_sampler import from_bqm

    bqm = dimod.BQM.from_qubo({(0, 1): -1.0, (1, 2): 0.7, (2, 2): -0.4, (3, 3): 0.2}, offset=0.3)
    energy = from_bqm(bqm, temperature=0.5)
    program = compile_energy(energy, "ideal-spin")
    bits = np.array(list(product((0, 1), repeat=4)))
    total = np.zeros(16)
    for job in program.jobs:
        (built,) = export(program)[job.name]
        own = [Block(list(built.nodes))]
        for k, state in enumerate(bits[:, job.coordinates]):
            total[k] += float(built.ebm.energy([jnp.asarray(state, dtype=bool)], own))
    want = np.array([bqm.energy(dict(enumerate(row))) for row in bits.tolist()]) / 0.5
    np.testing.assert_allclose(total - total[0], want - want[0], atol=1e-5)
    weight = np.exp(-(want - want.min()))
    np.testing.assert_allclose(enumerate_spins(energy).probability, weight / weight.sum(), atol=1e-12)


def test_chunks_and_resumed_runs_give_the_same_bytes() -> None:
    program = compile_program(
        "var s: spin[3]\nenergy -s[0] * s[1] + 0.3 * s[2] * s[1]\n", target="ideal-spin", passes=QUICK
    )
    (job,) = program.jobs
    whole = np.concatenate(
        [c.values for c in Thrml().run(job, program.device, Request(6, 2, mode=Mode.INDEPENDENT))], axis=1
    )
    first = list(Thrml().run(job, program.device, Request(4, 2, memory=1)))
    assert len(first) == 4
    rest = list(Thrml().run(job, program.device, Request(2, 2, first=4, state=first[-1].state)))
    parts = np.concatenate([c.values for c in (*first, *rest)], axis=1)
    assert parts.tobytes() == whole.tobytes()


def test_spins_that_nothing_couples() -> None:
    program = compile_program("var s: spin\nenergy -0.5 * s\n", target="ideal-spin")
    result = run_program(program, samples=4000, chains=4000, backend="thrml")
    # five standard errors: false alarms below 1e-6
    assert abs(result.answer("s").value.mean() - np.tanh(0.5)) < 5 / np.sqrt(4000)


def test_other_families_are_refused() -> None:
    program = compile_program("var x: real ~ normal(0, 1)\n", target="ideal")
    with pytest.raises(SpuccError, match="cells"):
        run_program(program, samples=1, backend="thrml")
