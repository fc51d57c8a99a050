"""`spucc plot` draws every kind of result file, the same bytes for the same draws, and says what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import spucc
from spucc.cli import cli
from spucc.diagnostics import SpuccError
from spucc.running.plots import autocorrelation, exact_moments, plot, read_draws

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")

MODEL = "var x: real[3] ~ normal(1, 2)\nvar y: real ~ normal(sum(x), 1)\nquery d = sample(x)\nquery e = sample(y)\n"


@pytest.fixture
def program(tmp_path: Path) -> spucc.Program:
    (tmp_path / "m.spu").write_text(MODEL)
    return spucc.compile(tmp_path / "m.spu")


def test_files_of_both_writers_are_drawn(program: spucc.Program, tmp_path: Path) -> None:
    program.run(samples=400, stream=tmp_path / "streamed.nc")
    program.run(samples=400).save(tmp_path / "saved.nc")
    for name in ("streamed", "saved"):
        for query in ("d", "e"):
            plot(tmp_path / f"{name}.nc", tmp_path / f"{name}-{query}.svg", query=query, program=program)
            assert "<svg" in (tmp_path / f"{name}-{query}.svg").read_text()
        plot(tmp_path / f"{name}.nc", tmp_path / f"{name}.png", program=program)
    # Of one run: the same page to the byte.
    assert (tmp_path / "streamed.png").read_bytes() == (tmp_path / "saved.png").read_bytes()


def test_exact_moments_are_those_of_the_model(program: spucc.Program) -> None:
    mean, cov = exact_moments(program, "e")
    assert mean == pytest.approx([3.0]) and cov[0, 0] == pytest.approx(3 * 4 + 1)
    mean, cov = exact_moments(program, "d")
    assert np.allclose(mean, 1) and np.allclose(cov, 4 * np.eye(3))


def test_stopped_run_is_drawn_as_far_as_it_got(
    program: spucc.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spucc.running.run._STREAM_MEMORY", 1 << 14)
    program.run(samples=4000, chains=2, stream=tmp_path / "a.nc", stopped=lambda: True)
    draws = read_draws(tmp_path / "a.nc")
    assert 2 <= draws.values.shape[1] < 2000 and np.isfinite(draws.values).all()
    plot(tmp_path / "a.nc", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_autocorrelation_of_an_ar1() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((2, 50_000))
    for t in range(1, x.shape[1]):
        x[:, t] = 0.7 * x[:, t - 1] + rng.normal(size=2)
    # Standard error of a lag about 0.008: 5 of them.
    assert np.abs(autocorrelation(x, 5) - 0.7 ** np.arange(6)).max() < 0.04


def test_command_and_what_is_missing(
    program: spucc.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.run(samples=100, stream=tmp_path / "a.nc")
    program.save(tmp_path / "p.spuc")
    run = CliRunner().invoke
    done = run(cli, ["plot", str(tmp_path / "a.nc"), "--program", str(tmp_path / "p.spuc"), "--rows", "2"])
    assert done.exit_code == 0 and (tmp_path / "a.png").exists()
    cases = [
        ({"query": "z"}, "a.nc", "a.png", "E0748"),
        ({}, "none.nc", "a.png", "E0748"),
        ({}, "p.spuc", "a.png", "E0748"),
        ({}, "a.nc", "a.pdf", "E0391"),
        ({}, "a.nc", "none/a.png", "E0392"),
    ]
    for options, source, target, code in cases:
        with pytest.raises(SpuccError, match=code):
            plot(tmp_path / source, tmp_path / target, **options)
    (tmp_path / "other.spu").write_text("var d: real[2] ~ normal(0, 1)\nquery d = sample(d)\n")
    with pytest.raises(SpuccError, match="E0748"):
        plot(tmp_path / "a.nc", tmp_path / "a.png", program=spucc.compile(tmp_path / "other.spu"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SpuccError, match="E0747"):
        plot(tmp_path / "a.nc", tmp_path / "a.png")
