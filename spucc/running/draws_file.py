"""A result file that grows while a run goes on, so that draws need no memory and a stopped run can be taken up again.

The file is netCDF-4 in ArviZ's schema (decision 004). Its whole structure is written once, with NaN where draws will be, and
put in place whole; from then on only numbers inside it are overwritten, never its structure. So a run that is killed at
any moment leaves a file that any netCDF reader opens. `run/progress` says how far it got: draws of each chain that are
done, which of the two slots of `run/state…` and `run/sum…` goes with them, and 1 once the answers are written. What
a checkpoint needs is written to the other slot first and to `progress` last.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.diagnostics import fail

_FILL = 1 << 20
# What a file holds beside its arrays, at most.
_STRUCTURE = 1 << 16


@dataclass(frozen=True)
class Layout:
    """What a file holds: draws [chains, draws, *shape] of each sample query, draws kept for other answers, the answers,
    sums that are carried along, and the state of each job."""

    chains: int
    draws: int
    samples: tuple[tuple[str, tuple[int, ...]], ...]
    kept: tuple[tuple[str, int], ...]
    answers: tuple[tuple[str, tuple[int, ...]], ...]
    sums: tuple[tuple[str, int], ...]
    states: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def bytes(self) -> int:
        """The size of all arrays together."""
        rows = self.chains * self.draws
        count = sum(rows * int(np.prod(shape, dtype=np.int64)) for _, shape in self.samples)
        count += sum(rows * size for _, size in self.kept)
        count += sum(int(np.prod(shape, dtype=np.int64)) for _, shape in self.answers)
        count += 2 * sum(n for _, n in self.sums)
        count += 2 * sum(int(np.prod(shape, dtype=np.int64)) for _, shape in self.states)
        return 8 * count


class DrawsFile:
    """An open result file; `close` it. `array` gives its arrays, mapped, as they lie on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[str, np.memmap[Any, Any]] = {}
        try:
            self._lock = open(path, "rb+")  # noqa: SIM115
        except OSError as error:
            fail(
                "E0392",
                f"cannot write `{path}`: {error.strerror or error}",
                help="choose another place with -o",
            )
        self._map()
        # After the mapping: such a lock goes when the process closes any handle of the file. HDF5's own locks are of the
        # other kind, so that readers can look on while the run goes.
        _lock(self._lock, path)

    @property
    def done(self) -> int:
        """Draws of each chain that are in the file."""
        return int(self.array("run/progress")[0])

    @property
    def finished(self) -> bool:
        """Whether the answers are written."""
        return bool(self.array("run/progress")[2])

    def array(self, name: str) -> NDArray[Any]:
        """An array by its path in the file; of none where it has no entries."""
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def checkpoint(
        self,
        done: int,
        sums: Mapping[str, FloatArray],
        states: Mapping[str, FloatArray],
        finished: bool = False,
    ) -> None:
        """Make everything so far safe: draws, then sums and states in the free slot, then the progress."""
        progress = self._arrays["run/progress"]
        slot = 1 - int(progress[1])
        for name, value in (*sums.items(), *states.items()):
            if f"run/{name}" in self._arrays:
                self._arrays[f"run/{name}"][slot] = value
        for name, array in self._arrays.items():
            if name != "run/progress":
                array.flush()
                # The pages are on their way to the disk; they need not stay in memory.
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
        progress[:] = done, slot, finished
        progress.flush()

    def restored(self, name: str) -> FloatArray | None:
        """The sum or state `name` of the last checkpoint; None where nothing is kept under it."""
        if f"run/{name}" not in self._arrays:
            return None
        slot = int(self.array("run/progress")[1])
        return np.array(self._arrays[f"run/{name}"][slot], dtype=np.float64)

    def close(self) -> None:
        for array in self._arrays.values():
            array.flush()
        self._arrays.clear()
        self._lock.close()

    def _map(self) -> None:
        import h5py

        try:
            with h5py.File(self.path, "r") as f:
                places: dict[str, tuple[int, tuple[int, ...], Any]] = {}

                def visit(name: str, item: Any) -> None:
                    if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
                        places[name] = item.id.get_offset(), item.shape, item.dtype

                f.visititems(visit)
        except (OSError, RuntimeError, KeyError):
            self._lock.close()
            fail("E0745", f"`{self.path}` is not a result file of spucc that could be gone on with")
        if "run/progress" not in places:
            self._lock.close()
            fail(
                "E0745",
                f"`{self.path}` does not say how far its run got, so the run cannot go on",
                help="files that `spucc run -o FILE.nc` wrote can be resumed",
            )
        for name, (offset, shape, dtype) in places.items():
            self._arrays[name] = np.memmap(self.path, dtype, "r+", offset, shape)


