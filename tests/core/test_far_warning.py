"""W0592: a program that is far from its model says so, once for each job, unless a tolerance is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spucc.cli.compiling import compile_to_state
from spucc.devices import load_device
from spucc.diagnostics import Diagnostic, SpuccError
from spucc.driver import FAR_SD, compile_program, default_passes, warn_of_error
from spucc.pipeline import Context
from spucc.running.law import program_law
from spucc.stages import LedgerEntry

TEXT = """
var x: real[4] ~ normal(1, 1)
var y: real ~ normal(0, 1)
energy 0.5 * 40 * ((x[0] - x[1])**2 + (x[1] - x[2])**2 + (x[2] - x[3])**2)
"""


def warnings_of(target: str, ways: str, tolerance: float | None = None) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    passes = default_passes(load_device(target)).replace("realise", f"realise{{ways={ways}}}")
    compile_program(
        TEXT, target=target, passes=passes, tolerance=tolerance, context=Context(warn=found.append)
    )
    return found


def test_a_coarse_board_is_warned_of_once() -> None:
    """At one bit the chain of springs loses its stiffness; the law of the codes alone says that it is so."""
    (found,) = warnings_of("spu8{bits=1}", "scale")
    assert found.code == "W0592" and not found.is_error
    assert "`quantize` spent most" in found.notes[0] and "more bits" in found.help
    passes = default_passes(load_device("spu8")).replace("realise", "realise{ways=scale}")
    far = program_law(compile_program(TEXT, target="spu8{bits=1}", passes=passes))
    precision = np.eye(4) + 40 * (np.diag([1, 2, 2, 1]) - np.eye(4, k=1) - np.eye(4, k=-1))
    wanted = np.sqrt(np.diagonal(np.linalg.inv(precision)))
    worst = np.abs(np.sqrt(far.variance[:4]) / wanted - 1).max()
    assert worst > FAR_SD and f"off by up to {worst:.2g}" in found.title


def test_eight_bits_are_not() -> None:
    assert not warnings_of("spu8", "scale")


def test_with_a_tolerance_it_is_an_error_or_nothing() -> None:
    assert not warnings_of("spu8{bits=1}", "scale", tolerance=0.9)
    with pytest.raises(SpuccError, match="E0592"):
        warnings_of("spu8{bits=1}", "scale", tolerance=0.2)


def test_the_command_line_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "chain.spu"
    program.write_text(TEXT)
    options = {
        "data": (),
        "allow_paths": (),
        "target": "spu8{bits=1}",
        "passes": None,
        "realise": "scale",
        "seed": 0,
        "optimize": 1,
    }
    compile_to_state(str(program), (), **options)
    assert capsys.readouterr().err.count("W0592") == 1
    compile_to_state(str(program), (), **options, tolerance=0.9)
    assert "W0592" not in capsys.readouterr().err
    with pytest.raises(SpuccError, match="E0604"):
        compile_to_state(str(program), (), **{**options, "realise": "scales"})


@pytest.mark.parametrize("sd, mean, corr, far", [
    (0.09, 0.29, 0.29, 0), (0.11, 0.0, 0.0, 1), (0.0, 0.31, 0.0, 1), (0.0, 0.0, 0.31, 1),
    (np.inf, np.inf, np.inf, 1), (np.nan, np.nan, np.nan, 0), (0.2, 0.0, np.nan, 1),
])  # fmt: skip
def test_the_last_entry_of_each_job_decides(sd: float, mean: float, corr: float, far: int) -> None:
    def entry(job: str, name: str, *errors: float) -> LedgerEntry:
        return LedgerEntry(job, name, 0.0, 0.0, *errors, "exact")

    ledger = [
        entry("a", "fit", 9.0, 9.0, 9.0),
        entry("b", "fit", 0.0, 0.0, 0.0),
        entry("a", "lower", sd, mean, corr),
    ]
    found: list[Diagnostic] = []
    warn_of_error(ledger, found.append)
    assert len(found) == far
