"""One BLAS thread where many small products are made: on a busy machine more threads wait for one another (an
eigenvalue problem of 256 took 10 ms on one thread and 1.9 s on two), and they may round otherwise, so that
draws would depend on the machine's number of cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def _libraries() -> Any:
    """The BLAS libraries of numpy and scipy, found once."""
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread(needed: bool = True) -> Iterator[None]:
    """Within it, or within a function that it decorates, BLAS uses one thread. Not across a `yield`."""
    if not needed:
        yield
        return
    with _libraries().limit(limits=1):
        yield
