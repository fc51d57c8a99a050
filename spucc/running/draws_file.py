"""A result file that grows while a run goes on, so that draws need no memory and a stopped run can be taken up again.

The file is netCDF-4 in ArviZ's schema (decision 004). Its structure is made in memory, its whole room taken from the disk at
once, and then it is put in place; from then on only numbers inside it are overwritten. HDF5 itself never writes to the
disk. So a run that is killed at any moment, or whose disk others fill, leaves a file that any netCDF reader opens.

`run/progress` says how far it got: draws of each chain that are done, which of the two slots of `run/state…` and `run/sum…`
goes with them, and 1 once the answers are written. What a checkpoint needs is written to the other slot first and to
`progress` last. Draws that are still to come are 0, but the last of each chain is NaN until it is drawn, and so is whatever
is computed from the draws of an unfinished file by a reader who does not look at `run/progress`. Answers are NaN until
they are written.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import mmap
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.running.claim import Claim, open_locked, refuse, release
from spucc.running.stored import BROKEN

_STRETCH = 1 << 20


@dataclass(frozen=True)
class Layout:
    """What a file holds: draws [chains, draws, *shape] of each sample query, draws kept for other answers, the answers,
    sums that are carried along, the state of each job, and the program as a container."""

    chains: int
    draws: int
    samples: tuple[tuple[str, tuple[int, ...]], ...]
    kept: tuple[tuple[str, int], ...]
    answers: tuple[tuple[str, tuple[int, ...]], ...]
    sums: tuple[tuple[str, int], ...]
    states: tuple[tuple[str, tuple[int, ...]], ...]
    program: bytes = b""

    @property
    def bytes(self) -> int:
        """The size of all arrays together."""
        rows = self.chains * self.draws
        count = sum(rows * int(np.prod(shape, dtype=np.int64)) for _, shape in self.samples)
        count += self.draws if self.samples else 0
        count += sum(rows * size for _, size in self.kept)
        count += sum(int(np.prod(shape, dtype=np.int64)) for _, shape in self.answers)
        count += 2 * sum(n for _, n in self.sums)
        count += 2 * sum(int(np.prod(shape, dtype=np.int64)) for _, shape in self.states)
        return 8 * count + len(self.program)


class DrawsFile:
    """An open result file, locked against other writers until `close`. `array` gives its arrays, mapped, as they lie on the
    disk."""

    def __init__(self, path: Path, file: IO[Any]) -> None:
        self.path = path
        self._file = file
        self._arrays: dict[str, np.memmap[Any, Any]] = {}
        self._map()

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
        """Make everything so far safe: draws, then sums and states in the free slot, then the progress. Raises E0743, E0392
        where the disk does not take it."""
        progress = self._arrays["run/progress"]
        slot = 1 - int(progress[1])
        for name, value in (*sums.items(), *states.items()):
            if f"run/{name}" in self._arrays:
                self._arrays[f"run/{name}"][slot] = value
        try:
            for name, array in self._arrays.items():
                if name != "run/progress":
                    array.flush()
                    _forget(array)
            progress[:] = done, slot, finished
            progress.flush()
        except OSError as error:
            refuse(self.path, error)

    def restored(self, name: str) -> FloatArray | None:
        """The sum or state `name` of the last checkpoint; None where nothing is kept under it."""
        if f"run/{name}" not in self._arrays:
            return None
        slot = int(self.array("run/progress")[1])
        return np.array(self._arrays[f"run/{name}"][slot], dtype=np.float64)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            for array in self._arrays.values():
                array.flush()
        self._arrays.clear()
        release(self._file)

    def begin(self) -> None:
        """Fill in what is neither 0 nor in the structure of a new file."""
        for name, array in self._arrays.items():
            if name == "posterior/draw":
                for start in range(0, array.size, _STRETCH):
                    stop = min(start + _STRETCH, array.size)
                    array[start:stop] = np.arange(start, stop)
            elif name.startswith("answers/") and array.dtype.kind == "f":
                array[...] = np.nan
            else:
                continue
            array.flush()
            _forget(array)

    def _map(self) -> None:
        import h5py

        places: dict[str, tuple[int, tuple[int, ...], Any]] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
                places[name] = item.id.get_offset(), item.shape, item.dtype

        try:
            with h5py.File(self._file, "r") as f:
                f.visititems(visit)
        except BROKEN:
            release(self._file)
            fail("E0745", f"`{self.path}` is not a result file of spucc that could be gone on with")
        if "run/progress" not in places:
            release(self._file)
            fail(
                "E0745",
                f"`{self.path}` does not say how far its run got, so the run cannot go on",
                help="files that `spucc run -o FILE.nc` wrote can be resumed",
            )
        for name, (offset, shape, dtype) in places.items():
            self._arrays[name] = np.memmap(self._file, dtype, "r+", offset, shape)


def create(claim: Claim, layout: Layout, provenance: Mapping[str, Any]) -> DrawsFile:
    """A new file with everything that `layout` names, put in place whole.

    Raises E0743 where the disk has no room, E0392 where the file cannot be written.
    """
    room(claim.path, layout.bytes)
    structure = _structure(layout, provenance)
    try:
        _reserve(claim.file, structure.size)
        structure.write_to(claim.file)
        made = DrawsFile(claim.path, claim.file)
        made.begin()
        os.fsync(claim.file.fileno())
        claim.put()
    except OSError as error:
        refuse(claim.path, error)
    return made


def resume(path: Path, provenance: Mapping[str, Any]) -> DrawsFile:
    """The file of a stopped run, to go on with. Raises E0745 for a file that is none, E0744 for one of another run, E0742
    where a run writes to it."""
    import h5py

    try:
        file = open_locked(path)
    except FileNotFoundError:
        fail("E0745", f"there is no file `{path}` to resume", help="leave --resume out to start")
    except OSError as error:
        refuse(path, error)
    try:
        with h5py.File(file, "r") as f:
            held = json.loads(str(f.attrs["provenance"]))
            known = isinstance(held, dict)
    except BROKEN:
        known = False
    if not known:
        release(file)
        fail("E0745", f"`{path}` is not a result file of spucc that could be gone on with")
    wanted = json.loads(json.dumps(dict(provenance)))
    for key in wanted:
        if held.get(key) != wanted[key]:
            release(file)
            fail(
                "E0744",
                f"`{path}` is of another run: its {key.replace('_', ' ')} is {_brief(held.get(key))}, not {_brief(wanted[key])}",
                help="resume with the program, target and options that the file was begun with",
            )
    return DrawsFile(path, file)


def room(path: Path, size: int) -> None:
    """Raises E0743 where the disk has no room for `size` bytes."""
    free = shutil.disk_usage(path.absolute().parent).free
    if size > free:
        fail(
            "E0743",
            f"the draws need {_size(size)}, and the disk of `{path}` has {_size(free)} left",
            help="ask for fewer --samples, for a part of the variable, or for its mean, std or var",
        )
    most = _largest_file()
    if size > most:
        fail(
            "E0743",
            f"the draws need {_size(size)}, and a file of this user may have {_size(most)}",
            help="raise the limit (`ulimit -f`), or ask for fewer --samples",
        )


def _size(count: float) -> str:
    """Bytes in the unit in which they are a number to read."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.3g} {unit}"
    return f"{count:.0f} bytes"


