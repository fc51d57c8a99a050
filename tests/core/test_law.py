"""`spucc law`: the law from the codes alone against the ledger, the oracle and draws."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import spucc
from spucc.diagnostics import SpuccError
from spucc.driver import compile_energy
from spucc.running.law import (
    DENSE_LIMIT,
    agreement,
    law_arrays,
    law_table,
    ledger_check,
    program_law,
    save_law,
)

_spec = importlib.util.spec_from_file_location("program_zoo", Path(__file__).with_name("program_zoo.py"))
assert _spec is not None and _spec.loader is not None
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_ledger_agrees_with_the_law(name: str) -> None:
    program = zoo.ZOO[name]()
    found = agreement(program, program_law(program))
    last = {entry.job: entry for entry in program.ledger}
    assert set(found) == set(last)
    for job, figures in found.items():
        entry = last[job]
        for key in ("kl_forward", "kl_reverse", "sd_error", "mean_error", "correlation_error"):
            assert getattr(figures, key) == pytest.approx(getattr(entry, key), abs=1e-9, rel=1e-6), key


@pytest.mark.parametrize("far", [0.0, 1e9])
def test_the_ledgers_check_allows_for_means_far_from_zero(far: float) -> None:
    """A mean 1e9 standard deviations from zero is held to 1e-7 of one by doubles; a ledger that is wrong is still told."""
    precision = np.array([[2.0, -0.7, 0.3], [-0.7, 1.5, -0.2], [0.3, -0.2, 1.0]])
    program = compile_energy(
        spucc.gaussian(far * np.array([1.0, -0.3, 0.7]), precision=precision), "resistive-64"
    )
    assert "the ledger agrees" in ledger_check(program)
    *before, last = program.ledger
    wrong = replace(last, mean_error=last.mean_error + 1e-8 * max(far, 1.0))
    assert "the ledger is off" in ledger_check(replace(program, ledger=(*before, wrong)))


@pytest.mark.parametrize("name", ["plain", "double-cover", "charge", "split", "ensemble"])
def test_draws_follow_the_law(name: str) -> None:
    """z-scores of means and covariances of many draws: the largest of at most 60 stays below 5 but for a chance of 4e-5."""
    program = zoo.ZOO[name]()
    law = program_law(program)
    result = program.run(samples=400 if name == "split" else 40_000, seed=3)
    x, ess = result["x"], result.answer("x").ess
    n = np.sqrt(np.outer(ess, ess))
    cov, sd = np.cov(x.T), np.sqrt(law.variance)
    assert np.abs((x.mean(axis=0) - law.mean) / sd * np.sqrt(ess)).max() < 5
    error = np.sqrt((np.outer(law.variance, law.variance) + law.covariance**2) / n)
    assert np.abs((cov - law.covariance) / error).max() < 5


def test_observed_coordinates_keep_their_value_and_reduced_ones_have_no_law(tmp_path: Path) -> None:
    source = tmp_path / "m.spu"
    source.write_text(
        "var a: real ~ normal(0, 1)\nvar b: real ~ normal(a, 1)\nvar c: real ~ normal(b, 1)\nobserve c = 2\nquery m = mean(b)\n"
    )
    program = spucc.compile(source)
    law = program_law(program)
    # b | c = 2: precision 1/2 + 1, mean 2/(3/2); a is a leaf that nobody asks about.
    assert law.mean[1] == pytest.approx(4 / 3) and law.variance[1] == pytest.approx(2 / 3)
    assert law.mean[2] == 2 and law.variance[2] == 0
    assert not law.known[0] and np.isnan(law.mean[0])
    assert "integrated out" in law_table(program, law_arrays(program))


def test_large_model_has_selected_entries() -> None:
    n = DENSE_LIMIT + 50
    precision = sparse.csr_array(sparse.diags_array([-0.45, 1.0, -0.45], offsets=[-1, 0, 1], shape=(n, n)))
    program = compile_energy(spucc.gaussian(0, precision=precision), "ideal")
    law = program_law(program)
    assert law.covariance is None and law.pairs.shape == (n - 1, 2)
    # Far from the ends: the AR(1) chain of this precision, variance 1/√(1 − 4·0.45²).
    k = n // 2
    variance = 1 / np.sqrt(1 - 4 * 0.45**2)
    root = (1 - np.sqrt(1 - 4 * 0.45**2)) / 0.9
    assert law.variance[k] == pytest.approx(variance, rel=1e-9)
    assert law.entries[k] == pytest.approx(variance * root, rel=1e-9)
    assert list(law.pairs[k]) == [k, k + 1]


def test_arrays_are_written_and_read_back(tmp_path: Path) -> None:
    program = zoo.ZOO["plain"]()
    arrays = law_arrays(program)
    save_law(arrays, tmp_path / "law.npz")
    with np.load(tmp_path / "law.npz", allow_pickle=False) as back:
        assert set(back) == set(arrays)
        assert np.array_equal(back["covariance"], arrays["covariance"]) and back["names"][0] == "x[0]"
    with pytest.raises(SpuccError, match="E0391"):
        save_law(arrays, tmp_path / "law.txt")


def test_spins_have_no_law() -> None:
    from dataclasses import replace

    program = zoo.ZOO["ideal"]()
    job = replace(program.jobs[0], value=program.jobs[0].target)
    with pytest.raises(SpuccError, match="E0595"):
        program_law(replace(program, jobs=(job,)))
