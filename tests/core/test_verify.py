"""`spucc verify` passes good backends and fails deliberately broken ones.

Every good run is at a false-alarm rate of 1e-6.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from spucc.backend import Backend, Chunk, Progress, Request, silent
from spucc.cli import cli
from spucc.device import Device
from spucc.diagnostics import SpuccError
from spucc.stages import Job, LedgerEntry
from spucc.targets.exact import Exact
from spucc.verify import verify_program

_spec = importlib.util.spec_from_file_location("program_zoo", Path(__file__).with_name("program_zoo.py"))
assert _spec is not None and _spec.loader is not None
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

Array = NDArray[np.float64]


@pytest.mark.parametrize("name", [n for n in zoo.ZOO if n != "split"])
def test_good_backends_pass(name: str) -> None:
    found = verify_program(zoo.ZOO[name](), samples=8000, seed=5)
    assert found.passed, found.table()


@pytest.mark.slow
def test_host_loop_passes() -> None:
    assert verify_program(zoo.ZOO["split"](), samples=2000, seed=5).passed


def test_trajectories_pass() -> None:
    found = verify_program(zoo.ZOO["plain"](), samples=8000, mode="trajectory")
    assert found.passed, found.table()


@pytest.mark.spice
def test_ngspice_passes() -> None:
    found = verify_program(zoo.ZOO["signed"](), samples=1000, chains=2, backend="spice")
    assert found.passed, found.table()


@dataclass(frozen=True)
class Mutant:
    """Draws of the exact backend, spoilt."""

    spoil: Callable[[Array], Array] = lambda x: x
    ask: Callable[[Request], Request] = lambda r: r
    name: str = "mutant"

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        for chunk in Exact().run(job, device, self.ask(request)):
            yield Chunk(chunk.first, self.spoil(np.array(chunk.values)))


def swap(x: Array) -> Array:
    return x[:, :, [1, 0, *range(2, x.shape[2])]]


def correlated(x: Array) -> Array:
    """Draws of the right law, each held to the last by 0.2: an AR(1) about the mean of the model."""
    mean = x.mean(axis=(0, 1))
    w = x - mean
    for t in range(1, w.shape[1]):
        w[:, t] = 0.2 * w[:, t - 1] + np.sqrt(1 - 0.04) * w[:, t]
    return np.asarray(w + mean)


def repeated(x: Array) -> Array:
    """Every chain is the first one."""
    return np.broadcast_to(x[:1], x.shape).copy()


def heavy(x: Array) -> Array:
    """The right means and covariances with another shape: each draw stretched or shrunk."""
    mean = x.mean(axis=(0, 1))
    r = np.random.default_rng(0).choice([0.6, np.sqrt(2 - 0.36)], size=(*x.shape[:2], 1))
    return np.asarray(mean + (x - mean) * r)


MUTANTS: dict[str, Backend] = {
    "wrong sign": Mutant(lambda x: x * np.r_[-1.0, np.ones(x.shape[2] - 1)]),
    "wrong sign of a deviation": Mutant(
        lambda x: np.asarray(
            x.mean(axis=(0, 1)) + (x - x.mean(axis=(0, 1))) * np.r_[-1.0, np.ones(x.shape[2] - 1)]
        )
    ),
    "scaled noise": Mutant(lambda x: np.asarray(x.mean(axis=(0, 1)) + 1.05 * (x - x.mean(axis=(0, 1))))),
    "shifted mean": Mutant(lambda x: x + 0.05 * x.std(axis=(0, 1))),
    "swapped cells": Mutant(swap),
    "correlated draws as independent": Mutant(correlated),
    "stale seed": Mutant(ask=lambda r: replace(r, seed=0)),
    "one chain for all": Mutant(repeated),
    "heavy tails": Mutant(heavy),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_broken_backends_fail(name: str) -> None:
    found = verify_program(zoo.ZOO["plain"](), backend=MUTANTS[name])
    assert not found.passed, found.table()
    assert "FAIL" in found.table()


def test_stale_seed_is_found_by_its_own_test() -> None:
    found = verify_program(zoo.ZOO["plain"](), backend=MUTANTS["stale seed"])
    assert [c.name for c in found.failures()] == ["correlation of two seeds"]


def test_a_wrong_program_fails_against_the_model() -> None:
    """Codes that make another law than the model's, with a ledger that says nothing of it: only `model` sees it."""
    program = zoo.ZOO["plain"]()
    job = program.jobs[0]
    ground = job.value.codes.ground.copy()
    ground[0, 0] = max(0, ground[0, 0] - 60)
    codes = replace(job.value.codes, ground=ground)
    wrong = replace(program, jobs=(replace(job, value=replace(job.value, codes=codes)),))
    found = verify_program(wrong)
    assert {s.name for s in found.sections if not s.report.passed} == {"model"}
    # The ledger that states the error is believed.
    entry = LedgerEntry(job.name, "lower", 1.0, 1.0, 0.5, 0.5, 0.5)
    assert verify_program(replace(wrong, ledger=(*program.ledger, entry))).passed


def test_too_few_draws_and_impossible_rates() -> None:
    program = zoo.ZOO["ideal"]()
    for options in ({"samples": 100}, {"chains": 1}, {"false_alarm": 0.0}, {"samples": 0}, {"chains": 0}):
        with pytest.raises(SpuccError, match="E0741"):
            verify_program(program, **options)
    job = replace(program.jobs[0], value=program.jobs[0].target)
    with pytest.raises(SpuccError, match="E0740"):
        verify_program(replace(program, jobs=(job,)))


def test_rate_of_false_alarms_is_not_exceeded() -> None:
    """At a stated rate of 0.3, 40 good runs fail at most 24 times but for a chance of 1e-4."""
    program = zoo.ZOO["ideal"]()
    failed = sum(not verify_program(program, samples=1000, seed=s, false_alarm=0.3).passed for s in range(40))
    assert failed <= 24


def test_command_says_so_by_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.spuc"
    zoo.ZOO["plain"]().save(path)
    good = CliRunner().invoke(cli, ["verify", str(path), "-n", "4000"])
    assert good.exit_code == 0 and "of the compiled distribution and of the model" in good.output
    monkeypatch.setitem(
        __import__("spucc.targets").targets.BACKENDS, "broken", lambda: MUTANTS["swapped cells"]
    )
    bad = CliRunner().invoke(cli, ["verify", str(path), "-b", "broken"])
    assert bad.exit_code == 1 and "FAIL" in bad.output
