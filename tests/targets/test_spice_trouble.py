"""Disks that are full and files that may not grow, while ngspice runs and while a netlist is written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import spucc
from spucc.backend import Streams
from spucc.diagnostics import SpuccError
from spucc.targets import emit_spice
from spucc.targets.ngspice import Waveforms
from spucc.targets.noise_file import write_noise
from spucc.targets.spice import load, read_draws, timing

resource = pytest.importorskip("resource")

MODEL = "var x: real[3] ~ multi_normal([5, -5, 3], [[1, 0.6, 0], [0.6, 1, 0.3], [0, 0.3, 1]])\nquery x = sample(x)\n"


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Python ignores the signal, so that writing fails with an OSError as on a full disk; ngspice dies of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def left(folder: Path) -> list[Path]:
    return [f for f in folder.rglob("*") if f.is_file()]


@pytest.mark.spice
def test_no_room_for_ngspices_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the noise does not fit; then it does, and the waveforms do not."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = spucc.compile(MODEL, target="spu8")
    sizes = []
    for size in (20_000, 150_000, 400_000, 2_000_000):
        try:
            with files_up_to(size):
                program.run(samples=200, chains=1, backend="spice")
        except SpuccError as error:
            (found,) = error.diagnostics
            assert found.code in ("E0737", "E0732") and found.help and error.exit_code == 3
            sizes.append((size, found.code, found.title))
        assert not left(tmp_path)
    assert len(sizes) == 3 and sizes[0][1] == "E0737", sizes
    assert f"{tmp_path}" in sizes[0][2]


def test_a_netlist_leaves_no_half_of_its_noise(tmp_path: Path) -> None:
    program = spucc.compile(MODEL, target="spu8")
    with files_up_to(20_000), pytest.raises(SpuccError, match="E0392"):
        emit_spice(program, tmp_path / "x.cir")
    assert not left(tmp_path)
    write_noise(tmp_path / "a", "a", Streams(1, "a"), 0, np.ones(3), 1e-7, 100)
    before = (tmp_path / "a").read_bytes()
    with files_up_to(20_000), pytest.raises(OSError):
        write_noise(tmp_path / "a", "a", Streams(2, "a"), 0, np.ones(3), 1e-7, 100_000)
    assert left(tmp_path) == [tmp_path / "a"] and (tmp_path / "a").read_bytes() == before


def test_waveforms_that_end_too_early() -> None:
    program = spucc.compile(MODEL, target="spu8")
    job = program.jobs[0]
    one = load(job.value.codes, 0, program.device, job.target, "n")
    plan = timing(one.board, job.value.schedule)
    time = plan.step * (np.arange(plan.steps(50)) + 0.96)
    waves = Waveforms(tuple(f"v({n})" for n in one.nodes), np.column_stack([time, *[0 * time] * one.board.n]))
    assert read_draws(waves, one, plan, 50).shape == (50, one.board.n)
    with pytest.raises(SpuccError, match="E0737"):
        read_draws(waves, one, plan, 500)
