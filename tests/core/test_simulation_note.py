"""What a backend says of its own error reaches the result, its file and the user; intervals of a trajectory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

import spucc
from spucc.backend import Chunk, Progress, Request, silent
from spucc.cli import cli
from spucc.cli.running import statement
from spucc.device import Device
from spucc.diagnostics import SpuccError
from spucc.running.accuracy import hardly_worth
from spucc.stages import Job, Program
from spucc.targets.exact import Exact
from spucc.targets.nonlinear import Langevin


@dataclass(frozen=True)
class Frank(Exact):
    """The exact backend, which says that it is off."""

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        for chunk in super().run(job, device, request, progress):
            yield Chunk(chunk.first, chunk.values, chunk.state, "means are off by 3 %")


def small() -> Program:
    return spucc.compile("var x: real[3] ~ normal(1, 2)\nquery d = sample(x)", target="spu8")


def test_a_note_is_kept_and_shown(tmp_path: Path) -> None:
    program = small()
    place = tmp_path / "a.nc"
    # spu8 makes one job of each variable that stands alone.
    result = program.run(samples=8, backend=Frank(), stream=place)
    said = result.provenance["simulation"]
    assert set(said) == {j.name for j in program.jobs} and set(said.values()) == {"means are off by 3 %"}
    with h5netcdf.File(place) as f:
        assert json.loads(str(f.attrs["provenance"]))["simulation"] == said
    assert "the simulation: means are off by 3 %" in statement(program, result.provenance)
    again = program.run(samples=8, backend=Frank(), stream=place, resume=True)
    assert np.array_equal(again["d"], result["d"])
    exact = program.run(samples=8)
    assert "simulation" not in exact.provenance and "the simulation" not in statement(
        program, exact.provenance
    )


def test_a_series_states_the_terms_that_it_leaves_out() -> None:
    """2116 equal cells go by Chebyshev series."""
    ring = sparse.diags_array([-np.ones(2115), 2.5 * np.ones(2116), -np.ones(2115)], offsets=[-1, 0, 1])
    program = spucc.compile(spucc.gaussian(0.0, precision=sparse.csr_array(ring)), target="ideal")
    (said,) = (
        program.run(samples=2, chains=1, mode="trajectory", interval=0.1).provenance["simulation"].values()
    )
    assert (
        "standard deviations of the circuit's" in said
        and 0 < float(said.split("within ")[1].split()[0]) < 1e-8
    )


def test_langevin_dynamics_states_the_bias_of_its_step() -> None:
    """A coarse backend says more than a fine one; adjusted draws have no bias of the step, and say nothing."""
    program = spucc.compile(
        "var x: real[2] ~ double_well(-1, 1)\nquery d = sample(x)", target="langevin-ideal"
    )
    said = []
    for tolerance in (1e-2, 1e-3):
        result = program.run(samples=4, chains=2, mode="trajectory", backend=Langevin(tolerance=tolerance))
        (note, *_) = result.provenance["simulation"].values()
        assert "time units move second moments by about" in note
        said.append(float(note.split("about ")[1].split(" %")[0]) / 100)
    assert 0 < said[1] <= 1e-3 < said[0] <= 1e-2
    assert "simulation" not in program.run(samples=4, chains=2).provenance


def test_intervals_of_a_trajectory() -> None:
    program = small()
    still = program.run(samples=40, chains=2, mode="trajectory", interval=1e-30)
    paths = still["d"].reshape(2, 20, 3)
    assert np.allclose(paths, paths[:, :1]) and still.provenance["interval"] == 1e-30
    # Two places where the chains stood still: worth a draw each, and not mixed.
    answer = still.answer("d")
    assert answer.ess is not None and answer.rhat is not None
    assert (answer.ess < 3).all() and np.isinf(answer.rhat).all() and "not mixed" in still.table()
    assert "worth about 2 independent ones (of `d`)" in hardly_worth(still)
    far = program.run(samples=4000, chains=2, mode="trajectory", interval=1e3)["d"]
    # Independent draws: the mean within 6 standard errors.
    assert np.abs(far.mean(axis=0) - 1).max() < 6 * 2 / np.sqrt(4000)
    for mode, interval, code in (
        ("independent", 1.0, "E0726"),
        ("trajectory", 0.0, "E0726"),
        ("trajectory", -1.0, "E0726"),
        ("trajectory", np.inf, "E0726"),
        ("trajectory", np.nan, "E0726"),
    ):
        with pytest.raises(SpuccError, match=code):
            program.run(samples=4, mode=mode, interval=interval)


def test_the_interval_from_the_command_line(tmp_path: Path) -> None:
    model = tmp_path / "m.spu"
    model.write_text("var x: real[2] ~ normal(1, 2)\nquery d = sample(x)\n")
    common = ["run", str(model), "--target", "spu8", "-n", "8", "-q", "--mode", "trajectory"]
    places = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for place, interval in zip(places, ("1e-7", "2e-7")):
        ran = CliRunner().invoke(cli, [*common, "--interval", interval, "-o", str(place)])
        assert ran.exit_code == 0, ran.output
    a, b = (np.load(p)["d"] for p in places)
    assert a.shape == b.shape and not np.array_equal(a, b)
