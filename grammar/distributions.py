"""`left ~ distribution(…)`: what each distribution adds to the energy.

Constants are dropped. A loop's turns become a leading axis here, since the energy is the sum over all turns
anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.diagnostics import Label, Span, SpuccError, did_you_mean, fail
from spucc.energy import Domain
from spucc.grammar import tree
from spucc.grammar.arithmetic import (
    batch_of,
    binary,
    broadcast,
    const_flat,
    full,
    numeric,
    quoted,
)
from spucc.grammar.context import Added, AddedBlock, Context
from spucc.grammar.evaluate import evaluate, located
from spucc.grammar.functions import Arguments, match
from spucc.grammar.linear import distinct
from spucc.grammar.poly import Affine, Poly, Term, joined
from spucc.grammar.values import (
    CannotBatchError,
    Const,
    Group,
    Random,
    SparseConst,
    Text,
    Value,
    describe,
    show_shape,
)


@dataclass(eq=False)
class Law:
    """A statement `left ~ name(…)` while it is turned into energy."""

    ctx: Context
    node: tree.Tilde
    args: Arguments
    left: Const | Random

    @property
    def span(self) -> Span:
        return self.node.span

    @property
    def name(self) -> str:
        return self.node.distribution.function.id

    def add(self, poly: Poly, psd: bool = False) -> None:
        self.ctx.effects.append(Added(poly, self.span, psd))

    def scale(self, key: str) -> Const:
        """A scale: constant, positive; infinite is flat."""
        value = self.args.numeric(key)
        if isinstance(value, Random):
            fail(
                "E0406",
                f"the scale `{key}` of `{self.name}` depends on the random variable "
                f"{quoted(value.poly.names)}",
                self.args.spans[key],
                notes=("a scale that varies makes the energy something other than a polynomial",),
                help="give the scale as data and compile once for each value, or fix it at its estimate",
            )
        if not np.all(value.array > 0):
            at = int(np.flatnonzero(~(value.array > 0).ravel())[0])
            where = f" (entry {at})" if value.shape else ""
            fail(
                "E0411",
                f"the scale `{key}` of `{self.name}` must be positive, found "
                f"{float(value.array.ravel()[at]):g}{where}",
                self.args.spans[key],
            )
        return value

    def residual(self, key: str = "mu") -> Random:
        """left − mean, with the shape of the left side."""
        mean = self.args.numeric(key)
        shape = broadcast(
            self.left.shape, mean.shape, self.span,
            (Label(self.node.left.span, describe(self.left)), Label(self.args.spans[key], describe(mean))),
        )  # fmt: skip
        if shape != self.left.shape:
            _shape_mismatch(self, key, mean.shape)
        value = binary("-", self.left, mean, self.span) if not _is_zero(mean) else self.left
        return as_random(value if isinstance(value, Random | Const) else self.left)


def _is_zero(v: Const | Random) -> bool:
    return (
        isinstance(v, Const)
        and v.array.size == 1
        and v.batch is None
        and float(v.array.reshape(-1)[0]) == 0.0
    )


def _shape_mismatch(law: Law, key: str, shape: tuple[int, ...]) -> None:
    fail(
        "E0221",
        f"`{key}` of `{law.name}` has the shape {show_shape(shape)}, the left side "
        f"{show_shape(law.left.shape)}",
        law.args.spans[key],
        help="the left side says how many numbers there are; the arguments may be single numbers or have "
        "its shape",
    )


def as_random(v: Const | Random) -> Random:
    if isinstance(v, Random):
        return v
    size = int(v.array.size)
    flat = v.array.reshape(-1).astype(np.float64)
    return Random(Poly.constant(flat, size), v.shape, v.batch)


def unrolled(r: Random) -> Random:
    """The turns of the loop as a leading axis."""
    return r if r.batch is None else Random(r.poly, full(r.batch, r.shape))


def plain(poly: Poly) -> IntArray | None:
    """The coordinates that a polynomial reads, one an entry and no two the same; None if it is not of this
    kind."""
    slots = poly.affine.linear.slots
    if poly.terms or slots is None or len(slots) != 1:
        return None
    index, c = slots[0]
    offset = poly.affine.offset
    if (
        not (isinstance(c, float) and c == 1.0)
        or np.any(offset)
        or not distinct(index, poly.affine.linear.width)
    ):
        return None
    return index


def square_sum(poly: Poly, weight: float | FloatArray) -> Poly:
    """½ · weight · poly², entry by entry."""
    return poly.times(poly).scaled(weight * 0.5)


def normal(law: Law) -> None:
    """½ ((x − mu) / sigma)²; an infinite sigma is flat."""
    sigma = law.scale("sigma")
    _require_real(law)
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
            _shape_mismatch(law, "sigma", sigma.shape)
    batch = batch_of(r, sigma)
    if batch is not r.batch:
        from spucc.grammar.arithmetic import expanded

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


def _require_real(law: Law) -> None:
    """A continuous law on spins or bits is a mistake."""
    if not isinstance(law.left, Random):
        return
    if plain(law.left.poly) is None:
        return
    for name in law.left.poly.names:
        domain = law.ctx.domain_of(name)
        if domain is not Domain.REAL:
            fail(
                "E0417",
                f"`{law.name}` is a law of real numbers, but `{name}` is {domain.value}",
                law.span,
                help="for spins: `ising`; for bits: `boltzmann`, `bernoulli_logit`; or an `energy` statement",
            )


def _require_domain(law: Law, domain: Domain, left: Const | Random | None = None) -> None:
    left = law.left if left is None else left
    if isinstance(left, Const):
        allowed = (-1, 1) if domain is Domain.SPIN else (0, 1)
        if not np.isin(left.array, allowed).all():
            fail(
                "E0417",
                f"`{law.name}` is a law of {domain.value}s: the values are {allowed[0]} and {allowed[1]}",
                law.node.left.span,
            )
        return
    for name in left.poly.names:
        found = law.ctx.domain_of(name)
        if found is not domain:
            fail(
                "E0417",
                f"`{law.name}` is a law of {domain.value}s, but `{name}` is {found.value}",
                law.span,
                help=f"declare it as `var {name}: {domain.value}[…]`",
            )


def vector(law: Law, least: int = 1) -> Random:
    """The left side as vectors along its last axis."""
    r = as_random(law.left)
    if not r.shape:
        fail(
            "E0221",
            f"`{law.name}` is a law of a vector; the left side is a single number",
            law.node.left.span,
        )
    if r.shape[-1] < least:
        fail(
            "E0221",
            f"`{law.name}` needs at least {least} entries, the left side has {r.shape[-1]}",
            law.node.left.span,
        )
    return unrolled(r)


def along_last(r: Random, at: IntArray) -> Poly:
    """Entries `at` of the last axis, for every vector."""
    n = r.shape[-1]
    rows = r.poly.size // n if n else 0
    flat = (np.arange(rows, dtype=np.int64)[:, None] * n + at).ravel() if rows != 1 else at
    return r.poly.take(flat)


def rw1(law: Law) -> None:
    """½ Σ ((x_{t+1} − x_t) / sigma)²"""
    weight = _single_weight(law)
    r = vector(law)
    t = np.arange(max(r.shape[-1] - 1, 0))
    step = along_last(r, t + 1).plus(along_last(r, t).scaled(-1.0))
    law.add(square_sum(step, weight), step.is_linear)


def rw2(law: Law) -> None:
    """½ Σ ((x_{t+2} − 2 x_{t+1} + x_t) / sigma)²"""
    weight = _single_weight(law)
    r = vector(law)
    t = np.arange(max(r.shape[-1] - 2, 0))
    bend = along_last(r, t + 2).plus(along_last(r, t + 1).scaled(-2.0)).plus(along_last(r, t))
    law.add(square_sum(bend, weight), bend.is_linear)


def _single_weight(law: Law) -> float:
    """1 / sigma² for a scale that is one number."""
    sigma = law.scale("sigma")
    if sigma.batch is not None:
        raise CannotBatchError(f"`{law.name}` with a scale that varies over the loop", law.span)
    if sigma.shape != ():
        fail(
            "E0206",
            f"`sigma` of `{law.name}` must be one number, found {describe(sigma)}",
            law.args.spans["sigma"],
        )
    with np.errstate(all="ignore"):
        weight = float(1.0 / np.square(float(sigma.array)))
    if not np.isfinite(weight):
        fail(
            "E0411",
            "`sigma` is so small that its inverse square is not a finite number",
            law.args.spans["sigma"],
        )
    return weight


def ar1(law: Law) -> None:
    """Stationary: x_0 ~ normal(0, sigma / √(1 − phi²)), x_t ~ normal(phi x_{t−1}, sigma)"""
    phi = law.args.number("phi")
    if not -1.0 < phi < 1.0:
        fail(
            "E0423",
            f"`ar1` is stationary: `phi` must lie between −1 and 1, found {phi:g}",
            law.args.spans["phi"],
            help="`rw1(sigma)` is the limit phi = 1",
        )
    weight = _single_weight(law)
    r = vector(law)
    if not r.shape[-1]:
        return
    t = np.arange(r.shape[-1] - 1)
    first = along_last(r, np.zeros(1, dtype=np.int64)).scaled(float(np.sqrt((1.0 - phi) * (1.0 + phi))))
    step = along_last(r, t + 1).plus(along_last(r, t).scaled(-phi))
    law.add(square_sum(joined([first, step]), weight), step.is_linear)


def _graph_vector(law: Law, g: Any) -> Random:
    r = vector(law)
    if r.shape[-1] != g.n:
        fail("E0221", f"the graph has {g.n} nodes, the left side {r.shape[-1]} entries", law.span)
    return r


def icar(law: Law) -> None:
    """½ Σ_edges w_ij ((x_i − x_j) / sigma)²: intrinsic, flat along the constant of each component"""
    g = law.args.graph()
    weight = _single_weight(law)
    r = _graph_vector(law, g)
    step = along_last(r, g.i).plus(along_last(r, g.j).scaled(-1.0))
    repeats = step.size // g.i.size if g.i.size else 0
    uniform = bool((g.w == 1.0).all())
    law.add(
        square_sum(step, weight if uniform else weight * np.tile(g.w, repeats)),
        step.is_linear and bool((g.w >= 0).all()),
    )


def car(law: Law) -> None:
    """Precision (diag(W 1) − alpha W) / sigma²"""
    from scipy import sparse

    g = law.args.graph()
    alpha = law.args.number("alpha")
    if not -1.0 < alpha < 1.0:
        fail(
            "E0423",
            f"`car` is proper for `alpha` between −1 and 1, found {alpha:g}",
            law.args.spans["alpha"],
            help="`icar(G, sigma)` is the limit alpha = 1",
        )
    weight = _single_weight(law)
    r = _graph_vector(law, g)
    half = sparse.coo_array((g.w, (g.i, g.j)), shape=(g.n, g.n))
    w = sparse.csr_array(half + half.T)
    total = np.asarray(w.sum(axis=1))
    alone = np.flatnonzero(total <= 0)
    if alone.size:
        fail(
            "E0423",
            f"`car` needs every node to have a neighbour; node {int(alone[0])} has none",
            law.args.spans["G"],
        )
    precision = (
        sparse.csr_array(sparse.dia_array((total[None, :], [0]), shape=(g.n, g.n)) - alpha * w) * weight
    )
    add_quadratic(law, r, SparseConst(sparse.csr_array(precision)), 1.0, bool((g.w >= 0).all()))


def add_quadratic(law: Law, r: Random, matrix: Const | SparseConst, factor: float, psd: bool) -> None:
    """½ · factor · rᵀ M r for every vector along the last axis; M is symmetric."""
    n = r.shape[-1]
    repeats = r.poly.size // n if n else 0
    certified = psd and "spd" in matrix.facts
    if isinstance(matrix, SparseConst):
        from scipy import sparse

        upper = sparse.coo_array(sparse.triu(matrix.matrix))
        i, j = (np.asarray(c, dtype=np.int64) for c in upper.coords)
        on = i == j
        squares, i, j, cross = i[on], i[~on], j[~on], np.asarray(upper.data[~on])
        self_part = along_last(r, squares)
        law.add(square_sum(self_part, factor * np.tile(upper.data[on], repeats)), psd)
        pairs = along_last(r, i).times(along_last(r, j)).scaled(factor * np.tile(cross, repeats))
        law.add(pairs, psd)
        return
    at = plain(r.poly) if repeats == 1 else None
    array = frozen(matrix.array) if factor == 1.0 else frozen(matrix.array * factor)
    if at is not None:
        law.ctx.effects.append(AddedBlock(at, None, array, law.span, psd, certified))
        return
    from spucc.grammar.matmul import matmul

    rows = Random(r.poly, (repeats, n))
    image = matmul(rows, Const(array), law.span)
    assert isinstance(image, Random)
    law.add(r.poly.times(image.poly).scaled(0.5), psd)


def symmetric_matrix(law: Law, key: str, n: int, sparse_ok: bool = True) -> Const | SparseConst:
    """A symmetric n × n constant."""
    from spucc.grammar.checks import asymmetry

    value = law.args.values[key]
    if isinstance(value, Random):
        fail(
            "E0406",
            f"`{key}` of `{law.name}` depends on the random variable {quoted(value.poly.names)}",
            law.args.spans[key],
            help="the coefficients of a law are constants",
        )
    if not (isinstance(value, SparseConst) and sparse_ok):
        value = law.args.fixed(key)
    if value.shape != (n, n):
        fail(
            "E0221",
            f"`{key}` of `{law.name}` must be {n} × {n} for a left side with {n} entries, found "
            f"{describe(value)}",
            law.args.spans[key],
        )
    if "symmetric" not in value.facts:
        found = asymmetry(value)
        if found is not None:
            i, j, a, b = found
            fail(
                "E0412",
                f"`{key}` of `{law.name}` is not symmetric: entry [{i}, {j}] is {a:g}, entry [{j}, {i}] is "
                f"{b:g}",
                law.args.spans[key],
                help="`0.5 * (A + A.T)` is the symmetric part",
            )
    if isinstance(value, Const) and not np.isfinite(value.array).all():
        fail("E0421", f"`{key}` of `{law.name}` is not finite", law.args.spans[key])
    return value


def gmrf(law: Law) -> None:
    """½ xᵀ Q x"""
    r = vector(law)
    matrix = symmetric_matrix(law, "Q", r.shape[-1])
    add_quadratic(law, r, matrix, 1.0, "spd" in matrix.facts)


def multi_normal_prec(law: Law) -> None:
    """½ (x − mu)ᵀ Omega (x − mu)"""
    _require_real(law)
    n = vector(law).shape[-1]
    matrix = symmetric_matrix(law, "Omega", n)
    add_gaussian(law, matrix, "spd" in matrix.facts)


def add_gaussian(law: Law, matrix: Const | SparseConst, psd: bool) -> None:
    """½ (x − mu)ᵀ M (x − mu), keeping M as it is where x is plain and mu constant."""
    mean = law.args.numeric("mu")
    left = vector(law)
    at = plain(left.poly)
    if at is not None and isinstance(mean, Const) and len(left.shape) == 1:
        add_quadratic(law, left, matrix, 1.0, psd)
        if np.any(mean.array):
            if not np.isfinite(mean.array).all():
                fail("E0421", "an infinite mean makes the energy infinite", law.args.spans["mu"])
            law.residual()
            mu = np.broadcast_to(
                mean.array.astype(np.float64), (1, *left.shape) if mean.batch else left.shape
            ).ravel()
            array = matrix.array if isinstance(matrix, Const) else matrix.matrix
            force = np.asarray(array @ mu)
            law.add(left.poly.scaled(-force), True)
            law.add(Poly.constant(0.5 * float(mu @ force), 1), True)
        return
    add_quadratic(law, unrolled(law.residual()), matrix, 1.0, psd)


def ising(law: Law) -> None:
    """−½ s·J·s − h·s"""
    _pairwise(law, "J", "h", Domain.SPIN)


def boltzmann(law: Law) -> None:
    """−½ x·W·x − b·x"""
    _pairwise(law, "W", "b", Domain.BIT)


def _pairwise(law: Law, matrix_key: str, field_key: str, domain: Domain) -> None:
    _require_domain(law, domain)
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
        _shape_mismatch(law, key, value.shape)
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
    _require_domain(law, Domain.BIT)
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
        _shape_mismatch(law, "eta", eta.shape)
    law.add(r.poly.scaled(-const_flat(eta, r.shape, r.batch)), True)


def rbm(law: Law) -> None:
    """−v·W·h − a·v − b·h"""
    group = law.args.values["(v, h)"]
    assert isinstance(group, Group)
    if len(group.items) != 2:
        fail("E0221", "`rbm` is a law of two layers: `(v, h) ~ rbm(W, a, b)`", law.node.left.span)
    v, h = (unrolled(as_random(numeric(item, law.node.left.span))) for item in group.items)
    for layer in (v, h):
        _require_domain(law, Domain.BIT, layer)
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


def double_well(law: Law) -> None:
    """Σ J2 x² + J4 x⁴"""
    _require_real(law)
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
            _shape_mismatch(law, key, value.shape)
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
    "multi_normal_prec": _entry(multi_normal_prec, "mu Omega"),
    "multi_normal_cholesky": _entry(_covariances("multi_normal_cholesky"), "mu L"),
    "gmrf": _entry(gmrf, "Q"),
    "icar": _entry(icar, "G sigma"),
    "car": _entry(car, "G alpha sigma"),
    "rw1": _entry(rw1, "sigma"),
    "rw2": _entry(rw2, "sigma"),
    "ar1": _entry(ar1, "phi sigma"),
    "gp": _entry(_covariances("gp"), "t kernel sd length jitter period", 4),
    "ising": _entry(ising, "J h"),
    "boltzmann": _entry(boltzmann, "W b"),
    "bernoulli_logit": _entry(bernoulli_logit, "eta"),
    "rbm": _entry(rbm, "W a b"),
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
    from spucc.grammar.context import Collector

    collector = Collector()
    left: Value | None = None
    args: Arguments | None = None
    with collector.step():
        left = evaluate(ctx, node.left)
    with collector.step():
        args = match(ctx, _kernel_as_text(node.distribution), known.params, known.required)
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


__all__ = ["DISTRIBUTIONS", "Affine", "Law", "Term", "Text", "tilde"]
