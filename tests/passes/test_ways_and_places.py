"""The way that is taken is one that the board has room for, and chains count for what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import spucc
from spucc.devices import load_device
from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy
from spucc.passes.place import chain_lengths
from spucc.passes.realising import forecast
from spucc.pipeline import Context
from spucc.running.law import program_law
from spucc.stages import Program

BOARD = "condition,reduce,split,realise{{ways={}}},place,project,embed,fit,calibrate,quantize,lower"


def attractive(n: int, own: float, seed: int = 0) -> np.ndarray:
    w = np.triu(np.random.default_rng(seed).uniform(0.2, 1, (n, n)), 1)
    w = w + w.T
    return np.diag(w.sum(axis=1) + own) - w


def way(program: Program) -> str:
    return next(n for s in program.jobs[0].steps for n in s.notes if n.startswith("way: "))[5:].split(";")[0]


def worst_sd(program: Program, p: np.ndarray) -> float:
    law = program_law(program)
    assert law.covariance is not None
    return float(np.abs(np.sqrt(np.diag(law.covariance) / np.diag(np.linalg.inv(p))) - 1).max())


def test_a_way_without_a_place_gives_way_to_one_that_has_one() -> None:
    """Six variables all coupled do not fit a planar grid (K5 is no minor); the read-out does. Asked for by name, `place` says
    why not."""
    p = attractive(6, 1.0)
    energy = spucc.gaussian(0.0, precision=p)
    program = compile_energy(energy, "grid-16x16")
    assert way(program) == "readout" and worst_sd(program, p) < 1e-3
    with pytest.raises(SpuccError, match="E0543"):
        compile_energy(energy, "grid-16x16", passes=BOARD.format("scale"))


def test_chains_cost_the_host_a_multiplication_a_cell() -> None:
    """Sixteen variables all coupled take 228 cells of the king's board as chains, and fewer multiplications as a read-out."""
    p = attractive(16, 4.0)
    device = load_device("king-32x32")
    program = compile_energy(spucc.gaussian(0.0, precision=p), device)
    energy = program.source.quadratic.tocsr()
    lengths = chain_lengths(energy, device, Context())
    assert lengths is not None and lengths.sum() == 228
    assert way(program) == "readout" and worst_sd(program, p) < 1e-3


def test_strays_of_chains_are_forecast() -> None:
    """A variable on m cells has m strays to ground: what it may have itself shrinks until it does not fit."""
    p = attractive(8, 0.2)
    k, device = sparse.csr_array(p), load_device("king-32x32")
    errors = [forecast.sd_error(k, np.eye(8), device, np.full(8, m)) for m in (1, 3, 1000)]
    assert errors[0] <= errors[1] and np.isinf(errors[2])


def test_the_readout_rescues_what_resistive_codes_would_make_singular() -> None:
    """Two variables correlated by 1 − 1e-6: eight bits make that 1, and one multiplication makes it exact."""
    p = np.linalg.inv(np.array([[1.0, 1 - 1e-6], [1 - 1e-6, 1.0]]))
    program = compile_energy(spucc.gaussian([1.0, -2.0], precision=p), "resistive-64")
    law = program_law(program)
    assert law.covariance is not None
    np.testing.assert_allclose(law.mean, [1.0, -2.0], atol=1e-9)
    np.testing.assert_allclose(law.covariance @ p, np.eye(2), atol=1e-4)
    assert any("1 multiplications" in n for s in program.jobs[0].steps for n in s.notes)
    with pytest.raises(SpuccError, match=r"E057[13]"):
        compile_energy(
            spucc.gaussian(0.0, precision=p),
            "resistive-64",
            passes="condition,reduce,split,realise{forbid=readout},place,project,embed,fit,quantize,lower",
        )


def test_well_conditioned_resistive_models_stay_as_they_are() -> None:
    x = np.random.default_rng(1).normal(size=(6, 12))
    p = x @ x.T / 12
    program = compile_energy(spucc.gaussian(np.arange(6.0), precision=p), "resistive-64")
    notes = [n for s in program.jobs[0].steps for n in s.notes]
    assert any("bias currents" in n for n in notes) and not any("multiplications" in n for n in notes)
