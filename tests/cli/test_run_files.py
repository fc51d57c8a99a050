"""`spucc run -o FILE.nc`, `--resume`, `spucc compile --emit spice` and `spucc law` from the command line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

import spucc
from spucc.cli import cli
from spucc.diagnostics import SpuccError
from spucc.running.tape import Tape


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.spu"
    path.write_text(
        "var x: real[3] ~ normal(1, 2)\nvar y: real ~ normal(sum(x), 1)\nquery d = sample(x)\nquery m = mean(y)\n"
    )
    return path


def test_netcdf_of_a_run_has_arviz_groups(model: Path, tmp_path: Path) -> None:
    assert invoke("run", model, "-n", "400", "-q", "-o", tmp_path / "a.nc").exit_code == 0
    with h5netcdf.File(tmp_path / "a.nc") as f:
        assert f["posterior/d"].dimensions[:2] == ("chain", "draw") and f["posterior/d"].shape == (4, 100, 3)
        assert np.isfinite(f["posterior/d"][:]).all() and np.isfinite(f["answers/m"][...])
    again = invoke("run", model, "-n", "400", "-o", tmp_path / "a.nc", "--resume")
    assert again.exit_code == 0 and "400 draws on ideal" in again.output


def test_resume_needs_a_file_that_can_be_resumed(model: Path, tmp_path: Path) -> None:
    assert "-o FILE.nc" in invoke("run", model, "--resume").output
    assert "-o FILE.nc" in invoke("run", model, "--resume", "-o", tmp_path / "a.npz").output
    both = invoke("run", model, "--resume", "--rel-error", "0.1", "-o", tmp_path / "a.nc")
    assert both.exit_code == 2 and "--rel-error" in both.output


def test_netlist_from_the_command_line(model: Path, tmp_path: Path) -> None:
    shown = invoke("compile", model, "--target", "spu8", "--emit", "spice")
    assert shown.exit_code == 0 and shown.output.startswith("* spucc spu8") and ".tran" in shown.output
    place = tmp_path / "model.cir"
    assert (
        invoke("compile", model, "--target", "spu8", "--emit", "spice", "--seed", "4", "-o", place).exit_code
        == 0
    )
    assert "seed 4" in place.read_text() and list(tmp_path.glob("model.noise*"))


def test_law_from_the_command_line(model: Path, tmp_path: Path) -> None:
    program = tmp_path / "p.spuc"
    assert invoke("compile", model, "--target", "spu8", "-o", program).exit_code == 0
    shown = invoke("law", program, "-o", tmp_path / "law.npz")
    assert shown.exit_code == 0 and "the ledger agrees within" in shown.output
    with np.load(tmp_path / "law.npz") as f:
        assert f["mean"] == pytest.approx([1, 1, 1, 3]) and f["covariance"][3, 3] == pytest.approx(
            13, rel=1e-2
        )


def test_unfinished_file_says_how_far_it_got(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill: nothing is written after the last checkpoint, no answers either."""
    path = tmp_path / "a.nc"
    monkeypatch.setattr("spucc.running.run._STREAM_MEMORY", 1 << 14)
    program = spucc.compile(model)
    marked = Tape.mark

    def dies(tape: Tape, seen: int, states: object) -> None:
        marked(tape, seen, states)  # type: ignore[arg-type]
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Tape, "mark", dies)
        with pytest.raises(RuntimeError):
            program.run(samples=8000, chains=2, stream=path)
    shown = invoke("inspect", path)
    done = int(re.search(r"unfinished: (\d+) of 4,000 draws a chain; .* --resume` goes on", shown.output)[1])  # type: ignore[index]
    assert 0 < done < 4000 and f"(2, {done}, 3)" in shown.output and "not written yet" in shown.output
    assert f"samples: {2 * done} of 8000" in shown.output and "program: " in shown.output
    program.run(samples=8000, chains=2, stream=path, resume=True)
    shown = invoke("inspect", path)
    assert (
        "unfinished" not in shown.output
        and "(2, 4000, 3)" in shown.output
        and "not written" not in shown.output
    )


@pytest.mark.parametrize("ending", ["nc", "npz", "json"])
def test_interrupted_results_of_every_kind_say_so(model: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    result = spucc.compile(model, target="spu8").run(samples=400, mode="trajectory")
    result.save(path)
    shown = invoke("inspect", path)
    assert shown.exit_code == 0 and "unfinished" not in shown.output
    assert (
        re.search(r"least ess +autocorrelation +rhat", shown.output) and ".error .scheduled" in shown.output
    )
    replace(result, complete=False).save(path)
    assert invoke("inspect", path).output.startswith("unfinished: ")


def test_files_that_are_no_results_get_one_clean_line(model: Path, tmp_path: Path) -> None:
    """Cut short anywhere, of others, and empty: no words of HDF5, and nothing but our own error."""
    whole = tmp_path / "whole.nc"
    spucc.compile(model).run(samples=4000, stream=whole)
    content = whole.read_bytes()
    broken = {f"cut{n}": content[:n] for n in (0, 100, 1000, 5000, len(content) - 5000, len(content) - 1)}
    broken |= {"text": b"hello\n", "zip": b"PK\x03\x04" + bytes(100)}
    with h5py.File(tmp_path / "foreign.nc", "w") as f:
        f["a"] = [1, 2]
    with h5py.File(tmp_path / "strange.nc", "w") as f:
        f.attrs["provenance"] = "[1]"
    for name, data in broken.items():
        (tmp_path / f"{name}.nc").write_bytes(data)
        (tmp_path / f"{name}.npz").write_bytes(data)
        (tmp_path / f"{name}.json").write_bytes(data)
    for path in sorted(tmp_path.glob("*.*")):
        if path in (whole, model):
            continue
        for command in ("inspect", "plot"):
            if command == "plot" and path.suffix != ".nc":
                continue
            found = invoke(command, path).exception
            assert isinstance(found, SpuccError), (path, command)
            (only,) = found.diagnostics
            assert only.code == "E0616"
            assert only.title == f"cannot read `{path}`: it is no result of spucc, or is cut short"