def create(path: Path, layout: Layout, provenance: Mapping[str, Any]) -> DrawsFile:
    """A new file with everything that `layout` names, NaN where numbers will be, put in place whole.

    Raises E0743 where the disk has no room, E0392 where the file cannot be written, E0742 where another run writes to it.
    """
    room(path, layout.bytes)
    if path.exists():
        # Another run may be writing to the file that is there.
        try:
            with open(path, "rb+") as old:
                _lock(old, path)
        except OSError as error:
            fail(
                "E0392",
                f"cannot write `{path}`: {error.strerror or error}",
                help="choose another place with -o",
            )
    part = path.with_name(f".{path.name}.part")
    try:
        _write(part, layout, provenance)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        number = _errno(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            fail(
                "E0743",
                f"the disk of `{path}` is full",
                help="ask for fewer --samples, or another place with -o",
            )
        why = os.strerror(number) if number else str(error)
        fail("E0392", f"cannot write `{path}`: {why}", help="choose another place with -o")
    return DrawsFile(path)


def _errno(error: Exception) -> int:
    """The system's number of an error; HDF5 has it in its text alone. 0 where there is none."""
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found else getattr(error, "errno", None) or 0


def resume(path: Path, provenance: Mapping[str, Any]) -> DrawsFile:
    """The file of a stopped run, to go on with. Raises E0745 for a file that is none, E0744 for one of another run."""
    import h5py

    if not path.exists():
        fail("E0745", f"there is no file `{path}` to resume", help="leave --resume out to start")
    try:
        with h5py.File(path, "r") as f:
            held = json.loads(str(f.attrs["provenance"]))
    except (OSError, KeyError, ValueError):
        fail("E0745", f"`{path}` is not a result file of spucc that could be gone on with")
    wanted = json.loads(json.dumps(dict(provenance)))
    for key in wanted:
        if held.get(key) != wanted[key]:
            fail(
                "E0744",
                f"`{path}` is of another run: its {key.replace('_', ' ')} is {_brief(held.get(key))}, not {_brief(wanted[key])}",
                help="resume with the program, target and options that the file was begun with",
            )
    return DrawsFile(path)


def room(path: Path, size: int) -> None:
    """Raises E0743 where the disk has no room for `size` bytes."""
    folder = path.absolute().parent
    if not folder.is_dir():
        fail(
            "E0392",
            f"cannot write `{path}`: there is no folder `{folder}`",
            help="choose another place with -o",
        )
    free = shutil.disk_usage(folder).free
    if size > free:
        fail(
            "E0743",
            f"the draws need {size / 2**30:.3g} GiB, and the disk of `{path}` has {free / 2**30:.3g} GiB left",
            help="ask for fewer --samples, for a part of the variable, or for its mean, std or var",
        )
    most = _largest_file()
    # The structure of the file comes on top. HDF5 does not survive a limit that it meets while it writes.
    if size + _STRUCTURE > most:
        fail(
            "E0743",
            f"the draws need {size / 2**30:.3g} GiB, and a file of this user may have {most / 2**30:.3g} GiB",
            help="raise the limit (`ulimit -f`), or ask for fewer --samples",
        )


def _largest_file() -> float:
    """The most bytes that the system lets this process write to one file."""
    try:
        import resource
    except ImportError:  # no limits on this system
        return inf
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return inf if limit == resource.RLIM_INFINITY else float(limit)


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _lock(file: Any, path: Path) -> None:
    """Raises E0742 where another process writes to the file."""
    try:
        import fcntl
    except ImportError:  # no locks on this system
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        fail(
            "E0742", f"another run is writing to `{path}`", help="wait for it, or choose another file with -o"
        )


def _write(part: Path, layout: Layout, provenance: Mapping[str, Any]) -> None:
    import h5netcdf

    with h5netcdf.File(part, "w") as root:
        root.attrs["creation_library"] = "spucc"
        root.attrs["provenance"] = json.dumps(dict(provenance), sort_keys=True)
        if layout.samples:
            group = root.create_group("posterior")
            group.attrs["inference_library"] = "spucc"
            group.dimensions = {"chain": layout.chains, "draw": layout.draws}
            group.create_variable("chain", ("chain",), data=np.arange(layout.chains))
            group.create_variable("draw", ("draw",), data=np.arange(layout.draws))
            for name, shape in layout.samples:
                _array(
                    group, name, (layout.chains, layout.draws, *shape), ("chain", "draw"), coordinates=True
                )
        if layout.answers:
            group = root.create_group("answers")
            for name, shape in layout.answers:
                _array(group, name, shape, (), coordinates=True)
        group = root.create_group("run")
        for name, size in layout.kept:
            _array(group, name, (layout.chains, layout.draws, size), ())
        for name, length in layout.sums:
            _array(group, name, (2, length), ())
        for name, shape in layout.states:
            _array(group, name, (2, *shape), ())
        group.dimensions["progress_entries"] = 3
        group.create_variable("progress", ("progress_entries",), data=np.zeros(3, dtype=np.int64))


def _array(
    group: Any, name: str, shape: Sequence[int], leading: Sequence[str], coordinates: bool = False
) -> None:
    own = []
    for k, size in enumerate(shape[len(leading) :]):
        dimension = f"{name}_dim_{k}"
        group.dimensions[dimension] = size
        if coordinates:
            group.create_variable(dimension, (dimension,), data=np.arange(size))
        own.append(dimension)
    variable = group.create_variable(name, (*leading, *own), dtype="f8")
    if not shape:
        variable[...] = np.nan
        return
    if 0 in shape:
        return
    if len(shape) == 1:
        variable[:] = np.full(shape, np.nan)
        return
    inner = int(np.prod(shape[2:], dtype=np.int64))
    rows = max(1, _FILL // max(inner, 1))
    for first in range(shape[0]):
        for start in range(0, shape[1], rows):
            count = min(rows, shape[1] - start)
            variable[first, start : start + count] = np.full((count, *shape[2:]), np.nan)
