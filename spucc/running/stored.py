"""What a result file says of itself, whoever wrote it: read without trust, and without reading the draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spucc.diagnostics import fail

if TYPE_CHECKING:
    from spucc.stages import Program

# What HDF5 and JSON raise for a file that is cut short, foreign or made up.
BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, RecursionError, IndexError)


@dataclass(frozen=True, eq=False)
class Stored:
    """A netCDF result: where it comes from; `done` of `draws` draws of each of `chains` chains; whether its run came to the
    end; shape and type of its `arrays` by path, of draws as many as are done; the names of `samples` queries; whether a run
    can go on from it; and the container of the program that was run, empty where it is not held."""

    path: Path
    provenance: dict[str, Any]
    chains: int
    done: int
    draws: int
    finished: bool
    arrays: dict[str, tuple[tuple[int, ...], str]]
    samples: tuple[str, ...]
    resumable: bool
    program: bytes = field(default=b"", repr=False)

    def read_program(self) -> Program | None:
        """The compiled program that was run, if the file holds it. Read as a `.spuc` file is, and as safely; raises what
        that does."""
        if not self.program:
            return None
        from spucc.ir import read_program

        return read_program(self.program, f"{self.path}/program")

    @property
    def how_far(self) -> str:
        """Empty for a finished run; else how far it got, and the way on."""
        if self.finished:
            return ""
        if not self.resumable:
            return f"unfinished: {self.done:,} draws a chain were taken when it was interrupted"
        return (
            f"unfinished: {self.done:,} of {self.draws:,} draws a chain; "
            f"`spucc run … -o {self.path} --resume` goes on"
        )


def stored(path: Path) -> Stored:
    """What a netCDF result holds. Raises E0616 for a file that is none, or is cut short."""
    with opened(path) as root:
        provenance = json.loads(str(root.attrs["provenance"]))
        finished = bool(provenance.get("complete", True))
        chains = max(int(provenance.get("chains", 1)), 1)
        posterior = root.groups["posterior"].variables if "posterior" in root.groups else {}
        run = root.groups["run"].variables if "run" in root.groups else {}
        samples = tuple(n for n, v in posterior.items() if v.dimensions[:2] == ("chain", "draw"))
        draws = min(
            (posterior[n].shape[1] for n in samples), default=int(provenance.get("samples", 0)) // chains
        )
        done = draws
        if "progress" in run:
            done, _, ended = (int(n) for n in run["progress"][:3])
            done, finished = min(max(done, 0), draws), bool(ended)
        arrays = {}
        for group in root.groups.values():
            for name, v in group.variables.items():
                if name not in group.dimensions:
                    shape = tuple(v.shape)
                    if v.dimensions[:2] == ("chain", "draw"):
                        shape = (shape[0], done, *shape[2:])
                    arrays[f"{group.name.strip('/')}/{name}"] = shape, str(v.dtype)
        program = b""
        if "program" in run and run["program"].dtype == np.uint8 and run["program"].shape[0] <= PROGRAM_BYTES:
            program = np.asarray(run["program"][...]).tobytes()
    return Stored(
        path, provenance, chains, done, draws, finished, arrays, samples, "progress" in run, program
    )


def packed(program: Program) -> bytes:
    """A program, to go with its draws; empty for one of more than `PROGRAM_BYTES`."""
    from spucc.ir import pack_program

    found = pack_program(program)
    return found if len(found) <= PROGRAM_BYTES else b""


PROGRAM_BYTES = 64 << 20
"""A program whose container is larger is not kept with its draws."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The root of a netCDF file. Raises E0616 for whatever goes wrong with it until the block ends."""
    import h5netcdf

    if not path.is_file():
        fail("E0616", f"cannot read `{path}`: there is no such file")
    try:
        with open(path, "rb"):
            pass
        with h5netcdf.File(path, "r") as root:
            yield root
    except PermissionError:
        fail("E0616", f"cannot read `{path}`: you may not")
    except BROKEN:
        fail(
            "E0616",
            f"cannot read `{path}`: it is no result of spucc, or is cut short",
            help="`spucc run … -o result.nc` writes one",
        )
