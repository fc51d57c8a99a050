"""Laws given by a covariance: `multi_normal`, `multi_normal_cholesky`, `gp`.

Where the covariance is well conditioned its inverse is the block of the energy. Where it is singular, or so
close to it that the inverse would be noise, the variable is carried as mean + L z with z fresh standard
normals of the rank.
"""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.grammar.broadcasting import as_poly, quoted
from spucc.grammar.checks import cholesky
from spucc.grammar.context import Added, Carried
from spucc.grammar.factors import RANK_TOLERANCE, condition, inverse_of, quick_root
from spucc.grammar.fields import add_gaussian
from spucc.grammar.laws import Law, plain, square_sum, symmetric_matrix, vector
from spucc.grammar.poly import Poly
from spucc.grammar.values import CannotBatchError, Const, Random, describe

# A precision is used up to this condition number; beyond, the variable is carried as mean + L z.
WORST_CONDITION = 1e7


def multi_normal(law: Law) -> None:
    """Mean mu, covariance Sigma, which may be singular"""
    n = vector(law).shape[-1]
    sigma = symmetric_matrix(law, "Sigma", n, sparse_ok=False)
    assert isinstance(sigma, Const)
    _by_covariance(law, np.asarray(sigma.array, dtype=np.float64), "Sigma")


def gp(law: Law) -> None:
    """Zero mean, covariance kernel(t, t) + jitter I"""
    from spucc.grammar.arguments import Arguments
    from spucc.grammar.kernels import NAMES, kernel, points, positive

    args: Arguments = law.args
    name = args.text("kernel")
    if name not in NAMES:
        fail("E0204", f"unknown kernel `{name}`", args.spans["kernel"], help="one of " + ", ".join(NAMES))
    t = points(args, "t")
    n = vector(law).shape[-1]
    if t.shape[0] != n:
        fail("E0221", f"`t` of `gp` has {t.shape[0]} points, the left side {n} entries", args.spans["t"])
    for key in ("sd", "length"):
        law.scale(key)
    period = 1.0
    if name == "periodic":
        if not args.has("period"):
            fail("E0205", "`gp` with the kernel `periodic` needs `period=`", law.span)
        period = positive(args, "period")
    jitter = args.number("jitter") if args.has("jitter") else 0.0
    if not (jitter >= 0.0 and np.isfinite(jitter)):
        fail("E0411", f"the jitter of `gp` cannot be negative, found {jitter:g}", args.spans["jitter"])
    covariance = kernel(name, t, t, positive(args, "sd"), positive(args, "length"), period)
    covariance[np.diag_indices(n)] += jitter
    _by_covariance(law, covariance, "t")


def multi_normal_cholesky(law: Law) -> None:
    """Mean mu, covariance L Lᵀ; L may have fewer columns than rows"""
    n = vector(law).shape[-1]
    c = law.args.fixed("L")
    if len(c.shape) != 2 or c.shape[0] != n:
        fail(
            "E0221",
            f"`L` of `multi_normal_cholesky` must have {n} rows, found {describe(c)}",
            law.args.spans["L"],
        )
    factor = np.asarray(c.array, dtype=np.float64)
    if np.any(np.triu(factor, 1)):
        i, j = (int(k[0]) for k in np.nonzero(np.triu(factor, 1)))
        fail(
            "E0412",
            f"`L` must be lower triangular; entry [{i}, {j}] is {factor[i, j]:g}",
            law.args.spans["L"],
        )
    if factor.shape[1] > n:
        factor = factor[:, :n]
    square = factor.shape[1] == n
    root = np.sqrt((factor**2).sum(axis=1))
    pivots = np.abs(np.diagonal(factor))
    # The pivots of the correlations' factor, of which the largest is its first: 1.
    if square and n and (pivots**2 * WORST_CONDITION > root**2).all():
        inverse = np.linalg.inv(factor / root[:, None])
        _precision(law, inverse.T @ inverse, root)
        return
    _carry(law, factor, "L")


