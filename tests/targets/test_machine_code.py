"""Kernels kept as machine code: they do what their Python does, and need no compiler the second time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spucc.targets.machine_code import Native, _read

SWEEPS = "spucc.targets.spins.sweeps"


def ring(n: int) -> tuple[np.ndarray, np.ndarray]:
    near = np.stack([(np.arange(n) - 1) % n, (np.arange(n) + 1) % n], axis=1)
    return 2 * np.arange(n + 1, dtype=np.int32), np.sort(near, axis=1).astype(np.int32).ravel()


def test_a_kernel_does_what_its_python_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spucc.targets.spins.sweeps import greedy_colours

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    indptr, indices = ring(7)
    found = []
    for run in (Native(SWEEPS, "greedy_colours"), greedy_colours.py_func, Native(SWEEPS, "greedy_colours")):
        colour, taken = np.full(7, -1), np.full(8, -1)
        run(np.arange(7), indptr, indices, colour, taken)
        found.append(colour)
    assert found[0].tolist() == [0, 1, 0, 1, 0, 1, 2]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    assert len(list(tmp_path.glob("*.kernel"))) == 1


def test_a_damaged_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    indptr, indices = ring(4)

    def colours() -> list[int]:
        colour, taken = np.full(4, -1), np.full(5, -1)
        Native(SWEEPS, "greedy_colours")(np.arange(4), indptr, indices, colour, taken)
        return [int(c) for c in colour]

    assert colours() == [0, 1, 0, 1]
    (file,) = tmp_path.glob("*.kernel")
    whole = file.read_bytes()
    for wrong in (whole[:-100], b"", b"{}\n" + whole, whole.replace(b"\x00", b"\x01")):
        file.write_bytes(wrong)
        assert colours() == [0, 1, 0, 1]
        assert _read(file) is not None


def test_a_second_process_needs_no_compiler(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from scipy import sparse\n"
        "from spucc.targets.spins.chains import Chains\n"
        "from spucc.targets.spins.model import spin_model\n"
        "run = Chains(spin_model(sparse.csr_array(np.ones((3, 3))), np.zeros(3)), 16, (1,))\n"
        "run.sweep(5)\n"
        "print(run.spins().sum(), 'numba' in sys.modules)\n"
    )
    said = []
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        )
        said.append(run.stdout.split())
    assert [s[1] for s in said] == ["True", "False"]
    assert said[0][0] == said[1][0]


def test_arrays_that_are_no_single_stretch_are_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        Native(SWEEPS, "greedy_colours")(np.arange(8)[::2])
