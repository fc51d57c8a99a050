"""Array types and the habit of handing out arrays that cannot be changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def frozen(values: Any, dtype: Any = np.float64) -> NDArray[Any]:
    """`values` as a contiguous read-only array of `dtype`; copied only when it has to be."""
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def same(a: Any, b: Any) -> bool:
    """Whether two arrays have the same shape and the same bits (NaN equals NaN)."""
    return bool(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())