def _by_covariance(law: Law, covariance: FloatArray, key: str) -> None:
    """The law of a covariance, judged on its correlations: units do not make a matrix singular."""
    if covariance.shape[0] == 0:
        return
    law.ctx.multiply(law.node, *covariance.shape, covariance.shape[0])
    variance = np.diagonal(covariance)
    root = np.sqrt(np.where(variance > 0, variance, 1.0))
    correlation = covariance / root[:, None] / root
    factor = cholesky(correlation)
    if factor is not None:
        inverse = inverse_of(factor)
        if not _can_carry(law) or condition(correlation, inverse, WORST_CONDITION) < WORST_CONDITION:
            _precision(law, inverse, root)
            return
    narrow = quick_root(correlation, factor)
    if narrow is None:
        values, vectors = np.linalg.eigh(correlation)
        top = float(np.abs(values).max(initial=0.0))
        if values[0] < -1e-10 * top:
            fail(
                "E0412",
                f"`{key}` of `{law.name}` is not a covariance: scaled to correlations it has the negative eigenvalue "
                f"{values[0]:g}",
                law.args.spans[key],
                help="a covariance is symmetric and positive semidefinite",
            )
        keep = values > RANK_TOLERANCE * top
        narrow = (vectors[:, keep] * np.sqrt(values[keep]))[:, ::-1]
    _carry(law, np.ascontiguousarray(root[:, None] * narrow), key)


def _precision(law: Law, precision: FloatArray, root: FloatArray) -> None:
    """Adds the energy of the precision D⁻¹ `precision` D⁻¹, D = diag(root)."""
    if "mu" not in law.args.values:
        law.args.values["mu"] = Const(np.asarray(0.0))
        law.args.spans["mu"] = law.span
    symmetric = np.asarray(0.5 * (precision + precision.T)) / root[:, None] / root
    add_gaussian(law, Const(symmetric, None, frozenset(["symmetric", "spd"])), True)


def _can_carry(law: Law) -> bool:
    left = law.left
    return (
        isinstance(left, Random)
        and left.batch is None
        and len(left.shape) == 1
        and plain(left.poly) is not None
    )


def _carry(law: Law, factor: FloatArray, key: str) -> None:
    """x = mean + factor @ z"""
    ctx = law.ctx
    left = law.left
    if isinstance(left, Random) and left.batch is not None:
        raise CannotBatchError("a singular law", law.span)
    if not isinstance(left, Random):
        fail(
            "E0413",
            f"`{law.name}` with a singular covariance cannot be the law of data: it allows only some values",
            law.span,
            help="add a noise: a positive jitter, or a variable with this law and `y ~ normal(f, sigma)`",
        )
    at = plain(left.poly)
    if at is None or len(left.shape) != 1:
        fail(
            "E0413",
            f"`{law.name}` with a singular covariance needs one variable, or distinct entries of one, on the "
            "left",
            law.node.left.span,
            help="declare a variable with this law and use it in the expression",
        )
    (name, *others) = sorted(left.poly.names)
    assert not others or at.size
    if any(ctx.domain_of(n) is not Domain.REAL for n in left.poly.names):
        fail(
            "E0417", f"`{law.name}` is a law of real numbers, but {quoted(left.poly.names)} is not", law.span
        )
    mean = Poly.constant(0.0, at.size)
    if "mu" in law.args.values:
        value = law.args.numeric("mu")
        law.residual()
        mean = as_poly(value, left.shape, None)
        if not mean.is_linear:
            fail("E0413", "the mean of a singular law must be linear in the variables", law.args.spans["mu"])
    rank = factor.shape[1]
    known = {v.name for v in ctx.variables}
    hidden = f"{name}.z"
    number = 2
    while hidden in known:
        hidden = f"{name}.z{number}"
        number += 1
    info = ctx.add_variable(hidden, (rank,), Domain.REAL, law.span)
    ctx.effects.append(Carried(at, mean, factor, info.start, hidden, law.span))
    if rank:
        z = Poly.variable(hidden, info.start, rank)
        ctx.effects.append(Added(square_sum(z, 1.0), law.span, True))
