"""Progress on a terminal, silence in a pipe."""

from __future__ import annotations

import sys
import time


class Progress:
    """Writes one line to stderr that says what is done and how far it is, with the time left; only on a terminal, only after
    half a second, at most ten times a second. `close` wipes the line."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._shown = 0.0
        self._task = ""
        self._task_begin = self._begin
        self._terminal = sys.stderr.isatty()

    def __call__(self, text: str, share: float) -> None:
        if not self._terminal:
            return
        now = time.monotonic()
        if text != self._task:
            self._task, self._task_begin = text, now
        if now - self._begin < 0.5 or now - self._shown < 0.1:
            return
        self._shown = now
        spent = now - self._task_begin
        left = f", {spent * (1 - share) / share:.0f} s left" if 0 < share < 1 and spent > 1 else ""
        sys.stderr.write(f"\r\x1b[2K{text} {100 * share:3.0f} %{left}")
        sys.stderr.flush()

    def close(self) -> None:
        """Wipe the line."""
        if self._terminal and self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
