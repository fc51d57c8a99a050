"""Progress on a terminal, silence in a pipe."""

from __future__ import annotations

import sys
import time


class Progress:
    """Writes one line to stderr that says what is done and how far it is, with the time left; only on a terminal, only after
    half a second, at most ten times a second. `close` wipes the line.

    What stands before a comma names the task, and each task has a clock of its own; what stands behind it, as how fast
    the task goes, may change."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._shown = 0.0
        self._tasks: dict[str, tuple[float, float]] = {}
        self._terminal = sys.stderr.isatty()

    def __call__(self, text: str, share: float) -> None:
        if not self._terminal:
            return
        now = time.monotonic()
        task = text.partition(",")[0]
        begin, start = self._tasks.setdefault(task, (now, share))
        if share < start:
            # A task that is there again.
            begin, start = self._tasks[task] = now, share
        if now - self._begin < 0.5 or now - self._shown < 0.1:
            return
        self._shown = now
        left = ""
        if start < share < 1 and now - begin > 1:
            left = f", {(now - begin) * (1 - share) / (share - start):.0f} s left"
        sys.stderr.write(f"\r\x1b[2K{text} {100 * share:3.0f} %{left}")
        sys.stderr.flush()

    def close(self) -> None:
        """Wipe the line."""
        if self._terminal and self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
