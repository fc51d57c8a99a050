"""Precision, potential and mean of a Gaussian energy, as the passes need them."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, frozen
from spucc.diagnostics import Diagnostic, SpuccError
from spucc.energy import Energy
from spucc.passes.realising.comparison import positive_definite_solve


def precision(energy: Energy) -> sparse.csr_array:
    """P = Q/T [n, n] with sorted indices and a stored diagonal."""
    p = energy.quadratic.tocsr()
    return p if energy.temperature == 1.0 else sparse.csr_array(p / energy.temperature)


def mean(energy: Energy, p: sparse.csr_array) -> FloatArray:
    """μ = P⁻¹ b, b = −linear/T [n]; zeros without any solve when there is no linear term.

    The matrix is scaled to unit diagonal and one step of refinement follows, so that badly scaled variables keep their digits.
    Raises E0510 when P is not positive definite.
    """
    if not np.any(energy.linear):
        return frozen(np.zeros(energy.n))
    b = -np.asarray(energy.linear) / energy.temperature
    diagonal = p.diagonal()
    if (diagonal <= 0).any():
        raise improper(energy)
    a = 1.0 / np.sqrt(diagonal)
    scaled = sparse.csr_array(sparse.diags_array(a) @ p @ sparse.diags_array(a))
    x = positive_definite_solve(scaled, a * b)
    if x is None:
        raise improper(energy)
    correction = positive_definite_solve(scaled, a * b - scaled @ x)
    return frozen(a * (x if correction is None else x + correction))


def check(energy: Energy, p: sparse.csr_array, largest: int | None = None) -> None:
    """E0510 unless P is positive definite to the accuracy of floating point; not looked at beyond `largest` variables."""
    if largest is not None and energy.n > largest:
        return
    diagonal = p.diagonal()
    if energy.n and not (np.isfinite(p.data).all() and (diagonal > 0).all()):
        raise improper(energy)
    a = sparse.diags_array(1.0 / np.sqrt(diagonal))
    if energy.n and positive_definite_solve(sparse.csr_array(a @ p @ a), np.ones(energy.n)) is None:
        raise improper(energy)


def covariance(p: sparse.csr_array) -> FloatArray:
    """P⁻¹ [n, n] dense, by Cholesky of the matrix scaled to unit diagonal; LinAlgError when P is not positive definite."""
    return inverse(p.toarray())


def inverse(p: FloatArray) -> FloatArray:
    """The inverse of a dense symmetric positive definite matrix, symmetric to the last bit."""
    diagonal = np.diagonal(p)
    if not (diagonal > 0).all():
        raise linalg.LinAlgError("the diagonal is not positive")
    a = 1.0 / np.sqrt(diagonal)
    factor = linalg.cho_factor(p * np.outer(a, a), lower=True)
    s = linalg.cho_solve(factor, np.eye(a.size)) * np.outer(a, a)
    return np.asarray((s + s.T) / 2)


NAMED = 1500
"""Up to so many variables the direction that nothing holds is worked out."""


def improper(energy: Energy) -> SpuccError:
    """The error of a model whose precision is not positive definite to the accuracy of floating point, with the variables
    along which it is not."""
    names = _loose(energy) if 0 < energy.n <= NAMED else ""
    return SpuccError(
        Diagnostic(
            "E0510",
            "the model's precision is not positive definite to floating-point accuracy, so no device can hold it",
            notes=(f"nothing holds the direction along {names}",) if names else (),
            help="give every variable a proper prior, or rescale variables whose units differ by many orders of magnitude",
        )
    )


def _loose(energy: Energy, most: int = 4) -> str:
    """The variables that the lowest direction of the precision, scaled to ones on its diagonal, is made of: `x + 0.5 y`."""
    p = precision(energy).toarray()
    if not np.isfinite(p).all():
        bad = np.flatnonzero(~np.isfinite(p).all(axis=1))[:most]
        return ", ".join(f"`{energy.label(int(k))}`" for k in bad)
    size = np.abs(np.diagonal(p))
    unit = np.where(size > 0, 1.0 / np.sqrt(np.where(size > 0, size, 1.0)), 1.0)
    lowest = unit * linalg.eigh(p * np.outer(unit, unit), subset_by_index=[0, 0])[1][:, 0]
    lowest = lowest / lowest[np.argmax(np.abs(lowest))]
    top = np.argsort(-np.round(np.abs(lowest), 9), kind="stable")[:most]
    top = top[np.abs(lowest[top]) > 1e-6]
    parts = [(float(lowest[k]), f"`{energy.label(int(k))}`") for k in top]
    text = "".join(
        f" {'−' if c < 0 else '+'} {name if abs(abs(c) - 1) < 1e-9 else f'{abs(c):.2g} {name}'}"
        for c, name in parts
    )
    more = " + …" if np.sum(np.abs(lowest) > 1e-6) > top.size else ""
    return text.removeprefix(" + ").removeprefix(" ") + more
