"""ngspice as a process, and the binary raw files that it writes."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spucc.diagnostics import fail


@dataclass(frozen=True, eq=False)
class Waveforms:
    """What ngspice saved: `names` of the columns after the time, `table` [points, 1 + names] with the time [s] first."""

    names: tuple[str, ...]
    table: NDArray[np.float64]

    @property
    def time(self) -> NDArray[np.float64]:
        return self.table[:, 0]


def find_ngspice() -> str:
    """The path of ngspice. Raises E0730 where it is not installed."""
    path = shutil.which("ngspice")
    if path is None:
        fail(
            "E0730",
            "ngspice is not on the PATH",
            help="install it (Debian, Ubuntu: apt-get install ngspice; macOS: brew install ngspice), or choose "
            "--backend exact",
        )
    return path


def start_ngspice(folder: Path, circuit: str, output: str) -> subprocess.Popen[str]:
    """Start ngspice on a netlist of a folder; its raw file is `output` there. Raises E0730."""
    command = [find_ngspice(), "-b", "-r", output, circuit]
    with open(folder / f"{output}.log", "w", encoding="utf-8") as log:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, text=True
        )


def finish_ngspice(process: subprocess.Popen[str], folder: Path, output: str) -> Waveforms:
    """Wait for a run and read what it saved. Raises E0732 for a run that failed, with what ngspice said."""
    code = process.wait()
    said = (folder / f"{output}.log").read_text(encoding="utf-8", errors="replace")
    if code != 0 or not (folder / output).exists() or "aborted" in said:
        wrong = [
            line.strip()
            for line in said.splitlines()
            if re.search(r"(?i)error|abort|singular|too small", line)
        ]
        ended = (
            f"was ended by signal {-code} ({signal.strsignal(-code)})"
            if code < 0
            else f"stopped with exit code {code}"
        )
        if code == -signal.SIGXFSZ:
            fail(
                "E0737",
                "ngspice's waveforms are larger than this user's files may be",
                help="raise the limit (`ulimit -f`), or ask for fewer --samples",
            )
        fail(
            "E0732",
            f"ngspice {ended}",
            notes=tuple(wrong[:5]) or tuple(said.strip().splitlines()[-3:]),
            help="look at the netlist that `spucc compile --emit spice` writes",
        )
    return read_raw(folder / output)


def read_raw(path: Path) -> Waveforms:
    """A binary raw file of one real analysis; the table is mapped, not read. Raises E0732 for a file that is not one."""
    with open(path, "rb") as f:
        head = f.read(1 << 16)
    at = head.find(b"Binary:\n")
    text = head[: max(at, 0)].decode("utf-8", errors="replace")
    count = re.search(r"No\. Variables:\s*(\d+)", text)
    points = re.search(r"No\. Points:\s*(\d+)", text)
    if at < 0 or count is None or points is None or "real" not in text:
        fail("E0732", f"`{path.name}` is not a binary raw file of ngspice")
    columns, rows = int(count[1]), int(points[1])
    names = re.findall(r"^\s+\d+\s+(\S+)\s+\S+", text.partition("Variables:\n")[2], flags=re.MULTILINE)
    offset = at + len(b"Binary:\n")
    rows = min(rows, (path.stat().st_size - offset) // (8 * columns))
    if rows == 0 or len(names) != columns:
        fail(
            "E0732",
            f"`{path.name}` holds no waveforms",
            help="the disk may be full: make room, or let TMPDIR name a folder that has room",
        )
    table = np.memmap(path, dtype="<f8", mode="r", offset=offset, shape=(rows, columns))
    return Waveforms(tuple(names[1:]), table)
