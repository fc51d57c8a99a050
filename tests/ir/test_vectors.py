"""Files that every implementation of `docs/ir.md` has to read and print to the same bytes.

`python -m tests.ir.test_vectors` from the root of the repository writes them anew after a change of the format, which is a
change of its version.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from spucc.ir import identical, pack_program, pack_state, print_program, print_state, read_any
from spucc.ir.text import MAGIC, VERSION
from spucc.stages import Program, State

from . import build

FOLDER = Path(__file__).parent / "vectors"


def vectors() -> dict[str, State | Program]:
    found: dict[str, State | Program] = {f"chain-{stage}": state for stage, state in build.states().items()}
    names = ("everything-energy", "empty-energy", "ensemble-quantized", "spins-couplings", "loop-program")
    return {**found, "chain-complete": build.program(), **dict(zip(names, build.rich(), strict=True))}


def printed(value: State | Program) -> bytes:
    return (print_program(value) if isinstance(value, Program) else print_state(value)).encode()


def packed(value: State | Program) -> bytes:
    """With a low limit, so that small vectors have arrays of their own."""
    return pack_program(value, 8) if isinstance(value, Program) else pack_state(value, 8)


@pytest.mark.parametrize("name", vectors())
def test_vector(name: str) -> None:
    text, container = (FOLDER / f"{name}.txt").read_bytes(), (FOLDER / f"{name}.spuc").read_bytes()
    value = read_any(text)
    assert printed(value) == text
    assert packed(read_any(container)) == container
    assert identical(value, read_any(container))
    assert identical(value, vectors()[name]), "the vector is not what tests/ir/build.py builds"


def test_there_are_no_other_vectors() -> None:
    names = {f"{name}.{kind}" for name in vectors() for kind in ("txt", "spuc")}
    assert {f.name for f in FOLDER.iterdir()} == names


def test_the_version_stands_in_every_vector() -> None:
    for file in FOLDER.glob("*.txt"):
        assert file.read_bytes().startswith(f"{MAGIC} {VERSION} ".encode())


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, value in vectors().items():
        (FOLDER / f"{name}.txt").write_bytes(printed(value))
        (FOLDER / f"{name}.spuc").write_bytes(packed(value))


if __name__ == "__main__":
    write()
