"""`spucc run -o FILE.nc`, `--resume`, `spucc compile --emit spice` and `spucc law` from the command line."""

from __future__ import annotations

from pathlib import Path

import h5netcdf
import numpy as np
import pytest
from click.testing import CliRunner, Result

from spucc.cli import cli


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
