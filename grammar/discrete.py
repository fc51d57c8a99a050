"""Laws of spins and bits: `ising`, `boltzmann`, `rbm`, `bernoulli_logit`."""

from __future__ import annotations

import numpy as np

from spucc.arrays import frozen
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.grammar.arithmetic import binary
from spucc.grammar.broadcasting import broadcast, const_flat, numeric, quoted
from spucc.grammar.context import AddedBlock
from spucc.grammar.laws import (
    Law,
    add_quadratic,
    as_random,
    plain,
    require_domain,
    shape_mismatch,
    symmetric_matrix,
    unrolled,
    vector,
)
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    Group,
    Random,
    SparseConst,
    describe,
)


def ising(law: Law) -> None:
    """−½ s·J·s − h·s"""
    _pairwise(law, "J", "h", Domain.SPIN)


def boltzmann(law: Law) -> None:
    """−½ x·W·x − b·x"""
    _pairwise(law, "W", "b", Domain.BIT)


def _pairwise(law: Law, matrix_key: str, field_key: str, domain: Domain) -> None:
    require_domain(law, domain)
    r = vector(law)
    n = r.shape[-1]
    matrix = symmetric_matrix(law, matrix_key, n)
    diagonal = matrix.matrix.diagonal() if isinstance(matrix, SparseConst) else np.diagonal(matrix.array)
    if np.any(diagonal):
        at = int(np.flatnonzero(diagonal)[0])
        fail(
            "E0418",
            f"the diagonal of `{matrix_key}` of `{law.name}` must be zero; entry [{at}, {at}] is "
            f"{float(diagonal[at]):g}",
            law.args.spans[matrix_key],
            help=f"a spin's square is 1, a bit's is itself: put it into `{field_key}`",
        )
    if n:
        add_quadratic(law, r, matrix, -1.0, False)
    _add_field(law, r, field_key)


def _add_field(law: Law, r: Random, key: str) -> None:
    """−field · x"""
    value = law.args.numeric(key)
    shape = broadcast(r.shape, value.shape, law.args.spans[key])
    if shape != r.shape:
        shape_mismatch(law, key, value.shape)
    if isinstance(value, Random):
        product = binary("*", r, value, law.span)
        assert isinstance(product, Random)
        law.add(product.poly.scaled(-1.0))
        return
    if value.batch is not None:
        raise CannotBatchError(f"`{law.name}` with a field that varies over the loop", law.span)
    if not np.isfinite(value.array).all():
        fail("E0421", f"`{key}` of `{law.name}` is not finite", law.args.spans[key])
    flat = const_flat(value, r.shape, None)
    law.add(r.poly.scaled(-flat), True)


def bernoulli_logit(law: Law) -> None:
    """−eta · b"""
    require_domain(law, Domain.BIT)
    eta = law.args.numeric("eta")
    if isinstance(eta, Random):
        fail(
            "E0401",
            f"`bernoulli_logit` with the random variable {quoted(eta.poly.names)} in `eta`: its normaliser "
            "log(1 + exp(eta)) is not a polynomial",
            law.args.spans["eta"],
            help="give `eta` as a constant, or model the joint law with `boltzmann` or `rbm`",
        )
    _add_field(law, unrolled(as_random(law.left)), "eta") if law.left.batch is None else _batched_field(
        law, eta
    )


def _batched_field(law: Law, eta: Const) -> None:
    r = as_random(law.left)
    if broadcast(r.shape, eta.shape, law.span) != r.shape:
        shape_mismatch(law, "eta", eta.shape)
    law.add(r.poly.scaled(-const_flat(eta, r.shape, r.batch)), True)


def rbm(law: Law) -> None:
    """−v·W·h − a·v − b·h"""
    group = law.args.values["(v, h)"]
    assert isinstance(group, Group)
    if len(group.items) != 2:
        fail("E0221", "`rbm` is a law of two layers: `(v, h) ~ rbm(W, a, b)`", law.node.left.span)
    v, h = (unrolled(as_random(numeric(item, law.node.left.span))) for item in group.items)
    for layer in (v, h):
        require_domain(law, Domain.BIT, layer)
        if len(layer.shape) != 1:
            fail("E0221", "the layers of `rbm` are vectors, outside of loops", law.node.left.span)
    weights = law.args.values["W"]
    if not isinstance(weights, SparseConst):
        weights = law.args.fixed("W")
    if weights.shape != (v.shape[0], h.shape[0]):
        fail(
            "E0221",
            f"`W` of `rbm` must be {v.shape[0]} × {h.shape[0]}, found {describe(weights)}",
            law.args.spans["W"],
        )
    rows, cols = plain(v.poly), plain(h.poly)
    if (
        isinstance(weights, Const)
        and rows is not None
        and cols is not None
        and not np.intersect1d(rows, cols).size
    ):
        if not np.isfinite(weights.array).all():
            fail("E0421", "`W` of `rbm` is not finite", law.args.spans["W"])
        if weights.array.size:
            law.ctx.effects.append(
                AddedBlock(rows, cols, frozen(-weights.array.astype(np.float64)), law.span)
            )
    else:
        from spucc.grammar.matmul import matmul

        image = matmul(weights, h, law.span)
        law.add(v.poly.times(as_random(numeric(image, law.span)).poly).scaled(-1.0))
    _add_field(law, v, "a")
    _add_field(law, h, "b")
