"""Boards that were measured, and boards that are not quite nominal, from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spucc.devices import calibrated, load_device
from spucc.diagnostics import SpuccError

ROOT = Path(__file__).resolve().parent.parent.parent
SCHOOLS = [
    str(ROOT / "examples" / "eight_schools_spu8.spu"),
    "--data",
    str(ROOT / "examples" / "eight_schools.json"),
]


def compile_(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spucc", "compile", *SCHOOLS, "-O", "0", "-t", "spu8", *args],
        capture_output=True,
        text=True,
        check=False,
    )


def test_how_many_boards_serve() -> None:
    """All boards are within 20 %, none within 0.01 %: 1 % parts put a standard deviation off by some 1 %."""
    shares = {}
    for tolerance in ("0.2", "0.0001"):
        run = compile_("--tolerance-analysis", "20", "--tolerance", tolerance)
        found = re.search(r"^0:theta +([\d.]+) %", run.stdout, re.MULTILINE)
        shares[tolerance] = float(found[1]) if found else run.stderr
    assert shares["0.2"] == 100.0
    assert "E0592" in str(shares["0.0001"]) or shares["0.0001"] == 0.0


def test_a_calibration_file_replaces_nominal_values(tmp_path: Path) -> None:
    device = load_device("spu8")
    levels = np.tile(device.spec.ground.table() * 1.01, (8, 1))
    np.savez(tmp_path / "board.npz", ground_levels=levels, resistance=np.linspace(990, 1010, 8))
    found = calibrated(device, tmp_path / "board.npz")
    np.testing.assert_array_equal(found.ground_levels(np.arange(8)), levels)
    assert found.calibration.inductance is None
    run = compile_("--calibration", str(tmp_path / "board.npz"))
    assert run.returncode == 0, run.stderr
    plain = compile_()
    assert run.stdout != plain.stdout


def test_dead_parts_of_a_calibration_file_are_avoided(tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(json.dumps({"dead_cells": [3], "dead_couplers": [[1, 0]]}))
    found = calibrated(load_device("spu8"), path)
    assert found.spec.dead.cells == (3,) and found.spec.dead.couplers == ((0, 1),)
    run = compile_("--calibration", str(path))
    assert run.returncode == 3 and "E0512" in run.stderr and "7 working cells" in run.stderr


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({"resistence": [1.0] * 8}, "did you mean `resistance`"),
        ({"resistance": [1.0] * 7}, "shape (7,)"),
        ({"resistance": [-1.0] * 8}, "finite and > 0"),
        ({"series_resistance": [-1.0] * 8}, "finite and ≥ 0"),
        ({"dead_cells": [1.5]}, "numbers of cells"),
        ({"dead_couplers": [1, 2]}, "shape (2,)"),
    ],
)
def test_calibration_files_that_cannot_be_used(tmp_path: Path, tables: dict, text: str) -> None:
    path = tmp_path / "board.json"
    path.write_text(json.dumps(tables))
    with pytest.raises(SpuccError, match="E0506") as caught:
        calibrated(load_device("spu8"), path)
    first = caught.value.diagnostics[0]
    assert text in f"{first.title} {first.help}"


def test_dead_parts_that_are_not_on_the_device(tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(json.dumps({"dead_cells": [8]}))
    with pytest.raises(SpuccError, match="E0504"):
        calibrated(load_device("spu8"), path)
