"""Draws stream to a file; a stopped run goes on from it and ends with the same bytes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
from click.testing import CliRunner

import spucc
from spucc.backend import Chunk, Progress, Request, silent
from spucc.cli import cli
from spucc.device import Device
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Query, QueryKind, identity_form, layout
from spucc.running import draws_file
from spucc.running import run as running
from spucc.running.estimates import Estimate
from spucc.running.taker import Plan
from spucc.running.tape import Tape
from spucc.stages import Job, Program
from spucc.targets.exact import Exact

_spec = importlib.util.spec_from_file_location("program_zoo", Path(__file__).with_name("program_zoo.py"))
assert _spec is not None and _spec.loader is not None
zoo = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(zoo)

MODEL = """
var x: real[3] ~ normal(1, 2)
var y: real ~ normal(x[0], 1)
observe y = 3
query d = sample(x)
query m = mean(x)
query c = cov(x)
query q = quantile(x, [0.1, 0.9])
query best = argmin()
query r = corr(x)
"""

Memory = 1 << 14


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    (tmp_path / "m.spu").write_text(MODEL)
    monkeypatch.setattr(running, "_STREAM_MEMORY", Memory)
    return spucc.compile(tmp_path / "m.spu", target="spu8")


class Dies:
    """The exact backend until a number of chunks is out."""

    name = "exact"

    def __init__(self, after: int) -> None:
        self.left = after

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        for chunk in Exact().run(job, device, request):
            if self.left == 0:
                raise RuntimeError("power cut")
            self.left -= 1
            yield chunk


@pytest.mark.parametrize("mode", ["independent", "trajectory"])
@pytest.mark.parametrize("after", [1, 4])
def test_stopped_run_goes_on_to_the_same_bytes(
    program: Program, tmp_path: Path, mode: str, after: int
) -> None:
    whole, cut = tmp_path / "whole.nc", tmp_path / "cut.nc"
    options = {"samples": 4000, "chains": 2, "seed": -3, "mode": mode}
    first = program.run(stream=whole, **options)
    with pytest.raises(RuntimeError):
        program.run(stream=cut, backend=Dies(after * len(program.jobs)), **options)
    with h5netcdf.File(cut) as f:
        done = int(f["run/progress"][0])
        assert 0 < done < 2000 and np.isfinite(f["posterior/d"][:, :done]).all()
        assert np.isnan(f["posterior/d"][:, -1]).all()
    second = program.run(stream=cut, resume=True, **options)
    assert whole.read_bytes() == cut.read_bytes()
    for name in first:
        assert np.array_equal(first[name], second[name])


UNEQUAL = """
var x: real[3] ~ normal(1, 2)
var y: real ~ normal(x[0] + x[1], 1)
query d = sample(x)
query m = mean(y)
query c = cov(x)
"""


@pytest.mark.parametrize("after", [0, 1, 2, 5, 8])
def test_jobs_whose_chunks_differ_in_length_go_on_from_their_states(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x[2] stands alone and comes in longer chunks than the others. After 0 chunks there is a file of no draws; the jobs of the
    later ones are stopped one by one. Sums are carried, for nothing but `d` is kept."""
    monkeypatch.setattr(running, "_STREAM_MEMORY", 1 << 15)
    (tmp_path / "m.spu").write_text(UNEQUAL)
    program = spucc.compile(tmp_path / "m.spu", target="spu8")
    assert len({job.target.n for job in program.jobs}) > 1
    whole, cut = tmp_path / "whole.nc", tmp_path / "cut.nc"
    options = {"samples": 6000, "chains": 2, "seed": 9, "mode": "trajectory"}
    program.run(stream=whole, **options)
    marked = Tape.mark

    def dies(tape: Tape, seen: int, states: object) -> None:
        if dies.left == 0:  # type: ignore[attr-defined]
            raise RuntimeError("power cut")
        dies.left -= 1  # type: ignore[attr-defined]
        marked(tape, seen, states)  # type: ignore[arg-type]

    dies.left = after  # type: ignore[attr-defined]
    monkeypatch.setattr(Tape, "mark", dies)
    with pytest.raises(RuntimeError):
        program.run(stream=cut, **options)
    monkeypatch.setattr(Tape, "mark", marked)
    with h5netcdf.File(cut) as f:
        assert (f["run/progress"][0] == 0) == (after == 0) and f["run/progress"][2] == 0
    program.run(stream=cut, resume=True, **options)
    assert whole.read_bytes() == cut.read_bytes()


def test_file_holds_what_the_run_in_memory_gives(program: Program, tmp_path: Path) -> None:
    result = program.run(samples=1000, chains=2, seed=4)
    program.run(samples=1000, chains=2, seed=4, stream=tmp_path / "a.nc")
    with h5netcdf.File(tmp_path / "a.nc") as f:
        assert list(f["run/progress"][:][[0, 2]]) == [500, 1]
        assert np.array_equal(f["posterior/d"][:].reshape(-1, 3), result["d"])
        for name, value in result.arrays().items():
            if name != "d":
                assert np.allclose(f[f"answers/{name}"][...], value, rtol=1e-12, atol=0), name


