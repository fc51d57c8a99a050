"""What is shown of passes on the command line, passes and devices of other packages included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from spucc.cli import cli
from spucc.diagnostics import SpuccError
from spucc.ir import read_any, read_program

MODEL = "var x: real[2]\nx[0] ~ normal(0, 1)\nx[1] ~ normal(0.8 * x[0] + 0.3, 0.5)\nquery d = sample(x)\n"

PASS = """
from dataclasses import dataclass, replace
from typing import ClassVar

from spucc.pipeline import JobPass, Outcome
from spucc.stages import Stage


@dataclass(frozen=True)
class Soften(JobPass):
    name: ClassVar[str] = "soften"
    takes: ClassVar[Stage] = Stage.COUPLINGS
    gives: ClassVar[Stage] = Stage.COUPLINGS
    why: ClassVar[str] = "couplings are known, places are not"
    by: float = 0.1

    def apply(self, job, device, context):
        return Outcome(replace(job.value, matrix=job.value.matrix * (1 - self.by)), None, (f"softened by {self.by:g}",))
"""

BOARD = """name = "acme12"
family = "capacitive"
description = "twelve cells of Acme"
[topology]
kind = "complete"
nodes = 12
[ground]
unit = "F"
max = 1e-9
bits = 8
[coupling]
unit = "F"
max = 1e-9
bits = 8
[circuit]
theta_min = 1e-14
theta_max = 1e-9
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "two.spu"
    path.write_text(MODEL)
    return path


def spucc(*args: object) -> str:
    found = CliRunner().invoke(cli, [str(a) for a in args])
    assert found.exit_code == 0, found.output
    return found.stdout


def refused(*args: object) -> str:
    found = CliRunner().invoke(cli, [str(a) for a in args])
    assert isinstance(found.exception, SpuccError), found.output
    return "\n".join(d.title for d in found.exception.diagnostics)


def test_the_stage_after_a_pass_is_printed_once_and_after_all_passes_each_time(model: Path) -> None:
    once = spucc("compile", model, "-t", "spu8", "--print-after", "place")
    assert once.count("spucc-ir 1 ") == 1 and "# after place\nspucc-ir 1 placed\n" in once
    every = spucc("compile", model, "-t", "spu8", "--print-after", "all")
    assert every.count("spucc-ir 1 ") == 14


@pytest.mark.parametrize("option", ["--print-after", "--stop-after"])
def test_a_pass_that_the_pipeline_does_not_have(option: str, model: Path) -> None:
    assert "no pass `plaace`" in refused("compile", model, "-t", "spu8", option, "plaace")


def test_values_before_fit_have_no_units(model: Path) -> None:
    """Nothing of a stage without units is said to be farads or joules, neither beside its numbers nor in what changed."""
    text = spucc("compile", model, "-t", "spu8", "--stop-after", "place")
    assert "   # x[0]\n" in text and " F\n" not in text
    changed = spucc("compile", model, "-t", "spu8", "--print-changed")
    place = changed.split("# place\n")[1].split("# project\n")[0]
    assert "scale" not in place and "ground" in place
    fit = changed.split("# fit\n")[1].split("# calibrate\n")[0]
    assert "+  scale" in fit and "pF" in fit


def test_rounding_is_no_error(model: Path) -> None:
    text = spucc("compile", model, "-t", "spu8", "--print-changed")
    assert "lost by job 0:x up to realise: KL 0 nats a variable, sd 0 %, mean 0 sd, correlation 0\n" in text
    assert "up to place" not in text and "up to quantize" in text


def test_quartic_terms_are_among_what_changed(tmp_path: Path) -> None:
    path = tmp_path / "q.spu"
    path.write_text(
        "var x: real[2]\nenergy 3 * sum(x**4) + 0.5 * sum(x**2) - 0.1 * x[0] * x[1]\nquery d = sample(x)\n"
    )
    text = spucc("compile", path, "-t", "langevin-ideal", "--print-changed")
    assert "quartic 3" in text and "terms of degree 3 or more  2" in text


def test_going_on_by_opt_gives_the_same_program_and_its_ledger(model: Path, tmp_path: Path) -> None:
    stage, straight, by_opt = (tmp_path / n for n in ("s.spuc", "a.spuc", "b.spuc"))
    spucc("compile", model, "-t", "spu8", "-o", straight)
    spucc("compile", model, "-t", "spu8", "--stop-after", "embed", "-o", stage)
    said = spucc("opt", stage, "-p", "fit,calibrate,quantize,lower,schedule", "-o", by_opt)
    assert by_opt.read_bytes() == straight.read_bytes()
    assert [row.split()[0] for row in said.splitlines()[1:]][-2:] == ["lower", "schedule"]


