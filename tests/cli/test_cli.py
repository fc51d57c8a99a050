"""The command line as a user meets it: exit codes, what is printed, what is written, what a mistake gets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCHOOLS = [
    str(ROOT / "examples" / "eight_schools_spu8.spu"),
    "--data",
    str(ROOT / "examples" / "eight_schools.json"),
]


def spucc(*args: str, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spucc", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=stdin,
        check=False,
    )


def test_alone_it_says_what_to_do() -> None:
    run = spucc()
    assert run.returncode == 0
    assert "spucc run model.spu" in run.stdout
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["rum"], 2, "did you mean `run`"),
        (["run", "nothing.spu"], 1, "nothing.spu"),
        (["run", *SCHOOLS, "--target", "spu9"], 3, "spu8"),
        (["run", *SCHOOLS, "-o", "x.txt"], 2, ".npz"),
        (["run", *SCHOOLS, "--samples", "0"], 2, "E0594"),
        (["run", *SCHOOLS, "--chains", "-1"], 2, "E0594"),
        (["run", *SCHOOLS, "--samples", "many"], 2, "many"),
        (["run", *SCHOOLS, "-n", "100", "--chains", "200"], 2, "too few for 200 chains"),
        (["run", *SCHOOLS, "--rel-error", "2"], 2, "E0746"),
        (["run", *SCHOOLS, "--rel-error", "0.05", "--max-samples", "0"], 2, "E0594"),
        (["run", *SCHOOLS, "--mode", "trajectory", "--interval", "0"], 2, "leave --interval out"),
        (["verify", *SCHOOLS, "--false-alarm", "0"], 2, "E0741"),
        (["run", *SCHOOLS, "-n", "100", "--chains", "7", "-q"], 0, "105 draws rather than 100"),
        (["compile", *SCHOOLS, "-p", "condition,splat"], 1, "did you mean `split`"),
        (["compile", *SCHOOLS, "-p", "quantize"], 1, "E0601"),
        (["compile", *SCHOOLS, "-p", "condition{x=1}"], 1, "E0603"),
        (["compile", *SCHOOLS, "-p", "split{most=few}"], 1, "E0604"),
        (["compile", *SCHOOLS, "--emit", "placd"], 2, "placed"),
        (["compile", *SCHOOLS, "--target", "spu8", "--tolerance", "1e-12"], 3, "E0592"),
        (["explain", "E9999"], 2, "E9999"),
        (["explain", "E0203"], 0, "# E0203"),
        (["inspect", "nothing.spuc"], 1, "nothing.spuc"),
    ],
)
def test_every_outcome_has_its_exit_code_and_its_words(args: list[str], code: int, text: str) -> None:
    run = spucc(*args)
    assert run.returncode == code, run.stderr
    assert text in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert "E0600" not in run.stderr


def test_all_mistakes_are_reported_in_one_go(tmp_path: Path) -> None:
    program = tmp_path / "bad.spu"
    program.write_text("var x: real[3]\nx ~ normal(0, sgima)\ny ~ normal(0, 1)\nquery m = meen(x)\n")
    run = spucc("check", str(program))
    assert run.returncode == 1
    for line in (2, 3, 4):
        assert f"bad.spu:{line}:" in run.stderr
    assert "3 errors" in run.stderr
    found = json.loads(spucc("check", str(program), "--diagnostics", "json").stdout)
    assert sorted(d["span"]["line"] for d in found) == [2, 3, 4]


def test_fmt_in_place_and_through_a_pipe(tmp_path: Path) -> None:
    program = tmp_path / "m.spu"
    program.write_text("var x:real[ 2 ]~normal( 0,1 )# a\n")
    assert spucc("fmt", "--check", str(program)).returncode == 1
    assert spucc("fmt", str(program)).returncode == 0
    assert program.read_text() == "var x: real[2] ~ normal(0, 1)  # a\n"
    assert spucc("fmt", "--check", str(program)).returncode == 0
    assert spucc("fmt", "-", stdin="let  a=1\n").stdout == "let a = 1\n"


@pytest.mark.parametrize("ending", ["npz", "json", "nc"])
def test_results_on_disk(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"r.{ending}"
    run = spucc("run", *SCHOOLS, "--target", "spu8", "-n", "400", "--seed", "5", "-o", str(out), "-q")
    assert run.returncode == 0, run.stderr
    assert os.listdir(tmp_path) == [out.name], "nothing else is left behind"
    if ending == "npz":
        with np.load(out, allow_pickle=False) as content:
            assert content["draws"].shape == (400, 8)
            assert content["spread"].shape == (8, 8)
            provenance = json.loads(str(content["provenance"]))
            np.testing.assert_allclose(content["effect"], content["draws"].mean(axis=0))
    elif ending == "json":
        document = json.loads(out.read_text())
        assert np.shape(document["answers"]["draws"]["value"]) == (400, 8)
        provenance = document["provenance"]
    else:
        import h5netcdf

        with h5netcdf.File(out, "r") as root:
            assert root["posterior"].variables["draws"].shape == (4, 100, 8)
            provenance = json.loads(root.attrs["provenance"])
    for key in ("program_digest", "data_digest", "target", "seed", "versions"):
        assert provenance[key] not in ("", None)
    assert provenance["seed"] == 5
    assert "draws" in spucc("inspect", str(out)).stdout


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        for ending in ("npz", "json"):
            spucc(
                "run",
                *SCHOOLS,
                "--target",
                "spu8",
                "-n",
                "100",
                "--seed",
                seed,
                "-o",
                f"{name}.{ending}",
                cwd=tmp_path,
            )
    for ending in ("npz", "json"):
        a, b, c = ((tmp_path / f"{n}.{ending}").read_bytes() for n in "abc")
        assert a == b != c


def test_compiled_programs_are_the_same_bytes_and_run_the_same(tmp_path: Path) -> None:
    for name in "ab":
        assert (
            spucc("compile", *SCHOOLS, "--target", "spu8", "-o", f"{name}.spuc", cwd=tmp_path).returncode == 0
        )
    assert (tmp_path / "a.spuc").read_bytes() == (tmp_path / "b.spuc").read_bytes()
    spucc("run", "a.spuc", "-n", "100", "--seed", "1", "-o", "from_spuc.npz", "-q", cwd=tmp_path)
    spucc(
        "run",
        *SCHOOLS,
        "--target",
        "spu8",
        "-n",
        "100",
        "--seed",
        "1",
        "-o",
        "direct.npz",
        "-q",
        cwd=tmp_path,
    )
    with np.load(tmp_path / "from_spuc.npz") as a, np.load(tmp_path / "direct.npz") as b:
        np.testing.assert_array_equal(a["draws"], b["draws"])


def test_a_compiled_program_cannot_be_aimed_elsewhere(tmp_path: Path) -> None:
    assert spucc("compile", *SCHOOLS, "--target", "spu8", "-o", "a.spuc", cwd=tmp_path).returncode == 0
    for option in (("--target", "king-8x8"), ("--data", "tau=1"), ("--bits", "4")):
        run = spucc("run", "a.spuc", *option, cwd=tmp_path)
        assert run.returncode == 2
        assert "compiled already, for spu8" in run.stderr
    assert spucc("run", "a.spuc", "--target", "spu8", "-n", "10", cwd=tmp_path).returncode == 0


def test_resuming_from_a_printed_stage_gives_the_same_program(tmp_path: Path) -> None:
    assert spucc("compile", *SCHOOLS, "--target", "spu8", "-o", "whole.spuc", cwd=tmp_path).returncode == 0
    for stop in ("split", "realise", "place", "fit", "quantize"):
        first = spucc(
            "compile", *SCHOOLS, "--target", "spu8", "--stop-after", stop, "-o", "part.spuc", cwd=tmp_path
        )
        assert first.returncode == 0, first.stderr
        rest = spucc("compile", SCHOOLS[0], "--start-from", "part.spuc", "-o", "rest.spuc", cwd=tmp_path)
        assert rest.returncode == 0, rest.stderr
        assert (tmp_path / "rest.spuc").read_bytes() == (tmp_path / "whole.spuc").read_bytes(), stop


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "missing" / "r.npz"
    run = spucc("run", *SCHOOLS, "-n", "10", "-o", str(out))
    assert run.returncode == 1
    assert "E0392" in run.stderr


def test_a_run_that_would_not_fit_memory_is_refused_before_it_starts() -> None:
    run = spucc("run", *SCHOOLS, "-n", "4000000000")
    assert run.returncode == 3
    assert "E0593" in run.stderr


def test_an_interrupted_run_keeps_its_draws(tmp_path: Path) -> None:
    """Ctrl-C in the midst of many draws: exit 130, the draws so far are in the file, and it says so."""
    program = tmp_path / "long.spu"
    program.write_text(
        "var x: real[300]\nx[1:] ~ normal(x[:-1], 1)\nx[0] ~ normal(0, 1)\nquery m = mean(x)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "spucc", "run", str(program), "-n", "40000000", "-o", str(tmp_path / "r.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    # How long it will take is said once the first draws are there.
    said = process.stderr.readline()
    assert "40000000 draws: about" in said
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "kept the" in errors
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["complete"] is False
    assert 0 < document["provenance"]["samples"] < 40_000_000
    np.testing.assert_allclose(
        document["answers"]["m"]["value"], 0, atol=5 * 18 / np.sqrt(document["provenance"]["samples"])
    )


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m spucc targets | head -n 1"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert run.stderr == ""