def test_sums_are_taken_up(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where draws are too many to keep, sums are carried on: the same bytes too."""
    options = {"samples": 4000, "chains": 2, "seed": 1}
    program.run(stream=tmp_path / "a.nc", **options)
    with pytest.raises(RuntimeError):
        program.run(stream=tmp_path / "b.nc", backend=Dies(3 * len(program.jobs)), **options)
    program.run(stream=tmp_path / "b.nc", resume=True, **options)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


@pytest.mark.parametrize("shift", [0.0, 1e8])
def test_moments_of_a_mean_far_from_zero(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mean of 1e8 standard deviations, in chunks, stopped and taken up: the moments of numpy, which holds all draws."""
    x = (
        np.random.default_rng(7).normal(size=(2, 3000, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 2.0]])
        + shift
    )
    form = identity_form(layout([("x", (3,), Domain.REAL, None)])[0], 3)
    flat = x.reshape(-1, 3)
    want = {
        QueryKind.MEAN: flat.mean(axis=0),
        QueryKind.STD: flat.std(axis=0, ddof=1),
        QueryKind.VAR: flat.var(axis=0, ddof=1),
        QueryKind.COV: np.cov(flat.T),
    }
    for kind, value in want.items():
        estimates = [
            Estimate(Query("q", kind, form), [form.matrix], np.zeros(3), 2, 3000, True) for _ in range(2)
        ]
        for e in estimates:
            e.prepare()
        for start in range(0, 1000, 250):
            estimates[0].add([x[:, start : start + 250]])
        estimates[1].restore(estimates[0].sums(), estimates[0].seen)
        for start in range(1000, 3000, 250):
            estimates[1].add([x[:, start : start + 250]])
        # what doubles of size 1e8 hold of a standard deviation of 1
        np.testing.assert_allclose(estimates[1].answer().value, value, rtol=1e-6, atol=1e-6)


def test_finished_run_resumes_to_itself(program: Program, tmp_path: Path) -> None:
    first = program.run(samples=400, stream=tmp_path / "a.nc")
    before = (tmp_path / "a.nc").read_bytes()
    again = program.run(samples=400, stream=tmp_path / "a.nc", resume=True)
    assert np.array_equal(first["d"], again["d"]) and before == (tmp_path / "a.nc").read_bytes()


