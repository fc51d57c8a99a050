"""Whether two values of the stages are the same to the last bit."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
import numpy as np
from scipy import sparse

from spucc.arrays import canonical, same


def identical(a: Any, b: Any) -> bool:
    """Same types, same shapes, same bits (NaN equals NaN, 0.0 is not −0.0). Sparse matrices are compared by what they
    store, whatever the order in which and the integers with which they store it."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return same(a, b)
    if sparse.issparse(a):
        a, b = canonical(a), canonical(b)
        return bool(
            a.shape == b.shape
            and np.array_equal(a.indptr, b.indptr)
            and np.array_equal(a.indices, b.indices)
            and a.data.tobytes() == b.data.tobytes()
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, float):
        return repr(a) == repr(b)
    if is_dataclass(a):
        return all(identical(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, msgspec.Struct):
        return msgspec.json.encode(a) == msgspec.json.encode(b) and repr(a) == repr(b)
    return bool(a == b)
