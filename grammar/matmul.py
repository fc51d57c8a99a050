"""`a @ b` for constants, sparse matrices and random arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from spucc.diagnostics import Span, fail
from spucc.grammar.arithmetic import binary, calculated, summed
from spucc.grammar.broadcasting import batch_of, numeric
from spucc.grammar.poly import Poly, check_expansion
from spucc.grammar.values import Const, Random, SparseConst, Value, check_size, number_of, show_shape


def matmul(a: Value, b: Value, span: Span) -> Value:
    """NumPy's product of matrices and vectors (one or two axes each)."""
    x = a if isinstance(a, SparseConst) else numeric(a, span)
    y = b if isinstance(b, SparseConst) else numeric(b, span)
    rank = (len(x.shape), len(y.shape))
    if rank[0] not in (1, 2) or rank[1] not in (1, 2) or x.shape[-1] != y.shape[0]:
        fail(
            "E0203",
            f"`@` cannot multiply shapes {show_shape(x.shape)} and {show_shape(y.shape)}",
            span,
            help="vectors and matrices only; the last axis of the left must be as long as the first of "
            "the right",
        )
    shape = x.shape[:-1] + y.shape[1:]
    check_size(shape, span, batch_of(x, y))
    if isinstance(x, SparseConst) and isinstance(y, SparseConst):
        return SparseConst(sparse.csr_array(x.matrix @ y.matrix))
    if isinstance(x, Random) or isinstance(y, Random):
        if isinstance(y, Random) and not isinstance(x, Random) and x.batch is None and y.batch is None:
            return Random(_constant_left(x, y), shape)
        if isinstance(x, Random) and not isinstance(y, Random) and x.batch is None and y.batch is None:
            return Random(_constant_right(x, y), shape)
        return _by_entries(densified(x), densified(y), shape, span)
    if isinstance(x, SparseConst) or isinstance(y, SparseConst):
        if batch_of(x, y) is None:
            left = x.matrix if isinstance(x, SparseConst) else x.array
            right = y.matrix if isinstance(y, SparseConst) else y.array
            return Const(np.asarray(left @ right))
        x, y = densified(x), densified(y)
    return _constants(x, y, span)


def densified(v: Const | Random | SparseConst) -> Const | Random:
    return Const(v.matrix.toarray()) if isinstance(v, SparseConst) else v


def _constants(x: Const | Random, y: Const | Random, span: Span) -> Value:
    assert isinstance(x, Const) and isinstance(y, Const)
    left, right = x.array, y.array
    if left.dtype.kind == "b" or right.dtype.kind == "b":
        left, right = left.astype(np.int64), right.astype(np.int64)
    vector_left, vector_right = len(x.shape) == 1, len(y.shape) == 1
    left = left[..., None, :] if vector_left else left
    right = right[..., None] if vector_right else right
    result = calculated(np.matmul, "the result of `@`", span, left, right)
    if vector_right:
        result = result[..., 0]
    if vector_left:
        result = result[..., 0, :] if not vector_right else result[..., 0]
    return Const(result, batch_of(x, y))


def _constant_left(x: Const | SparseConst, y: Random) -> Poly:
    matrix: Any
    matrix = x.matrix if isinstance(x, SparseConst) else np.atleast_2d(np.asarray(x.array, dtype=np.float64))
    if len(y.shape) == 2:
        check_expansion(number_of(x.shape) * y.shape[1] if isinstance(x, Const) else matrix.nnz * y.shape[1])
        matrix = sparse.csr_array(
            sparse.kron(sparse.csr_array(matrix), sparse.eye_array(y.shape[1]), format="csr")
        )
    return y.poly.multiplied(matrix)


def _constant_right(x: Random, y: Const | SparseConst) -> Poly:
    matrix: Any
    if isinstance(y, SparseConst):
        matrix = sparse.csr_array(y.matrix.T)
    else:
        matrix = np.atleast_2d(np.asarray(y.array, dtype=np.float64).T)
    if len(x.shape) == 2:
        check_expansion(number_of(y.shape) * x.shape[0] if isinstance(y, Const) else matrix.nnz * x.shape[0])
        matrix = sparse.csr_array(
            sparse.kron(sparse.eye_array(x.shape[0]), sparse.csr_array(matrix), format="csr")
        )
    return x.poly.multiplied(matrix)


def _by_entries(x: Const | Random, y: Const | Random, shape: tuple[int, ...], span: Span) -> Value:
    """Products of all pairs of entries, then the sum over the inner axis."""
    from spucc.grammar.indexing import reshaped

    n, k, m = number_of(x.shape[:-1]), y.shape[0], number_of(y.shape[1:])
    batch = batch_of(x, y)
    check_expansion(n * k * m * (1 if batch is None else batch.size))
    product = binary("*", reshaped(x, (n, k, 1)), reshaped(y, (1, k, m)), span)
    assert isinstance(product, Random)
    return reshaped(summed(product, (1,)), shape)
