"""Mutated files end in a `SpuccError` with an E06xx or in values that later stages can work with; never in a traceback, never
in a gigabyte, never in a file."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from spucc.diagnostics import SpuccError
from spucc.explaining.variable import explain_coupler, explain_variable
from spucc.ir import identical, pack_program, pack_state, print_program, print_state, read_any
from spucc.ir.diff import diff_programs, diff_states
from spucc.stages import Program, Stage, State

from . import build
from .mutate import mutated_bytes, mutated_text, repacked

SEEDS = build.everything()
START = build.states()[Stage.ENERGY]
TEXTS = [print_program(v) if isinstance(v, Program) else print_state(v) for v in SEEDS]
PACKS = [pack_program(v, k) if isinstance(v, Program) else pack_state(v, k) for v in SEEDS for k in (2, 64)]


def mutated(k: int, rng: np.random.Generator) -> bytes:
    if k % 4 <= 1:
        return mutated_text(TEXTS[int(rng.integers(len(TEXTS)))], rng).encode("utf-8", "replace")
    return (repacked if k % 4 == 2 else mutated_bytes)(PACKS[int(rng.integers(len(PACKS)))], rng)


def use(value: State | Program) -> None:
    """What the command line does with a file that was accepted."""
    again = pack_program(value) if isinstance(value, Program) else pack_state(value)
    assert identical(read_any(again), value)
    if isinstance(value, Program):
        diff_programs(value, build.program())
        explain_variable(value, value.source.label(0) if value.source.n else "x")
        explain_coupler(value, 0, 1)
    else:
        diff_states(START, value)


def attack(count: int, seed: int) -> tuple[int, int]:
    """How many files were read and how many refused."""
    rng = np.random.default_rng(seed)
    read = refused = 0
    for k in range(count):
        data = mutated(k, rng)
        try:
            use(read_any(data, "fuzzed"))
            read += 1
        except SpuccError as error:
            refused += 1
            assert all(d.code.startswith("E06") for d in error.diagnostics), error
            assert all(d.span is not None or d.code == "E0617" for d in error.diagnostics), error
    return read, refused


def test_mutated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read, refused = attack(300, 0)
    assert read > 3 and refused > 200
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ten_thousand_mutated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read, refused = attack(10_000, 1)
    assert read > 100 and refused > 5_000
    assert list(tmp_path.iterdir()) == []
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1_000_000, "kilobytes"


@pytest.mark.parametrize(
    "line",
    [
        "x = " + "[" * 100_000,
        '"' * 100_001,
        "#" * 100_000,
        "{" * 100_000,
        '"\\' * 50_000,
        "| " * 50_000,
        '""' * 50_000 + '"',
    ],
)
def test_long_lines_cost_no_more_than_their_length(line: str) -> None:
    """Nothing here backtracks: 100,000 characters at any place are read at once (a comment may stand anywhere)."""
    text = TEXTS[0].split("\n")
    for at in (0, 2, 4, 12, 20, 60, len(text) - 3):
        with pytest.raises(SpuccError):
            read_any("\n".join([*text[:at], line, "?", *text[at + 1 :]]).encode())
