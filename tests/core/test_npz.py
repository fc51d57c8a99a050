"""Files that promise more than they hold, or hold what must not be read, are refused before memory is taken."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spucc.npz import load_npz


def test_arrays_come_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(6).reshape(2, 3), y=np.float64(2))
    found = load_npz(tmp_path / "a.npz")
    assert found["x"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["y"] == 2


def test_a_forged_shape_a_bomb_and_objects_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "forged.npz", "w") as z:
        z.writestr("x.npy", out.getvalue())
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(10**6))
    # Writing an object array is the attack that reading refuses.
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="promises more"):
        load_npz(tmp_path / "forged.npz")
    with pytest.raises(ValueError, match="unpacks to"):
        load_npz(tmp_path / "bomb.npz", most=10**6)
    with pytest.raises(ValueError, match="Python objects"):
        load_npz(tmp_path / "objects.npz")
