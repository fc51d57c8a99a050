"""`left ~ distribution(…)`: which distributions there are, and `normal` and `double_well`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spucc.diagnostics import SpuccError, did_you_mean, fail
from spucc.grammar import discrete, fields, tree
from spucc.grammar.arguments import match
from spucc.grammar.arithmetic import binary
from spucc.grammar.broadcasting import batch_of, broadcast, const_flat, numeric, quoted
from spucc.grammar.context import Collector, Context
from spucc.grammar.evaluate import evaluate, located
from spucc.grammar.laws import (
    Law,
    as_random,
    require_real,
    shape_mismatch,
    square_sum,
)
from spucc.grammar.values import (
    Const,
    Group,
    Random,
)


def normal(law: Law) -> None:
    """½ ((x − mu) / sigma)²; an infinite sigma is flat."""
    sigma = law.scale("sigma")
    require_real(law)
    mean = law.args.numeric("mu")
    if isinstance(mean, Const):
        _finite_where_needed(law, mean, sigma)
        mean_array = (
            np.where(np.isfinite(mean.array), mean.array, 0.0) if mean.array.dtype.kind == "f" else None
        )
        if mean_array is not None:
            law.args.values["mu"] = Const(mean_array, mean.batch)
    r = law.residual()
    if sigma.shape != law.left.shape:
        shape = broadcast(law.left.shape, sigma.shape, law.args.spans["sigma"])
        if shape != law.left.shape:
            shape_mismatch(law, "sigma", sigma.shape)
    batch = batch_of(r, sigma)
    if batch is not r.batch:
        from spucc.grammar.broadcasting import expanded

        r = Random(expanded(r, r.shape, batch), r.shape, batch)
    with np.errstate(all="ignore"):
        weight: Any = 1.0 / np.square(const_flat(sigma, r.shape, batch))
    if not np.all(np.isfinite(weight)):
        fail(
            "E0411",
            "`sigma` is so small that its inverse square is not a finite number",
            law.args.spans["sigma"],
        )
    poly = r.poly
    if isinstance(weight, np.ndarray):
        if (weight == 0.0).any():
            keep = np.flatnonzero(weight)
            poly, weight = poly.take(keep), weight[keep]
    elif weight == 0.0:
        return
    law.add(square_sum(poly, float(weight) if not isinstance(weight, np.ndarray) else weight), poly.is_linear)


def _finite_where_needed(law: Law, mean: Const, sigma: Const) -> None:
    """An infinite mean is allowed only where the scale is infinite too."""
    if mean.array.dtype.kind != "f" or np.isfinite(mean.array).all():
        return
    try:
        bad = ~np.isfinite(mean.array) & np.isfinite(sigma.array)
    except ValueError:
        return
    if bad.any():
        fail("E0421", "an infinite mean makes the energy infinite", law.args.spans["mu"])


def double_well(law: Law) -> None:
    """Σ J2 x² + J4 x⁴"""
    require_real(law)
    r = as_random(law.left)
    square = binary("**", r, Const(np.asarray(2)), law.span)
    fourth = binary("**", r, Const(np.asarray(4)), law.span)
    for key, power in (("J2", square), ("J4", fourth)):
        value = law.args.numeric(key)
        if isinstance(value, Random):
            fail(
                "E0406",
                f"`{key}` of `double_well` depends on the random variable {quoted(value.poly.names)}",
                law.args.spans[key],
                help="the coefficients of a law are constants",
            )
        if broadcast(r.shape, value.shape, law.span) != r.shape:
            shape_mismatch(law, key, value.shape)
        term = binary("*", value, power, law.span)
        law.add(as_random(numeric(term, law.span)).poly, key == "J2" and bool(np.all(value.array >= 0)))


@dataclass(frozen=True, slots=True)
class Distribution:
    run: Callable[[Law], None]
    params: tuple[str, ...]
    required: int


def _entry(run: Callable[[Law], None], params: str, required: int | None = None) -> Distribution:
    listed = tuple(params.split())
    return Distribution(run, listed, len(listed) if required is None else required)


def _covariances(name: str) -> Callable[[Law], None]:
    """Laws given by a covariance live in their own module."""

    def run(law: Law) -> None:
        import spucc.grammar.covariances as covariances

        getattr(covariances, name)(law)

    return run


DISTRIBUTIONS: dict[str, Distribution] = {
    "normal": _entry(normal, "mu sigma"),
    "multi_normal": _entry(_covariances("multi_normal"), "mu Sigma"),
    "multi_normal_prec": _entry(fields.multi_normal_prec, "mu Omega"),
    "multi_normal_cholesky": _entry(_covariances("multi_normal_cholesky"), "mu L"),
    "gmrf": _entry(fields.gmrf, "Q"),
    "icar": _entry(fields.icar, "G sigma"),
    "car": _entry(fields.car, "G alpha sigma"),
    "rw1": _entry(fields.rw1, "sigma"),
    "rw2": _entry(fields.rw2, "sigma"),
    "ar1": _entry(fields.ar1, "phi sigma"),
    "gp": _entry(_covariances("gp"), "t kernel sd length jitter period", 4),
    "ising": _entry(discrete.ising, "J h"),
    "boltzmann": _entry(discrete.boltzmann, "W b"),
    "bernoulli_logit": _entry(discrete.bernoulli_logit, "eta"),
    "rbm": _entry(discrete.rbm, "W a b"),
    "double_well": _entry(double_well, "J2 J4"),
}


def tilde(ctx: Context, node: tree.Tilde) -> None:
    """Add the energy of `left ~ distribution(…)`."""
    name = node.distribution.function.id
    known = DISTRIBUTIONS.get(name)
    if known is None:
        fail(
            "E0224",
            f"unknown distribution `{name}`",
            node.distribution.function.span,
            help=did_you_mean(name, DISTRIBUTIONS),
        )
    collector = Collector()
    left = collector.attempt(evaluate, ctx, node.left)
    args = collector.attempt(match, ctx, _kernel_as_text(node.distribution), known.params, known.required)
    collector.done()
    assert left is not None and args is not None
    law = Law(ctx, node, args, Const(np.zeros(0)))
    if name == "rbm":
        if not isinstance(left, Group):
            fail("E0221", "`rbm` is a law of two layers: `(v, h) ~ rbm(W, a, b)`", node.left.span)
        args.values["(v, h)"] = left
    elif isinstance(left, Group):
        fail("E0221", f"`{name}` is not a law of several variables: `rbm` is", node.left.span)
    else:
        law.left = numeric(left, node.left.span, "a variable or data")
    try:
        known.run(law)
    except SpuccError as error:
        raise located(error, node.span) from None


def _kernel_as_text(call: tree.Call) -> tree.Call:
    """`gp(t, rbf, …)`: the kernel is named, not called."""
    if call.function.id != "gp":
        return call
    from spucc.grammar.kernels import NAMES

    def text(node: tree.Expr) -> tree.Expr:
        return tree.String(node.span, node.id) if isinstance(node, tree.Name) and node.id in NAMES else node

    args = tuple(text(a) for a in call.args)
    keywords = tuple(tree.Keyword(k.span, k.name, text(k.value)) for k in call.keywords)
    return tree.Call(call.span, call.function, args, keywords)