def _largest_file() -> float:
    """The most bytes that the system lets this process write to one file."""
    try:
        import resource
    except ImportError:  # no limits on this system
        return inf
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return inf if limit == resource.RLIM_INFINITY else float(limit)


def _reserve(file: IO[Any], size: int) -> None:
    """Take `size` bytes of the disk for an empty file, so that writing to it cannot fail for want of room."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
    zeros = bytes(_STRETCH)
    file.seek(0)
    for start in range(0, size, _STRETCH):
        file.write(zeros[: size - start])
    file.flush()


def _forget(array: np.memmap[Any, Any]) -> None:
    """Let go of the memory of pages that are on the disk."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "…"


# --- the structure ---------------------------------------------------------------------------------------------------------


class _Pages(io.RawIOBase):
    """A file in memory that holds only the pages that were written to: the structure of a file of any size."""

    def __init__(self) -> None:
        self.size = 0
        self._at = 0
        self._pages: dict[int, bytearray] = {}

    def write_to(self, file: IO[Any]) -> None:
        """Write the pages to their places in `file`."""
        for k, page in sorted(self._pages.items()):
            file.seek(k * _PAGE)
            file.write(page[: self.size - k * _PAGE])
        file.flush()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self.size = self._at if size is None else size
        return self.size

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for page, low, high, at in self._spans(len(view)):
            self._pages.setdefault(page, bytearray(_PAGE))[low:high] = view[at : at + high - low]
        self._at += len(view)
        self.size = max(self.size, self._at)
        return len(view)

    def readinto(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for page, low, high, at in self._spans(len(view)):
            found = self._pages.get(page)
            view[at : at + high - low] = bytes(high - low) if found is None else found[low:high]
        self._at += len(view)
        return len(view)

    def _spans(self, count: int) -> list[tuple[int, int, int, int]]:
        """(page, from, to, place in the data) of the next `count` bytes."""
        out = []
        at = 0
        while at < count:
            page, low = divmod(self._at + at, _PAGE)
            high = min(_PAGE, low + count - at)
            out.append((page, low, high, at))
            at += high - low
        return out


_PAGE = 1 << 12


def _structure(layout: Layout, provenance: Mapping[str, Any]) -> _Pages:
    """Everything in the file but its numbers. HDF5 gives an array its place when the first of its entries is written."""
    import h5netcdf

    out = _Pages()
    rows = (layout.chains, layout.draws)
    with h5netcdf.File(out, "w") as root:
        root.attrs["creation_library"] = "spucc"
        root.attrs["provenance"] = json.dumps(dict(provenance), sort_keys=True)
        if layout.samples:
            group = root.create_group("posterior")
            group.attrs["inference_library"] = "spucc"
            group.dimensions = {"chain": layout.chains, "draw": layout.draws}
            group.create_variable("chain", ("chain",), data=np.arange(layout.chains))
            group.create_variable("draw", ("draw",), dtype="i8")[-1:] = 0
            for name, shape in layout.samples:
                _array(group, name, (*rows, *shape), ("chain", "draw"), coordinates=True)
        if layout.answers:
            group = root.create_group("answers")
            for name, shape in layout.answers:
                _array(group, name, shape, coordinates=True)
        group = root.create_group("run")
        for name, size in layout.kept:
            _array(group, name, (*rows, size))
        for name, length in layout.sums:
            _array(group, name, (2, length))
        for name, shape in layout.states:
            _array(group, name, (2, *shape))
        group.dimensions["progress_entries"] = 3
        group.create_variable("progress", ("progress_entries",), data=np.zeros(3, dtype=np.int64))
        if layout.program:
            group.dimensions["program_bytes"] = len(layout.program)
            group.create_variable(
                "program", ("program_bytes",), data=np.frombuffer(layout.program, dtype=np.uint8)
            )
    return out


def _array(
    group: Any, name: str, shape: Sequence[int], leading: Sequence[str] = (), coordinates: bool = False
) -> None:
    """An array whose last entries are NaN: of draws, those of the last draw of each chain."""
    own = []
    for k, size in enumerate(shape[len(leading) :]):
        dimension = f"{name}_dim_{k}"
        group.dimensions[dimension] = size
        if coordinates:
            group.create_variable(dimension, (dimension,), data=np.arange(size))
        own.append(dimension)
    variable = group.create_variable(name, (*leading, *own), dtype="f8")
    if 0 in shape:
        return
    if not shape:
        variable[...] = np.nan
    elif leading:
        variable[:, -1] = np.nan
    else:
        variable[tuple(slice(n - 1, n) for n in shape)] = np.nan