def test_what_has_units_is_not_fitted_again(model: Path, tmp_path: Path) -> None:
    stage = tmp_path / "placed.spuc"
    spucc("compile", model, "-t", "spu8", "--emit", "placed", "-o", stage)
    assert "`fit` has been here before" in refused("opt", stage, "-p", "fit,quantize,lower")
    spucc("opt", stage, "-p", "quantize{bits=6},lower,schedule", "-o", tmp_path / "six.spuc")
    assert read_program(tmp_path / "six.spuc").pipeline.endswith(
        "fit,calibrate,quantize{bits=6},lower,schedule"
    )


def test_both_pipelines_of_a_pair_are_listed() -> None:
    text = spucc("passes", "-t", "grid-16x16+pbit-grid")
    assert (
        "grid-16x16: border" in text
        and "pbit-grid: condition" in text
        and "quantize-spins  placed → quantized" in text
    )


# --- other packages -------------------------------------------------------------------------------------------------------


def installed(
    folder: Path, passes: str = "acme_passes:Soften", boards: str = "acme_boards"
) -> dict[str, str]:
    """A package with a pass and a device as an installer leaves it; the environment that finds it."""
    (folder / "acme_boards").mkdir()
    (folder / "acme_boards/__init__.py").touch()
    (folder / "acme_boards/acme12.toml").write_text(BOARD)
    (folder / "acme_passes.py").write_text(PASS)
    info = folder / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[spucc.passes]\nsoften = {passes}\n\n[spucc.devices]\nacme = {boards}\n"
    )
    path = os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[2])])
    return {**os.environ, "PYTHONPATH": path, "SPUCC_DEBUG": ""}


def run(environment: dict[str, str], *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spucc", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_pass_and_a_device_of_another_package(model: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    environment = installed(tmp_path / "site")
    listed = run(environment, "passes").stdout
    assert (
        "soften: couplings → couplings\n    couplings are known, places are not\n    by=0.1  (float)\n"
        in listed
    )
    out = tmp_path / "soft.spuc"
    passes = "condition,split,realise,soften{by=0.2},place,fit,quantize,lower"
    found = run(environment, "compile", model, "-t", "acme12", "-p", passes, "-o", out)
    assert found.returncode == 0, found.stderr
    assert "softened by 0.2" in found.stdout
    # A program is read, and explained as far as it goes, where the package is not installed.
    program = read_any(out)
    assert program.device.name == "acme12"
    text = spucc("explain", out, "x[0]")
    assert "softened by 0.2" in text and "x[0] alone: sd 1 asked" in text


@pytest.mark.parametrize(
    ("passes", "boards", "args", "word"),
    [
        ("acme_passes:Softn", "acme_boards", ["-p", "condition,soften"], "pass `soften` of the installed package `acme`"),
        ("acme_passes:Stage", "acme_boards", ["-p", "condition,soften"], "no class derived from `spucc.pipeline.Pass`"),
        ("acme_passes:Soften", "acme_bords", [], "device files of the installed package `acme`"),
    ],
)  # fmt: skip
def test_a_broken_package_is_named(
    passes: str, boards: str, args: list[str], word: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    environment = installed(tmp_path / "site", passes, boards)
    found = run(environment, "compile", model, "-t", "spu8", *args)
    assert found.returncode == 1
    assert "error[E0623]" in found.stderr and word in found.stderr and "Traceback" not in found.stderr


def test_a_fault_inside_a_pass_of_another_package_is_its_own(model: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    environment = installed(tmp_path / "site")
    file = tmp_path / "site/acme_passes.py"
    file.write_text(file.read_text().replace("return Outcome(", "return Outcome(1 / 0 or "))
    found = run(environment, "compile", model, "-t", "acme12", "-p", "condition,split,realise,soften")
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "error[E0625]: the pass `soften` of `acme_passes`" in found.stderr
    assert "ZeroDivisionError: division by zero" in found.stderr
    assert (
        f"note: at {file}:{file.read_text().split('1 / 0')[0].count(chr(10)) + 1}, in `apply`" in found.stderr
    )
