"""How much memory this process may still take: what is asked before a file or a result is read whole."""

from __future__ import annotations

from pathlib import Path


def free_memory() -> int | None:
    """Bytes that are free: the least of what the machine, the control group and the limit of the process leave; None where the
    system does not say."""
    found = [size for size in (_machine(), _group(), _limit()) if size is not None]
    return max(min(found), 0) if found else None


def _machine() -> int | None:
    return _named("/proc/meminfo", "MemAvailable:", 1024)


def _group() -> int | None:
    """The limit of a container (control groups, version 2); pages of files that can be dropped count as free."""
    limit, used = (_number(f"/sys/fs/cgroup/memory.{key}") for key in ("max", "current"))
    if limit is None or used is None:
        return None
    return limit - used + (_named("/sys/fs/cgroup/memory.stat", "inactive_file", 1) or 0)


def _limit() -> int | None:
    """What `ulimit -v` leaves."""
    try:
        import resource
    except ImportError:
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    taken = _named("/proc/self/status", "VmSize:", 1024)
    return None if soft == resource.RLIM_INFINITY or taken is None else soft - taken


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # no such file, or `max`
        return None


def _named(path: str, name: str, unit: int) -> int | None:
    """The number behind a name in a file of such lines, in bytes."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((unit * int(line.split()[1]) for line in lines if line.split()[:1] == [name]), None)
