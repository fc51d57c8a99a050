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


def canonical(matrix: Any) -> Any:
    """The same sparse matrix in rows with sorted columns and no entry twice; not a copy where it is so already.

    Sums over a row depend on the order of its entries in the last bit, so that values which are printed and read back, and must
    then go the same way, have to be in this order from the start.
    """
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()
    matrix.sum_duplicates()
    return matrix
