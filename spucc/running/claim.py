"""The right to write a file: of two runs that name the same one, the second is told so before it draws anything.

A file is made beside its place, as `.NAME.part`, and moved there. Whoever has that part locked may write `NAME`; the lock
belongs to the open file, so it goes along when the part is moved, and it goes with the process however that ends. A part
that a killed run left has no lock, and the next run takes it over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from pathlib import Path
from typing import IO, Never

from spucc.diagnostics import fail


class Claim:
    """The part of `path`, open for reading and writing as `file`, empty and locked; `put` moves it to its place, `drop`
    takes it away. `old` is the file that is there already, locked too, or None.

    Raises E0742 where another run writes to either, E0392 where the file cannot be written. With `wait` the part is waited
    for, and what is there is not looked at: for files that are written at once.
    """

    def __init__(self, path: Path, wait: bool = False) -> None:
        self.path = path
        self._part = path.with_name(f".{path.name}.part")
        self.old: IO[bytes] | None = None
        try:
            self.file = _part(self._part, path, wait)
        except OSError as error:
            refuse(path, error)
        if wait:
            return
        try:
            self.old = open_locked(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.drop()
            refuse(path, error)
        except BaseException:
            self.drop()
            raise

    def put(self) -> IO[bytes]:
        """Move the part to its place, where it stays locked until the file that is returned is closed."""
        os.replace(self._part, self.path)
        self._leave_old()
        return self.file

    def drop(self) -> None:
        """Take the part away, and leave what is there as it is."""
        # The name goes before the lock, so that it is never taken from another run.
        if _still_at(self._part, self.file):
            self._part.unlink(missing_ok=True)
        release(self.file)
        self._leave_old()

    def _leave_old(self) -> None:
        if self.old is not None:
            release(self.old)
            self.old = None


def open_locked(path: Path) -> IO[bytes]:
    """An existing file for reading and writing, locked until it is closed. Raises E0742 where another run writes to it, and
    OSError."""
    while True:
        file = open(path, "rb+")  # noqa: SIM115
        if not _lock(file):
            _taken(file, path)
        if _still_at(path, file):
            return file
        release(file)


def refuse(path: Path, error: OSError) -> Never:
    """Raises E0743 for a disk that is full, E0392 for anything else that keeps a file from being written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fail(
            "E0743",
            f"the disk of `{path}` is full",
            help="ask for fewer --samples, or another place with -o",
        )
    if error.errno == errno.EFBIG:
        fail(
            "E0743",
            f"`{path}` would be larger than a file of this user may be",
            help="raise the limit (`ulimit -f`), or ask for fewer --samples",
        )
    folder = path.absolute().parent
    why = error.strerror or str(error)
    fail(
        "E0392",
        f"cannot write `{path}`: {why if folder.is_dir() else f'there is no folder `{folder}`'}",
        help="choose another place with -o",
    )


def _part(part: Path, path: Path, wait: bool) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        file = open(part, "rb+", opener=lambda name, _: os.open(name, flags, 0o666))  # noqa: SIM115
        if not _lock(file, wait):
            _taken(file, path)
        # It may have been moved or taken away between opening and locking.
        if _still_at(part, file):
            file.truncate(0)
            return file
        release(file)


def _taken(file: IO[bytes], path: Path) -> Never:
    file.close()
    fail("E0742", f"another run is writing to `{path}`", help="wait for it, or choose another file with -o")


def _still_at(path: Path, file: IO[bytes]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    return False


def release(file: IO[bytes]) -> None:
    """Close a locked file. Arrays that are mapped from it stay, and do not hold its lock."""
    with contextlib.suppress(OSError):
        _set_lock(file, free=True)
    file.close()


def _lock(file: IO[bytes], wait: bool = False) -> bool:
    """Lock a file against other writers, not against readers: HDF5's own locks are of another kind. False where another
    has it."""
    try:
        _set_lock(file, wait=wait)
    except OSError as error:
        # A file system without locks is written to without.
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def _set_lock(file: IO[bytes], wait: bool = False, free: bool = False) -> None:
    try:
        import fcntl
    except ImportError:  # no locks on this system
        return
    if hasattr(fcntl, "F_OFD_SETLK"):
        # Of the open file: other handles of this process neither share this lock nor end it by being closed.
        kind = fcntl.F_UNLCK if free else fcntl.F_WRLCK
        whole = struct.pack("hhqqi0q", kind, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, whole)
    else:
        kind = fcntl.LOCK_UN if free else fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        fcntl.lockf(file, kind)
