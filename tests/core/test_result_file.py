"""The file of a run: one writer at a time, room taken at once, draws once, answers with how good they are, and a program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import h5netcdf
import numpy as np
import pytest

import spucc
from spucc.backend import Chunk, Progress, Request, silent
from spucc.device import Device
from spucc.diagnostics import SpuccError
from spucc.energy import QueryKind
from spucc.running.interrupts import held_back
from spucc.running.tape import Tape
from spucc.stages import Job, Program
from spucc.targets.exact import Exact

MODEL = """
var x: real[3] ~ normal(1, 2)
var y: real ~ normal(x[0], 1)
observe y = 3
query d = sample(x)
query m = mean(x)
query c = cov(x)
query q = quantile(x, [0.1, 0.9])
query best = argmin()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    (tmp_path / "m.spu").write_text(MODEL)
    monkeypatch.setattr("spucc.running.run._STREAM_MEMORY", 1 << 14)
    return spucc.compile(tmp_path / "m.spu", target="spu8")


def _fail() -> None:
    raise RuntimeError("power cut")


class Meets:
    """The exact backend, which does something else before its first or after its second chunk."""

    name = "exact"

    def __init__(self, meets: Callable[[], None], chunk: int) -> None:
        self.meets, self.chunk = meets, chunk

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        for k, chunk in enumerate(Exact().run(job, device, request)):
            if k == self.chunk:
                self.meets()
            yield chunk


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("there", [False, True])
def test_second_run_is_refused_and_the_first_goes_on(
    program: Program, tmp_path: Path, chunk: int, there: bool
) -> None:
    """Before there is a file and after, in the same process as in another; whether or not a result is there already."""
    path = tmp_path / "a.nc"
    options = {"samples": 4000, "chains": 2, "seed": 5}
    program.run(stream=tmp_path / "whole.nc", **options)
    if there:
        program.run(samples=400, stream=path)
    refused = []

    def other() -> None:
        for resume in (False, True) if there or chunk else (False,):
            with pytest.raises(SpuccError, match="E0742"):
                program.run(samples=400, stream=path, resume=resume)
            refused.append(resume)

    program.run(stream=path, backend=Meets(other, chunk), **options)
    assert refused and path.read_bytes() == (tmp_path / "whole.nc").read_bytes()
    assert not list(tmp_path.glob(".*"))
    # Its draws may still be held by a result; its lock is not.
    kept = program.run(stream=path, resume=True, **options)
    assert program.run(stream=path, **options)["d"].shape == kept["d"].shape


def test_what_a_killed_run_left_is_taken_over(program: Program, tmp_path: Path) -> None:
    (tmp_path / ".a.nc.part").write_bytes(b"half" * 10**6)
    program.run(samples=400, stream=tmp_path / "a.nc")
    program.run(samples=400, stream=tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    (tmp_path / ".c.npz.part").write_bytes(b"half")
    program.run(samples=4).save(tmp_path / "c.npz")
    assert not list(tmp_path.glob(".*"))


def test_a_run_that_fails_before_it_draws_leaves_nothing(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"mine")
    with pytest.raises(RuntimeError):
        program.run(samples=400, stream=tmp_path / "a.nc", backend=Meets(_fail, 0))
    assert (tmp_path / "a.nc").read_bytes() == b"mine" and not list(tmp_path.glob(".*"))


def test_the_whole_room_is_taken_at_once(program: Program, tmp_path: Path) -> None:
    """What others write to the disk later cannot keep a run from going on: also what is not yet written has its blocks."""
    path = tmp_path / "a.nc"
    found = []

    def look() -> None:
        status = path.stat()
        found.append((status.st_size, 512 * status.st_blocks))

    program.run(samples=2 * 10**5, chains=2, stream=path, backend=Meets(look, 1))
    ((size, blocks),) = found[:1]
    assert size == path.stat().st_size > 2 * 10**5 * 3 * 8 and blocks >= size


def test_draws_of_one_subject_are_kept_once(tmp_path: Path) -> None:
    text = "var x: real[3] ~ normal(1, 2)\nvar y: real ~ normal(0, 1)\nquery m = quantile(x, 0.5)\nquery c = quantile(x, 0.1)\n"
    for more, kept in (("query d = sample(x)\n", set()), ("", {"m"})):
        (tmp_path / "m.spu").write_text(text + more + "query e = quantile(y, 0.9)\n")
        program = spucc.compile(tmp_path / "m.spu")
        result = program.run(samples=400, stream=tmp_path / "a.nc")
        with h5netcdf.File(tmp_path / "a.nc") as f:
            assert {"m", "c", "d", "e"} & set(f["run"].variables) == kept | {"e"}
        memory = program.run(samples=400)
        for name, value in memory.arrays().items():
            assert np.array_equal(result.arrays()[name], value), name


def test_file_that_keeps_the_draws_of_each_query_goes_on(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As files of earlier versions do."""
    options = {"samples": 4000, "chains": 2, "seed": 5}
    whole = program.run(stream=tmp_path / "whole.nc", **options)
    apart = {
        q.name: f"{'posterior' if q.kind is QueryKind.SAMPLE else 'run'}/{q.name}"
        for q in program.source.queries
    }
    with monkeypatch.context() as patch:
        patch.setattr(Tape, "_places", lambda tape: apart)
        with pytest.raises(RuntimeError):
            program.run(stream=tmp_path / "a.nc", backend=Meets(_fail, 3), **options)
    with h5netcdf.File(tmp_path / "a.nc") as f:
        assert "q" in f["run"].variables
    again = program.run(stream=tmp_path / "a.nc", resume=True, **options)
    for name, value in whole.arrays().items():
        assert np.array_equal(again.arrays()[name], value), name


@pytest.mark.parametrize("mode", ["independent", "trajectory"])
def test_answers_are_stored_with_how_good_they_are(program: Program, tmp_path: Path, mode: str) -> None:
    result = program.run(samples=2000, chains=2, mode=mode, stream=tmp_path / "a.nc")
    assert ("d.rhat" in result.arrays()) == (mode == "trajectory")
    wanted = {
        "d.ess",
        "d.autocorrelation",
        "m.error",
        "m.scheduled",
        "m.ess",
        "c.scheduled",
        "q.autocorrelation",
    }
    with h5netcdf.File(tmp_path / "a.nc") as f:
        assert wanted <= set(f["answers"].variables)
        for name, value in result.arrays().items():
            if name != "d":
                assert np.array_equal(f[f"answers/{name}"][...], value), name
        assert np.allclose(f["answers/d.autocorrelation"][...] * f["answers/d.ess"][...], 2000)
        if mode == "trajectory":
            assert (f["answers/d.autocorrelation"][...] != 1).all()
    assert ("autocorrelation" in result.table()) == (mode == "trajectory")


def test_ctrl_c_stays_ignored_where_it_is() -> None:
    """As of what a shell runs behind: a Ctrl-C there is for another program."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt), held_back():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
