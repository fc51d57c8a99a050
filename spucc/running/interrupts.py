"""Ctrl-C at points where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held_back() -> Iterator[None]:
    """Put off a Ctrl-C that comes within the block to its end, where it raises KeyboardInterrupt. Signals reach only the
    main thread of Python's process; elsewhere, and where Ctrl-C is ignored, as of what a shell runs behind, the block runs as
    it is."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):
        yield
        return
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        # None stands for a handler that was not set from Python, which cannot be put back but by its default.
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if came:
        raise KeyboardInterrupt
