"""Covariance functions: the matrix of a kernel between two sets of points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.grammar.arguments import Arguments
from spucc.grammar.functions import builtin
from spucc.grammar.values import Const, Value, check_size, describe

_SHAPES: dict[str, Callable[[Any], Any]] = {
    "rbf": lambda r: np.exp(-0.5 * r * r),
    "matern12": lambda r: np.exp(-r),
    "matern32": lambda r: (1.0 + np.sqrt(3.0) * r) * np.exp(-np.sqrt(3.0) * r),
    "matern52": lambda r: (1.0 + np.sqrt(5.0) * r + 5.0 / 3.0 * r * r) * np.exp(-np.sqrt(5.0) * r),
}
NAMES = (*_SHAPES, "periodic")


def distances(x: FloatArray, y: FloatArray) -> FloatArray:
    """Euclidean distances between points: vectors are points on a line, matrices have one point a row."""
    if x.ndim == 1:
        return np.abs(x[:, None] - y[None, :])
    total = np.zeros((x.shape[0], y.shape[0]))
    for k in range(x.shape[1]):
        total += (x[:, k, None] - y[None, :, k]) ** 2
    return np.sqrt(total)


def kernel(
    name: str, x: FloatArray, y: FloatArray, sd: float, length: float, period: float = 1.0
) -> FloatArray:
    """sd² · k(|x − y|)"""
    r = distances(x, y)
    with np.errstate(over="ignore", under="ignore"):
        if name == "periodic":
            return np.asarray(sd * sd * np.exp(-2.0 * np.sin(np.pi * r / period) ** 2 / length**2))
        return np.asarray(sd * sd * _SHAPES[name](r / length))


def positive(a: Arguments, key: str) -> float:
    value = a.number(key)
    if not (value > 0.0 and np.isfinite(value)):
        fail("E0411", f"`{key}` of `{a.name}` must be positive and finite, found {value:g}", a.spans[key])
    return value


def points(a: Arguments, key: str) -> FloatArray:
    c = a.fixed(key)
    if len(c.shape) not in (1, 2):
        fail(
            "E0203",
            f"`{key}` of `{a.name}` must be a vector, or a matrix with one point a row, found {describe(c)}",
            a.spans[key],
        )
    return np.asarray(c.array, dtype=np.float64)


def _matrix(a: Arguments, period: float) -> Value:
    x, y = points(a, "x1"), points(a, "x2")
    if x.ndim != y.ndim or x.shape[1:] != y.shape[1:]:
        fail("E0203", f"the points of `{a.name}` lie in different spaces", a.span)
    check_size((x.shape[0], y.shape[0]), a.span)
    return Const(kernel(a.name, x, y, positive(a, "sd"), positive(a, "length"), period))


@builtin("rbf matern12 matern32 matern52", "x1 x2 sd length")
def _stationary(a: Arguments) -> Value:
    """Kernels of the distance."""
    return _matrix(a, 1.0)


@builtin("periodic", "x1 x2 sd length period")
def _periodic(a: Arguments) -> Value:
    """sd² exp(−2 sin²(π d / period) / length²)"""
    return _matrix(a, positive(a, "period"))
