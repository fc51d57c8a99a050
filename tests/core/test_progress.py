"""What a run says on a terminal: how far it is, how fast, and how long it will go on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import spucc
from spucc import progress as module
from spucc.progress import Progress
from spucc.running import quantiles
from spucc.running import run as running


class Terminal:
    """A screen that keeps what is written."""

    def __init__(self, tty: bool = True) -> None:
        self.tty = tty
        self.lines: list[str] = []

    def isatty(self) -> bool:
        return self.tty

    def write(self, text: str) -> int:
        self.lines.append(text.replace("\r\x1b[2K", ""))
        return len(text)

    def flush(self) -> None: ...


def screen(monkeypatch: pytest.MonkeyPatch, tty: bool = True) -> tuple[Terminal, list[float]]:
    """A terminal, and a clock that is set by hand."""
    clock, terminal = [0.0], Terminal(tty)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return terminal, clock


def test_two_reporters_keep_their_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = screen(monkeypatch)
    show = Progress()
    for second in range(11):
        clock[0] = float(second)
        show("sampling, 5 M draws/s", second / 40)
        show("ngspice", second / 20)
    assert terminal.lines[-1] == "sampling, 5 M draws/s  25 %, 30 s left"
    clock[0] = 10.5
    show("ngspice", 0.5)
    assert terminal.lines[-1] == "ngspice  50 %, 10 s left"
    show.close()
    assert terminal.lines[-1] == ""


def test_a_task_that_comes_again_starts_its_clock_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = screen(monkeypatch)
    show = Progress()
    for at, share in ((0.0, 0.1), (5.0, 0.9), (100.0, 0.0), (102.0, 0.5)):
        clock[0] = at
        show("computing q", share)
    assert terminal.lines[-1] == "computing q  50 %, 2 s left"


def test_a_resumed_task_does_not_count_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = screen(monkeypatch)
    show = Progress()
    for at, share in ((0.0, 0.8), (2.0, 0.9)):
        clock[0] = at
        show("sampling", share)
    assert terminal.lines[-1] == "sampling  90 %, 2 s left"


def test_a_pipe_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = screen(monkeypatch, tty=False)
    show = Progress()
    clock[0] = 10.0
    show("sampling", 0.5)
    show.close()
    assert not terminal.lines


@pytest.mark.parametrize("file", [False, True])
def test_a_run_tells_its_draws_and_its_answers(
    file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs of unlike size share one figure that only grows; quantiles and the table have their own."""
    monkeypatch.setattr(running, "_STREAM_MEMORY", 1 << 14)
    monkeypatch.setattr(quantiles, "_STRETCH", 1 << 10)
    program = spucc.compile(
        "var x: real[20] ~ normal(0, 1)\nvar y: real ~ normal(0, 1)\nquery q = quantile(x, 0.9)\nquery d = sample(y)\n",
        target="king-8x8",
    )
    assert len(program.jobs) > 1
    said: list[tuple[str, float]] = []
    result = program.run(
        samples=3000,
        progress=lambda text, share: said.append((text, share)),
        stream=tmp_path / "a.nc" if file else None,
    )
    result.table(progress=lambda text, share: said.append((text, share)))
    tasks = {text.partition(",")[0] for text, _ in said}
    assert tasks == {"sampling", "computing q", "computing d"}
    for task in tasks:
        shares = [share for text, share in said if text.partition(",")[0] == task]
        assert shares == sorted(shares) and 0 < shares[0] < shares[-1] == 1.0
    assert all(text.endswith("draws/s") for text, _ in said if text.startswith("sampling"))
    assert np.shape(result["q"]) == (20,)


def test_rates_have_three_digits() -> None:
    assert [running._short(r) for r in (3.14159, 12_345.0, 2.5e6)] == ["3.14", "12.3 k", "2.5 M"]


def test_the_forecast_leaves_the_first_draws_out_and_counts_the_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, said = [0.0], []
    monkeypatch.setattr(running.time, "monotonic", lambda: clock[0])

    class Later:
        def afterwards(self) -> float:
            return 100.0

    expect = running._Forecast(running.Plan(1000, 4), 0, 0, said.append)
    for at, seen in ((4.0, 100), (4.3, 130), (5.0, 200), (6.0, 300)):
        clock[0] = at
        expect(seen, [Later()])  # type: ignore[list-item]
    # 100 draws of each chain in 1 s, 800 to go.
    assert said == ["4000 draws: about 108 s"]
