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
from spucc.running.stored import stored

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


def test_program_goes_with_the_draws(program: spucc.Program, tmp_path: Path) -> None:
    """`spucc plot result.nc` alone draws what it draws with the program that was run."""
    program.run(samples=400, stream=tmp_path / "streamed.nc")
    program.run(samples=400).save(tmp_path / "saved.nc")
    program.save(tmp_path / "p.spuc")
    for name in ("streamed", "saved"):
        assert stored(tmp_path / f"{name}.nc").program == (tmp_path / "p.spuc").read_bytes()
        assert plot(tmp_path / f"{name}.nc", tmp_path / f"{name}.svg") == ()
        plot(tmp_path / f"{name}.nc", tmp_path / "given.svg", program=program)
        assert (tmp_path / f"{name}.svg").read_bytes() == (tmp_path / "given.svg").read_bytes()


def test_why_nothing_exact_is_drawn(
    program: spucc.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a program that is too large to be kept, that was changed, and that has no law to draw."""
    with monkeypatch.context() as patch:
        patch.setattr("spucc.running.stored.PROGRAM_BYTES", 100)
        program.run(samples=40, stream=tmp_path / "large.nc")
    ((said,),) = [plot(tmp_path / "large.nc", tmp_path / "a.svg")]
    assert "does not hold its program" in said and "--program" in said
    drawn = (tmp_path / "a.svg").read_bytes()
    plot(tmp_path / "large.nc", tmp_path / "b.svg", program=program)
    assert drawn != (tmp_path / "b.svg").read_bytes()

    program.run(samples=40, stream=tmp_path / "changed.nc")
    held = stored(tmp_path / "changed.nc").program
    content = (tmp_path / "changed.nc").read_bytes()
    assert content.count(held) == 1
    (tmp_path / "changed.nc").write_bytes(content.replace(held, held.replace(b"spucc-ir 1", b"import os;")))
    ((said,),) = [plot(tmp_path / "changed.nc", tmp_path / "a.svg")]
    assert said.startswith("nothing exact is drawn: ")

    (tmp_path / "s.spu").write_text("var s: spin[2]\nenergy -s[0] * s[1]\nquery d = sample(s)\n")
    spins = spucc.compile(tmp_path / "s.spu", target="pbit-grid")
    spins.run(samples=40, stream=tmp_path / "spins.nc")
    ((said,),) = [plot(tmp_path / "spins.nc", tmp_path / "a.svg")]
    assert "not Gaussian" in said

    program.run(samples=40, stream=tmp_path / "a.nc")
    monkeypatch.setattr("spucc.running.law.DENSE_LIMIT", 3)
    ((said,),) = [plot(tmp_path / "a.nc", tmp_path / "a.svg")]
    assert "too large for its exact law" in said


def test_of_many_draws_and_entries_some_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.spu").write_text("var x: real[10, 20] ~ normal(0, 1)\nquery d = sample(x)\n")
    program = spucc.compile(tmp_path / "m.spu")
    result = program.run(samples=1200, stream=tmp_path / "a.nc")
    monkeypatch.setattr("spucc.running.plots._READ", 4 * 66 * 100)
    monkeypatch.setattr("spucc.running.plots._AT_ONCE", 7000)
    draws = read_draws(tmp_path / "a.nc", most=4)
    whole = result["d"].reshape(4, 300, 200)
    # The first four and 64 of the map, of which two are the same.
    assert draws.values.shape[2] == draws.entries.size == 66 and draws.names[-1] == "d[9, 19]"
    count = draws.values.shape[1]
    assert count == 100 and np.array_equal(draws.values, whole[:, :count][:, :, draws.entries])
    assert draws.said == (f"drawn from the first {count} of 300 draws a chain",)
    assert np.array_equal(draws.entries[draws.mapped], np.unique(np.linspace(0, 199, 64).astype(int)))
    mean, cov = exact_moments(program, "d", draws.entries)
    assert np.array_equal(mean, np.zeros(66)) and np.allclose(cov, np.eye(66))


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
    (said,) = plot(tmp_path / "a.nc", tmp_path / "a.png")
    assert said.startswith(f"unfinished: {draws.values.shape[1]:,} of 2,000 draws a chain")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    shown = CliRunner().invoke(cli, ["plot", str(tmp_path / "a.nc"), "-o", str(tmp_path / "a.svg")])
    assert shown.exit_code == 0 and "--resume` goes on" in shown.stderr
    assert "unfinished" not in shown.stdout


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
        ({}, "none.nc", "a.png", "E0616"),
        ({}, "p.spuc", "a.png", "E0616"),
        ({}, "a.nc", "a.pdf", "E0391"),
        ({}, "a.nc", "none/a.png", "E0392"),
    ]
    for options, source, target, code in cases:
        with pytest.raises(SpuccError, match=code):
            plot(tmp_path / source, tmp_path / target, **options)
    (tmp_path / "other.spu").write_text("var d: real[2] ~ normal(0, 1)\nquery d = sample(d)\n")
    with pytest.raises(SpuccError, match="E0748"):
        plot(tmp_path / "a.nc", tmp_path / "a.png", program=spucc.compile(tmp_path / "other.spu"))
    swapped = CliRunner().invoke(cli, ["plot", str(tmp_path / "a.nc"), "--program", str(tmp_path / "a.nc")])
    assert isinstance(swapped.exception, SpuccError)
    (only,) = swapped.exception.diagnostics
    assert only.code == "E0605" and only.span is None and "it is a netCDF result" in only.title
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SpuccError, match="E0747"):
        plot(tmp_path / "a.nc", tmp_path / "a.png")
