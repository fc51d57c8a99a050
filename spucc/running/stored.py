"""What a result file says of itself, whoever wrote it: read without trust, and without reading the draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.diagnostics import fail

if TYPE_CHECKING:
    from spucc.stages import Program

# What HDF5 and JSON raise for a file that is cut short, foreign or made up.
BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, RecursionError, IndexError)


@dataclass(frozen=True, eq=False)
class Stored:
    """A netCDF result: where it comes from; `done` of `draws` draws of each chain; whether its run came to the end; shape
    and type of its arrays by path, of draws as many as are done; the answers of one query each under `figures`."""

    path: Path
    provenance: dict[str, Any]
    done: int
    draws: int
    finished: bool
    arrays: dict[str, tuple[tuple[int, ...], str]]
    samples: tuple[str, ...]
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
        return (
            f"unfinished: {self.done:,} of {self.draws:,} draws a chain; "
            f"`spucc run … -o {self.path} --resume` goes on"
        )


def stored(path: Path) -> Stored:
    """What a netCDF result holds. Raises E0616 for a file that is none, or is cut short."""
    with opened(path) as root:
        provenance = json.loads(str(root.attrs["provenance"]))
        if not isinstance(provenance, dict):
            raise ValueError
        run = root.groups.get("run")
        posterior = root.groups.get("posterior")
        samples = tuple(
            name
            for name, v in (posterior.variables.items() if posterior is not None else ())
            if v.dimensions[:2] == ("chain", "draw")
        )
        most = (
            min((posterior.variables[n].shape[1] for n in samples), default=0) if posterior is not None else 0
        )
        done, finished = most, bool(provenance.get("complete", True))
        if run is not None and "progress" in run.variables:
            progress = np.asarray(run.variables["progress"][:3])
            done, finished = int(progress[0]), bool(progress[2])
        chains = max(int(provenance.get("chains", 1)), 1)
        draws = most or max(int(provenance.get("samples", 0)) // chains, done)
        done = min(max(done, 0), draws)
        arrays = {}
        for group in root.groups.values():
            for name, v in group.variables.items():
                if name in group.dimensions:
                    continue
                shape = tuple(v.shape)
                if group is posterior and name in samples:
                    shape = (shape[0], done, *shape[2:])
                arrays[f"{group.name.strip('/')}/{name}"] = shape, str(v.dtype)
        program = b""
        if run is not None and "program" in run.variables:
            held = run.variables["program"]
            if len(held.shape) == 1 and held.shape[0] <= PROGRAM_BYTES and held.dtype == np.uint8:
                program = np.asarray(held[:]).tobytes()
    return Stored(path, provenance, done, draws, finished, arrays, samples, program)


PROGRAM_BYTES = 64 << 20
"""A program whose container is larger is not kept with its draws."""


def stored_array(path: Path, name: str, draws: int | None = None) -> FloatArray:
    """An array by its path in a netCDF result; of draws, the first so many of each chain. Raises E0616."""
    with opened(path) as root:
        variable = root[name]
        return np.asarray(variable[...] if draws is None else variable[:, :draws], dtype=np.float64)


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
