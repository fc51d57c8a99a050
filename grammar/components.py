"""The connected parts of a sparse pattern.

SciPy's `connected_components` does the same, but the first import of `scipy.sparse.csgraph` takes longer than `spucc
check` takes for everything else.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, IntArray


def components(pattern: sparse.csr_array) -> IntArray:
    """For each row of a symmetric pattern the least row that it is connected to.

    Every root is hooked to the least root that it meets, and paths are halved until they point at roots; roots of a part
    at least halve in number every two rounds, so that n rows take O(log n) rounds.
    """
    n = pattern.shape[0]
    label: IntArray = np.arange(n, dtype=np.int64)
    i = np.repeat(label, np.diff(pattern.indptr))
    j = np.asarray(pattern.indices, dtype=np.int64)
    while True:
        a, b = label[i], label[j]
        apart = a != b
        if not apart.any():
            return label
        i, j, a, b = i[apart], j[apart], a[apart], b[apart]
        np.minimum.at(label, np.maximum(a, b), np.minimum(a, b))
        while True:
            above = label[label]
            if np.array_equal(above, label):
                break
            label = above


def once_each(index: IntArray, width: int) -> IntArray:
    """The different numbers below `width` in an array, in order."""
    if index.size < width // 16:
        ordered = np.sort(index)
        first = np.ones(ordered.size, dtype=bool)
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
        return np.asarray(ordered[first], dtype=np.int64)
    seen: BoolArray = np.zeros(width, dtype=bool)
    seen[index] = True
    return np.flatnonzero(seen).astype(np.int64, copy=False)


def support(matrix: sparse.csr_array) -> IntArray:
    """The columns that a matrix reads, in order."""
    return once_each(matrix.indices, matrix.shape[1])
