"""Which board a run was on, what the result says of it, and how to choose it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import spucc
from spucc.cli import cli
from spucc.diagnostics import SpuccError
from spucc.running.provenance import board_statement
from spucc.stages import Program
from spucc.targets.board_model import BoardModel

MODEL = """
var x: real[3] ~ multi_normal([5, -5, 3], [[1, 0.6, 0], [0.6, 1, 0.3], [0, 0.3, 1]])
query x = sample(x)
query v = var(x)
"""


def program(target: str = "resistive-64") -> Program:
    return spucc.compile(MODEL, target=target)


def test_the_seed_chooses_the_board_unless_the_user_does() -> None:
    compiled = program()
    first = compiled.run(samples=400, seed=3, backend="board-model")
    assert first.provenance["board"] == 3
    same = compiled.run(samples=400, seed=3, board=3, backend="board-model")
    other = compiled.run(samples=400, seed=3, board=4, backend=BoardModel())
    assert np.array_equal(first["x"], same["x"]) and not np.array_equal(first["x"], other["x"])
    again = compiled.run(samples=400, seed=5, board=3, backend="board-model")
    assert again.provenance["board_error"] == first.provenance["board_error"]
    assert compiled.run(samples=400, seed=5, backend=BoardModel(number=3)).provenance["board"] == 3
    assert "board" not in compiled.run(samples=400).provenance


def test_the_stated_error_of_a_board_is_what_its_draws_show() -> None:
    """200,000 draws: variances against the compiled ones at 5 of their errors beside what the board is said to be off by, and
    the worst of them not below it."""
    compiled = program("resistive-64{circuit.resistance_tolerance=0.1,ground.tolerance=0.1}")
    result = compiled.run(samples=200_000, seed=3, backend="board-model")
    off = np.abs(np.sqrt(np.asarray(result["v"])) - 1)
    said, noise = result.provenance["board_error"]["sd_error"], 5 * np.sqrt(0.5 / 200_000)
    assert said > 0.01 and said - noise < off.max() < said + noise
    assert f"board 3 against the compiled distribution: sd within {said:.2g}" in board_statement(
        result.provenance
    )


def test_drift_is_said_too() -> None:
    result = program("resistive-64{noise.drift=0.2}").run(samples=100, backend="board-model")
    start = result.provenance["board_error"]["power_at_start"]
    assert f"its noise power drifts by 0.2, from {start:.2g} at the start" in board_statement(
        result.provenance
    )


def test_a_run_is_not_resumed_on_another_board(tmp_path: Path) -> None:
    compiled, file = program(), tmp_path / "x.nc"
    compiled.run(samples=400, seed=1, board=2, backend="board-model", stream=file)
    with pytest.raises(SpuccError, match=r"E0744.*board"):
        compiled.run(samples=400, seed=1, board=3, backend="board-model", stream=file, resume=True)


def test_boards_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "x.spuc"
    program().save(file)
    run = ["run", str(file), "--samples", "400", "--backend", "board-model", "--seed", "9"]
    assert "board 9 against" in CliRunner().invoke(cli, run).output
    said = CliRunner().invoke(cli, [*run, "--board", "2"]).output
    assert "board 2 against" in said and "the standard errors do not contain this" in said
    verify = [
        "verify",
        str(file),
        "--samples",
        "400",
        "--chains",
        "2",
        "--backend",
        "board-model",
        "--board",
        "2",
    ]
    assert CliRunner().invoke(cli, verify).exit_code in (0, 1)
    refused = CliRunner().invoke(cli, ["run", str(file), "--board", "2"])
    assert isinstance(refused.exception, SpuccError) and "E0736" in str(refused.exception)
