"""Linear algebra of constant matrices."""

from __future__ import annotations

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.arguments import Arguments
from spucc.grammar.functions import builtin
from spucc.grammar.values import (
    Const,
    Value,
    describe,
)


def square(a: Arguments, key: str = "A") -> Const:
    """A constant square matrix, to be factorised."""
    c = a.const(key)
    if len(c.shape) != 2 or c.shape[0] != c.shape[1]:
        fail("E0203", f"`{a.name}` takes a square matrix, found {describe(c)}", a.spans[key])
    a.ctx.multiply(a.node, 1 if c.batch is None else c.batch.size, *c.shape, c.shape[0])
    return c


@builtin("inv", "A")
def _inv(a: Arguments) -> Value:
    """The inverse of a constant matrix."""
    c = square(a)
    try:
        return Const(np.asarray(np.linalg.inv(c.array.astype(np.float64))), c.batch)
    except np.linalg.LinAlgError:
        fail("E0223", "`inv` of a singular matrix", a.span)


@builtin("cholesky", "A")
def _cholesky(a: Arguments) -> Value:
    """The lower triangular L with A = L @ L.T."""
    c = square(a)
    try:
        return Const(np.asarray(np.linalg.cholesky(c.array.astype(np.float64))), c.batch)
    except np.linalg.LinAlgError:
        fail("E0223", f"`{a.name}` of a matrix that is not positive definite", a.span)


@builtin("logdet", "A")
def _logdet(a: Arguments) -> Value:
    """The logarithm of the determinant of a positive definite matrix."""
    factor = _cholesky(a)
    assert isinstance(factor, Const)
    return Const(2.0 * np.log(np.diagonal(factor.array, axis1=-2, axis2=-1)).sum(axis=-1), factor.batch)