def test_ctrl_c_keeps_the_draws(program: Program, tmp_path: Path) -> None:
    count = iter(range(100))
    result = program.run(samples=4000, chains=2, stream=tmp_path / "a.nc", stopped=lambda: next(count) == 1)
    assert not result.complete and 0 < result["d"].shape[0] < 4000
    whole = program.run(samples=4000, chains=2, stream=tmp_path / "b.nc")
    assert np.array_equal(result["d"][: result["d"].shape[0] // 2], whole["d"][: result["d"].shape[0] // 2])
    program.run(samples=4000, chains=2, stream=tmp_path / "a.nc", resume=True)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_jobs_with_chunks_of_unlike_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_STREAM_MEMORY", Memory)
    (tmp_path / "m.spu").write_text(
        "var x: real[20] ~ normal(0, 1)\nvar y: real[6] ~ normal(0, 1)\nvar t: real ~ normal(sum(y), 1)\n"
        "query a = sample(x)\nquery b = sample(y)\nquery c = sample(t)\n"
    )
    program = spucc.compile(tmp_path / "m.spu")
    assert len(program.jobs) > 1
    options = {"samples": 3000, "chains": 2, "mode": "independent"}
    program.run(stream=tmp_path / "a.nc", **options)
    with pytest.raises(RuntimeError):
        program.run(stream=tmp_path / "b.nc", backend=Dies(len(program.jobs) + 3), **options)
    program.run(stream=tmp_path / "b.nc", resume=True, **options)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_kill_nine_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    zoo.ZOO["plain"]().save(tmp_path / "p.spuc")
    script = textwrap.dedent(
        f"""
        import os, signal
        from spucc.running import run as running
        from spucc.ir import read_program
        from spucc.targets.exact import Exact
        running._STREAM_MEMORY = {Memory}
        class Kills:
            name = "exact"
            def run(self, job, device, request, progress=None):
                for k, chunk in enumerate(Exact().run(job, device, request)):
                    if k == 4:
                        os.kill(os.getpid(), signal.SIGKILL)
                    yield chunk
        read_program("p.spuc").run(samples=4000, chains=2, seed=9, backend=Kills(), stream="cut.nc")
        """
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL
    with h5netcdf.File(tmp_path / "cut.nc") as f:
        n = int(f["run/progress"][0])
        assert 0 < n < 2000 and np.isfinite(f["posterior/x"][:, :n]).all()
    runner = CliRunner()
    common = [str(tmp_path / "p.spuc"), "-n", "4000", "--chains", "2", "--seed", "9", "-q", "-o"]
    out = runner.invoke(cli, ["run", *common, str(tmp_path / "cut.nc"), "--resume"])
    assert out.exit_code == 0, out.output
    assert runner.invoke(cli, ["run", *common, str(tmp_path / "whole.nc")]).exit_code == 0
    with h5netcdf.File(tmp_path / "cut.nc") as a, h5netcdf.File(tmp_path / "whole.nc") as b:
        assert np.array_equal(a["posterior/x"][:], b["posterior/x"][:])


def test_file_of_another_run_is_refused(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    program.run(samples=400, seed=1, stream=path)
    for options in (
        {"samples": 800, "seed": 1},
        {"samples": 400, "seed": 2},
        {"samples": 400, "seed": 1, "mode": "trajectory"},
    ):
        with pytest.raises(SpuccError, match="E0744"):
            program.run(stream=path, resume=True, **options)
    with pytest.raises(SpuccError, match="E0745"):
        program.run(samples=400, stream=tmp_path / "none.nc", resume=True)
    with pytest.raises(SpuccError, match="E0745"):
        program.run(samples=400, resume=True)
    path.write_bytes(b"not a file of ours")
    with pytest.raises(SpuccError, match="E0745"):
        program.run(samples=400, seed=1, stream=path, resume=True)


def test_file_in_use_is_refused(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    program.run(samples=400, stream=path)
    code = (
        "import fcntl, sys\nf = open(sys.argv[1], 'rb+')\nfcntl.lockf(f, fcntl.LOCK_EX)\n"
        "print('on', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "on\n"
        for resume in (True, False):
            with pytest.raises(SpuccError, match="E0742"):
                program.run(samples=400, stream=path, resume=resume)
        other.communicate("")


def test_no_room_is_said_before_anything_is_drawn(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.spu").write_text("var x: real[3] ~ normal(1, 2)\nquery d = sample(x)\n")
    program = spucc.compile(tmp_path / "m.spu")
    with pytest.raises(SpuccError, match="E0743"):
        program.run(samples=10**13, stream=tmp_path / "a.nc")
    assert not list(tmp_path.glob("*.nc")) and not list(tmp_path.glob(".*.part"))
    with pytest.raises(SpuccError, match="E0593"):
        program.run(samples=10**9)
    for samples in (0, -1):
        with pytest.raises(SpuccError, match="E0594"):
            program.run(samples=samples, stream=tmp_path / "a.nc")
    with pytest.raises(SpuccError, match="E0392"):
        program.run(samples=10, stream=tmp_path / "none" / "a.nc")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(draws_file, "_reserve", full)
    with pytest.raises(SpuccError, match="E0743"):
        program.run(samples=10, stream=tmp_path / "a.nc")
    assert not list(tmp_path.glob("*.nc")) and not list(tmp_path.glob(".*.part"))


def test_a_limit_on_the_size_of_files_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    code = """if True:
        import resource, sys, spucc
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        program = spucc.compile("var x: real[3] ~ normal(1, 2)\\nquery d = sample(x)")
        try:
            program.run(samples=100_000, stream=sys.argv[1])
        except spucc.SpuccError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.nc")], capture_output=True, text=True, check=True
    )
    assert "E0743" in done.stdout and "a file of this user" in done.stdout and not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [0, -1, 2**70, -(2**70)])
def test_any_integer_is_a_seed(program: Program, seed: int) -> None:
    assert np.array_equal(program.run(samples=8, seed=seed)["d"], program.run(samples=8, seed=seed)["d"])


def test_long_runs_are_announced(program: Program) -> None:
    said = running.forecast(Plan(10**6, 4), 0, 1000.0, 5 << 30)
    assert said == "4000000 draws: about 1000 s and 5 GiB on the disk"
    assert running.forecast(Plan(10**6, 4), 0, 10.0, 0) == ""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_draws(tmp_path: Path) -> None:
    """Ten times the draws, 320 MB of them, take at most 60 MB more memory; their quantiles and their table too."""
    (tmp_path / "m.spu").write_text(
        "var x: real[8] ~ normal(0, 1)\nquery d = sample(x)\nquery c = cov(x)\nquery q = quantile(x, [0.1, 0.5])\n"
    )
    code = (
        "import resource, sys, spucc\n"
        "spucc.compile('m.spu').run(samples=int(sys.argv[1]), stream='a.nc').table()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peak = []
    for samples in (500_000, 5_000_000):
        done = subprocess.run(
            [sys.executable, "-c", code, str(samples)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        peak.append(int(done.stdout) / 1024)
    assert peak[1] < peak[0] + 60
