"""The functions of the language: how a call finds its function, and the functions on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Never

import numpy as np

from spucc.arrays import IntArray
from spucc.diagnostics import Label, Span, SpuccError, did_you_mean, fail
from spucc.grammar import tree
from spucc.grammar.arithmetic import (
    as_poly,
    batch_of,
    binary,
    broadcast,
    calculated,
    constant,
    full,
    numeric,
    padded,
    quoted,
    summed,
)
from spucc.grammar.context import Context, Scope
from spucc.grammar.evaluate import evaluate, evaluate_all, located, stacked
from spucc.grammar.indexing import PointItem, SliceItem, indexed, reshaped, transposed
from spucc.grammar.matmul import matmul
from spucc.grammar.poly import joined
from spucc.grammar.values import (
    Array,
    CannotBatchError,
    Const,
    Edges,
    Graph,
    Group,
    Random,
    Range,
    SparseConst,
    Text,
    Value,
    check_size,
    describe,
    number_of,
    show_shape,
)

# Calls of the user's functions in one program; what doubles at each call reaches it at once.
MOST_CALLS = 100_000
DEEPEST_CALLS = 100


@dataclass(eq=False)
class Arguments:
    """The arguments of a call, matched to the function's parameters."""

    ctx: Context
    node: tree.Call
    values: dict[str, Value]
    spans: dict[str, Span]

    @property
    def span(self) -> Span:
        return self.node.span

    @property
    def name(self) -> str:
        return self.node.function.id

    def has(self, key: str) -> bool:
        return key in self.values

    def numeric(self, key: str) -> Const | Random:
        return numeric(self.values[key], self.spans[key])

    def const(self, key: str) -> Const:
        return constant(self.values[key], self.spans[key], f"the argument `{key}` of `{self.name}`")

    def fixed(self, key: str) -> Const:
        """A constant that is the same in all turns of a loop."""
        c = self.const(key)
        if c.batch is not None:
            raise CannotBatchError(f"`{self.name}` of something that varies over the loop", self.span)
        return c

    def whole(self, key: str) -> int:
        c = self.fixed(key)
        if c.shape != () or c.array.dtype.kind not in "iu":
            fail(
                "E0211",
                f"the argument `{key}` of `{self.name}` must be an integer, found {describe(c)}",
                self.spans[key],
            )
        return int(c.array)

    def number(self, key: str) -> float:
        c = self.fixed(key)
        if c.shape != ():
            fail(
                "E0206",
                f"the argument `{key}` of `{self.name}` must be one number, found {describe(c)}",
                self.spans[key],
            )
        return float(c.array)

    def graph(self, key: str = "G") -> Graph:
        value = self.values[key]
        if not isinstance(value, Graph):
            fail("E0206", f"`{self.name}` takes a graph, found {describe(value)}", self.spans[key])
        return value

    def text(self, key: str) -> str:
        value = self.values[key]
        if not isinstance(value, Text):
            fail(
                "E0206",
                f"the argument `{key}` of `{self.name}` must be a string, found {describe(value)}",
                self.spans[key],
            )
        return value.value

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes named by `axis=`, all without it."""
        if not self.has("axis"):
            return tuple(range(rank))
        value = self.values["axis"]
        listed = (
            [int(constant(v, self.spans["axis"], "an axis").array) for v in value.items]
            if isinstance(value, Group)
            else [self.whole("axis")]
        )
        for a in listed:
            if not -rank <= a < rank:
                fail("E0207", f"axis {a} is out of range for an array with {rank} axes", self.spans["axis"])
        return tuple(sorted({a % rank for a in listed}))

    def axis(self, rank: int, default: int = 0) -> int:
        if not self.has("axis"):
            return default
        a = self.whole("axis")
        if not -rank <= a < rank:
            fail("E0207", f"axis {a} is out of range for an array with {rank} axes", self.spans["axis"])
        return a % rank


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the language. `params` are its parameters; those after `required` may be left out; a last
    one that starts with `*` takes any number."""

    run: Callable[[Arguments], Value]
    params: tuple[str, ...]
    required: int
    text: str = ""


BUILTINS: dict[str, Builtin] = {}


def builtin(names: str, params: str, required: int | None = None) -> Callable[..., Any]:
    """Register a function under one or several names."""

    def register(run: Callable[[Arguments], Value]) -> Callable[[Arguments], Value]:
        listed = tuple(params.split())
        for name in names.split():
            BUILTINS[name] = Builtin(
                run, listed, len(listed) if required is None else required, run.__doc__ or ""
            )
        return run

    return register


def match(ctx: Context, node: tree.Call, params: tuple[str, ...], required: int) -> Arguments:
    """Evaluate the arguments of a call and give each to its parameter."""
    name = node.function.id
    star = next((p for p in params if p.startswith("*")), None)
    many = star is not None
    plain = tuple(p for p in params if p != star)
    ahead = params[: params.index(star)] if star is not None else params
    signature = f"{name}({', '.join(p if k < required else p + '=…' for k, p in enumerate(params))})"
    if len(node.args) > len(plain) and not many:
        fail(
            "E0205",
            f"`{name}` takes at most {len(plain)} arguments, found {len(node.args)}",
            node.span,
            help=f"`{signature}`",
        )
    nodes: dict[str, tree.Expr] = dict(zip(ahead, node.args))
    for keyword in node.keywords:
        if keyword.name not in plain:
            fail(
                "E0205",
                f"`{name}` has no argument `{keyword.name}`",
                keyword.span,
                help=did_you_mean(keyword.name, plain) or f"`{signature}`",
            )
        if keyword.name in nodes:
            fail("E0205", f"`{name}` is given `{keyword.name}` twice", keyword.span)
        nodes[keyword.name] = keyword.value
    missing = [p for p in params[:required] if p not in nodes and p != star]
    if missing:
        fail(
            "E0205",
            f"`{name}` needs {' and '.join(f'`{m}`' for m in missing)}",
            node.span,
            help=f"`{signature}`",
        )
    rest = tuple(node.args[len(ahead) :]) if many else ()
    found = evaluate_all(ctx, (*nodes.values(), *rest))
    values = dict(zip(nodes, found))
    spans = {key: n.span for key, n in nodes.items()}
    if star is not None:
        values[star] = Group(tuple(found[len(nodes) :]))
        spans[star] = node.span
    return Arguments(ctx, node, values, spans)


def call(ctx: Context, node: tree.Call) -> Value:
    """The value of `f(a, b)`."""
    name = node.function.id
    if name in ctx.functions:
        return expand(ctx, node, ctx.functions[name])
    known = BUILTINS.get(name)
    if known is None:
        load_all()
        known = BUILTINS.get(name)
    if known is None:
        _unknown(ctx, node)
    arguments = match(ctx, node, known.params, known.required)
    try:
        return known.run(arguments)
    except SpuccError as error:
        raise located(error, node.span) from None


def load_all() -> None:
    """Register what lives in modules that most programs do not need."""
    import spucc.grammar.files
    import spucc.grammar.graphs
    import spucc.grammar.kernels  # noqa: F401


def _unknown(ctx: Context, node: tree.Call) -> Never:
    from spucc.grammar.distributions import DISTRIBUTIONS

    name = node.function.id
    if name in DISTRIBUTIONS:
        fail(
            "E0220",
            f"`{name}` is a distribution: it stands on the right of `~`",
            node.function.span,
            help=f"`x ~ {name}(…)`",
        )
    if name in (
        "sample",
        "mean",
        "cov",
        "std",
        "var",
        "corr",
        "quantile",
        "expectation",
        "argmin",
        "logz",
        "inverse",
        "solve",
        "trajectory",
    ):
        fail("E0220", f"`{name}` is a query", node.function.span, help=f"`query answer = {name}(…)`")
    if name == "range":
        fail("E0220", "`range` stands only after `in`", node.function.span, help="`arange(n)` is an array")
    fail(
        "E0204",
        f"unknown function `{name}`",
        node.function.span,
        help=did_you_mean(name, [*BUILTINS, *ctx.functions]),
    )


def expand(ctx: Context, node: tree.Call, function: tree.Function) -> Value:
    """A call of a `fn`: its body with the arguments for its parameters."""
    name = function.name.id
    if name in ctx.active:
        path = " → ".join([*ctx.active[ctx.active.index(name) :], name])
        fail(
            "E0214",
            f"`{name}` calls itself ({path})",
            node.span,
            labels=(Label(function.span, "defined here"),),
            help="functions are expanded, so they cannot recurse",
        )
    ctx.calls += 1
    if ctx.calls > MOST_CALLS or len(ctx.active) >= DEEPEST_CALLS:
        fail(
            "E0214",
            f"the functions of this program expand to more than {MOST_CALLS:,} calls or nest deeper than "
            f"{DEEPEST_CALLS}",
            node.span,
        )
    params = tuple(p.id for p in function.params)
    arguments = match(ctx, node, params, len(params))
    scope = ctx.scope
    while scope.parent is not None:
        scope = scope.parent
    inner = Scope(scope)
    for p in function.params:
        inner.names[p.id] = (arguments.values[p.id], p.span)
    ctx.active.append(name)
    try:
        with ctx.inside(ctx.batch, inner):
            return evaluate(ctx, function.body)
    finally:
        ctx.active.pop()


def range_call(ctx: Context, node: tree.Call) -> Range:
    """`range(stop)`, `range(start, stop)`, `range(start, stop, step)`"""
    if not 1 <= len(node.args) <= 3 or node.keywords:
        fail(
            "E0205", "`range` takes one, two or three integers", node.span, help="`range(start, stop, step)`"
        )
    ends = []
    for value, arg in zip(evaluate_all(ctx, node.args), node.args):
        c = constant(value, arg.span, "the end of a range")
        if c.shape != () or c.array.dtype.kind not in "iu":
            fail("E0211", f"`range` counts with integers, found {describe(c)}", arg.span)
        ends.append(c)
    step = 1
    if len(ends) == 3:
        if ends[2].batch is not None:
            raise CannotBatchError("a range with a step that varies", node.span)
        step = int(ends.pop().array)
        if step == 0:
            fail("E0211", "the step of a range cannot be 0", node.args[2].span)
    zero = Const(np.asarray(0, dtype=np.int64))
    start, stop = (zero, ends[0]) if len(ends) == 1 else (ends[0], ends[1])
    return Range(start.array, stop.array, step, batch_of(start, stop))


# --- entry by entry
# --------------------------------------------------------------------------------------------------

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "tanh": np.tanh, "floor": np.floor,
}  # fmt: skip


@builtin(" ".join(_ELEMENTWISE), "x")
def _elementwise(a: Arguments) -> Value:
    """Entry by entry."""
    x = a.numeric("x")
    if isinstance(x, Random):
        if x.poly.is_constant:
            x = Const(np.asarray(as_array(x)))
        else:
            fail(
                "E0401",
                f"`{a.name}` of the random variable {quoted(x.poly.names)}: the energy must be a polynomial",
                a.span,
                help="of degree at most 4 in the variables; constants may go through any function",
            )
    result = calculated(_ELEMENTWISE[a.name], f"the result of `{a.name}`", a.span, x.array)
    if a.name == "floor":
        result = result.astype(np.int64) if np.all(np.abs(result) < 2**62) else result
    return Const(result, x.batch)


def as_array(x: Random) -> Array:
    """The values of a random expression that reads no variable."""
    return np.broadcast_to(np.asarray(x.poly.affine.offset), (x.poly.size,)).reshape(full(x.batch, x.shape))


@builtin("where", "condition a b")
def _where(a: Arguments) -> Value:
    """`a` where the condition holds, else `b`."""
    c = a.const("condition")
    x, y = a.numeric("a"), a.numeric("b")
    shape = broadcast(broadcast(c.shape, x.shape, a.span), y.shape, a.span)
    batch = batch_of(c, x, y)
    mask = padded(c.array.astype(bool), c.batch, len(shape))
    if isinstance(x, Const) and isinstance(y, Const):
        left, right = (padded(v.array, v.batch, len(shape)) for v in (x, y))
        return Const(np.where(mask, left, right), batch)
    flat = np.broadcast_to(mask, full(batch, shape)).reshape(-1)
    p, q = as_poly(x, shape, batch), as_poly(y, shape, batch)
    rows: IntArray = np.arange(flat.size, dtype=np.int64)
    return Random(joined([p, q]).take(np.where(flat, rows, rows + flat.size)), shape, batch)


# --- reductions
# ------------------------------------------------------------------------------------------------------


@builtin("sum mean prod min max", "x axis", 1)
def _reduce(a: Arguments) -> Value:
    """Over all entries, or along `axis=`."""
    value = a.values["x"]
    if isinstance(value, SparseConst) and a.name == "sum":
        return Const(np.asarray(value.matrix.sum(axis=a.axis(2) if a.has("axis") else None)))
    x = a.numeric("x")
    axes = a.axes(len(x.shape))
    count = number_of(tuple(x.shape[k] for k in axes))
    if isinstance(x, Random):
        if a.name in ("min", "max"):
            fail(
                "E0401",
                f"`{a.name}` of the random variable {quoted(x.poly.names)}: the energy must be a polynomial",
                a.span,
            )
        if a.name == "prod":
            return _product(x, axes, a.span)
        total = summed(x, axes)
        if a.name == "mean":
            if count == 0:
                fail("E0218", "`mean` of nothing", a.span)
            return Random(total.poly.scaled(1.0 / count), total.shape, total.batch)
        return total
    if count == 0 and a.name in ("mean", "min", "max"):
        fail("E0218", f"`{a.name}` of nothing", a.span)
    shift = 0 if x.batch is None else 1
    array = x.array.astype(np.int64) if x.array.dtype.kind == "b" else x.array
    if a.name in ("sum", "prod") and array.dtype.kind == "i" and array.size:
        top = float(np.abs(array.astype(np.float64)).max())
        if (top * count if a.name == "sum" else max(top, 2.0) ** min(count, 2000)) > 2.0**62:
            array = array.astype(np.float64)
    function = getattr(np, a.name)
    return Const(
        calculated(
            lambda v: function(v, axis=tuple(k + shift for k in axes)),
            f"the result of `{a.name}`",
            a.span,
            array,
        ),
        x.batch,
    )


def _product(x: Random, axes: tuple[int, ...], span: Span) -> Value:
    """The product along axes, factor by factor: its length is the degree, so it is short."""
    kept = [k for k in range(len(x.shape)) if k not in axes]
    count = number_of(tuple(x.shape[k] for k in axes))
    if count > 16:
        fail(
            "E0404",
            f"a product of {count} random factors from {quoted(x.poly.names)}",
            span,
            help="the degree may be at most 4 in the real variables",
        )
    positions: IntArray = np.arange(number_of(full(x.batch, x.shape)), dtype=np.int64).reshape(
        full(x.batch, x.shape)
    )
    lead = 0 if x.batch is None else 1
    left = tuple(x.shape[k] for k in kept)
    order = [*range(lead), *(k + lead for k in kept), *(k + lead for k in axes)]
    moved = positions.transpose(order).reshape(-1, count)
    if count == 0:
        return Const(np.ones(full(x.batch, left)), x.batch)
    result = x.poly.take(np.ascontiguousarray(moved[:, 0]))
    for k in range(1, count):
        result = result.times(x.poly.take(np.ascontiguousarray(moved[:, k])))
    return Random(result, left, x.batch)


@builtin("cumsum", "x axis", 1)
def _cumsum(a: Arguments) -> Value:
    """Running sums."""
    x = a.numeric("x")
    axis = a.axis(len(x.shape)) if a.has("axis") else None
    if axis is None:
        x, axis = reshaped(x, (number_of(x.shape),)), 0
    if isinstance(x, Const):
        array = x.array.astype(np.int64) if x.array.dtype.kind == "b" else x.array
        shift = 0 if x.batch is None else 1
        return Const(
            calculated(lambda v: np.cumsum(v, axis=axis + shift), "the result of `cumsum`", a.span, array),
            x.batch,
        )
    if len(x.shape) != 1:
        fail("E0206", "`cumsum` of random variables takes a vector", a.span)
    n = x.shape[0]
    check_size((n, n), a.span, x.batch)
    lower = Const(np.tri(n))
    return matmul(lower, x, a.span)


@builtin("dot", "a b")
def _dot(a: Arguments) -> Value:
    """The product of two vectors, or `@`."""
    return matmul(a.values["a"], a.values["b"], a.span)


@builtin("outer", "a b")
def _outer(a: Arguments) -> Value:
    """All products of entries of two vectors."""
    x, y = (reshaped(v, (number_of(v.shape),)) for v in (a.numeric("a"), a.numeric("b")))
    return binary("*", reshaped(x, (x.shape[0], 1)), reshaped(y, (1, y.shape[0])), a.span)


# --- making arrays
# ---------------------------------------------------------------------------------------------------


def dimensions(a: Arguments, key: str) -> tuple[int, ...]:
    """A shape given as integers, as a tuple or as an array."""
    value = a.values[key]
    items = value.items if isinstance(value, Group) else (value,)
    if len(items) == 1 and isinstance(items[0], Group):
        items = items[0].items
    sizes: list[int] = []
    for item in items:
        c = constant(item, a.spans[key], "a shape")
        if c.batch is not None:
            raise CannotBatchError(f"`{a.name}` with a shape that varies over the loop", a.span)
        if c.array.dtype.kind not in "iu" or len(c.shape) > 1:
            fail("E0211", f"a shape is made of integers, found {describe(c)}", a.spans[key])
        sizes += [int(n) for n in c.array.reshape(-1)]
    return tuple(sizes)


def checked_shape(sizes: Sequence[int], span: Span) -> tuple[int, ...]:
    for n in sizes:
        if n < 0:
            fail("E0211", f"a dimension cannot be negative, found {n}", span)
    check_size(tuple(sizes), span)
    return tuple(sizes)


@builtin("zeros ones", "*shape", 0)
def _filled(a: Arguments) -> Value:
    """An array of zeros or ones."""
    shape = checked_shape(dimensions(a, "*shape"), a.span)
    return Const(np.zeros(shape) if a.name == "zeros" else np.ones(shape))


@builtin("full", "shape value")
def _full(a: Arguments) -> Value:
    """An array with the same number everywhere."""
    shape = checked_shape(dimensions(a, "shape"), a.span)
    value = a.numeric("value")
    if isinstance(value, Random) or value.shape or value.batch is not None:
        ones = Const(np.ones(shape))
        return binary("*", value, ones, a.span)
    return Const(np.full(shape, value.array))


@builtin("eye", "n m", 1)
def _eye(a: Arguments) -> Value:
    """The identity matrix."""
    n, m = checked_shape((a.whole("n"), a.whole("m") if a.has("m") else a.whole("n")), a.span)
    return Const(np.eye(n, m))


@builtin("diag", "x")
def _diag(a: Arguments) -> Value:
    """A vector as a diagonal matrix, or the diagonal of a matrix."""
    value = a.values["x"]
    if isinstance(value, SparseConst):
        return Const(np.asarray(value.matrix.diagonal()))
    x = a.numeric("x")
    if len(x.shape) == 2:
        k = Const(np.arange(min(x.shape), dtype=np.int64))
        return indexed(x, [PointItem(k, a.span), PointItem(k, a.span)], "the matrix", a.span)
    if len(x.shape) != 1:
        fail("E0203", f"`diag` takes a vector or a matrix, found {describe(x)}", a.span)
    n = x.shape[0]
    check_size((n, n), a.span, x.batch)
    return binary("*", Const(np.eye(n)), reshaped(x, (1, n)), a.span)


@builtin("linspace", "start stop n")
def _linspace(a: Arguments) -> Value:
    """n numbers from start to stop, both included."""
    n = a.whole("n")
    checked_shape((n,), a.span)
    return Const(np.linspace(a.number("start"), a.number("stop"), n))


@builtin("arange", "start stop step", 1)
def _arange(a: Arguments) -> Value:
    """`arange(n)`, `arange(start, stop, step)`"""
    ends = [a.fixed(k) for k in ("start", "stop", "step") if a.has(k)]
    for e in ends:
        if e.shape != ():
            fail("E0206", "`arange` takes single numbers", a.span)
    numbers = [e.array.item() for e in ends]
    start, stop = (0, numbers[0]) if len(numbers) == 1 else numbers[:2]
    step = numbers[2] if len(numbers) == 3 else 1
    if step == 0:
        fail("E0211", "the step of `arange` cannot be 0", a.span)
    count = max(0.0, np.ceil((stop - start) / step))
    if not count <= 1e18:
        fail("E0217", "an `arange` without end", a.span)
    check_size((int(count),), a.span)
    return Const(np.arange(start, stop, step))


# --- shapes
# ----------------------------------------------------------------------------------------------------------


@builtin("len", "x")
def _len(a: Arguments) -> Value:
    """The length of the first axis."""
    shape = a.values["x"].shape
    if not shape:
        fail("E0206", f"`len` takes an array, found {describe(a.values['x'])}", a.span)
    return Const(np.asarray(shape[0], dtype=np.int64))


@builtin("shape", "x axis", 1)
def _shape(a: Arguments) -> Value:
    """The lengths of all axes, or of one."""
    shape = np.asarray(a.values["x"].shape, dtype=np.int64)
    return Const(shape[a.axis(shape.size)] if a.has("axis") else shape)


@builtin("transpose", "x")
def _transpose(a: Arguments) -> Value:
    """The axes reversed."""
    value = a.values["x"]
    if isinstance(value, SparseConst):
        return SparseConst(value.matrix.T.tocsr())
    return transposed(a.numeric("x"))


@builtin("reshape", "x *shape")
def _reshape(a: Arguments) -> Value:
    """The same entries in another shape; one dimension may be −1."""
    x = a.numeric("x")
    shape = list(dimensions(a, "*shape"))
    total = number_of(x.shape)
    if shape.count(-1) == 1:
        rest = number_of(tuple(n for n in shape if n != -1))
        shape[shape.index(-1)] = total // rest if rest > 0 else 0
    if number_of(tuple(shape)) != total or any(n < 0 for n in shape):
        fail(
            "E0203",
            f"{show_shape(x.shape)} has {total} entries and cannot have the shape {show_shape(tuple(shape))}",
            a.span,
        )
    return reshaped(x, tuple(shape))


def _listed(a: Arguments, key: str) -> list[Const | Random]:
    """The arrays given to `concat` or `stack`: as arguments, as a tuple or as `[a, b]`."""
    value = a.values[key]
    assert isinstance(value, Group)
    items = value.items
    if len(items) == 1 and isinstance(items[0], Group):
        items = items[0].items
    elif len(items) == 1 and isinstance(items[0], Const | Random) and items[0].shape:
        whole = items[0]
        every = SliceItem(None, None, 1, a.span)
        rest = [every] * (len(whole.shape) - 1)
        items = tuple(
            indexed(whole, [PointItem(Const(np.asarray(k)), a.span), *rest], "the array", a.span)
            for k in range(min(whole.shape[0], 1000))
        )
    if not items:
        fail("E0205", f"`{a.name}` needs at least one array", a.span)
    return [numeric(v, a.span) for v in items]


@builtin("concat", "*arrays axis", 0)
def _concat(a: Arguments) -> Value:
    """Arrays one after the other along `axis=`."""
    parts = _listed(a, "*arrays")
    parts = [reshaped(p, (1,)) if p.shape == () else p for p in parts]
    rank = len(parts[0].shape)
    axis = a.axis(rank)
    for p in parts:
        if len(p.shape) != rank or any(
            m != n for k, (m, n) in enumerate(zip(p.shape, parts[0].shape)) if k != axis
        ):
            fail(
                "E0203",
                f"`concat` cannot put {show_shape(parts[0].shape)} and {show_shape(p.shape)} together along "
                f"axis {axis}",
                a.span,
            )
    batch = batch_of(*parts)
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    check_size(tuple(shape), a.span, batch)
    lead = 0 if batch is None else 1
    if all(isinstance(p, Const) for p in parts):
        arrays = [np.broadcast_to(p.array, full(batch, p.shape)) for p in parts if isinstance(p, Const)]
        return Const(np.concatenate(arrays, axis=axis + lead), batch)
    positions = []
    start = 0
    for p in parts:
        whole = full(batch, p.shape)
        positions.append(np.arange(start, start + number_of(whole), dtype=np.int64).reshape(whole))
        start += number_of(whole)
    poly = joined([as_poly(p, p.shape, batch) for p in parts])
    if axis + lead:
        poly = poly.take(np.concatenate(positions, axis=axis + lead).reshape(-1))
    return Random(poly, tuple(shape), batch)


@builtin("stack", "*arrays axis", 0)
def _stack(a: Arguments) -> Value:
    """Arrays of one shape along a new axis."""
    parts = _listed(a, "*arrays")
    for p in parts:
        if p.shape != parts[0].shape:
            fail(
                "E0203",
                f"`stack` needs one shape, found {show_shape(parts[0].shape)} and {show_shape(p.shape)}",
                a.span,
            )
    return stacked(parts, a.axis(len(parts[0].shape) + 1))


# --- linear algebra
# --------------------------------------------------------------------------------------------------


def square(a: Arguments, key: str = "A") -> Const:
    c = a.const(key)
    if len(c.shape) != 2 or c.shape[0] != c.shape[1]:
        fail("E0203", f"`{a.name}` takes a square matrix, found {describe(c)}", a.spans[key])
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
        fail("E0223", "`cholesky` of a matrix that is not positive definite", a.span)


@builtin("logdet", "A")
def _logdet(a: Arguments) -> Value:
    """The logarithm of the determinant of a positive definite matrix."""
    c = square(a)
    try:
        factor = np.linalg.cholesky(c.array.astype(np.float64))
    except np.linalg.LinAlgError:
        fail("E0223", "`logdet` of a matrix that is not positive definite", a.span)
    return Const(2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1), c.batch)


@builtin("sparse", "rows cols values n m")
def _sparse(a: Arguments) -> Value:
    """A sparse matrix from its entries; entries at the same place are added."""
    from scipy import sparse

    rows, cols, values = (a.fixed(k) for k in ("rows", "cols", "values"))
    n, m = a.whole("n"), a.whole("m")
    if n < 0 or m < 0 or max(n, m) > 2**31:
        fail("E0211", f"a sparse matrix cannot have the shape [{n}, {m}]", a.span)
    data = np.broadcast_to(values.array, np.broadcast_shapes(rows.shape, values.shape)).astype(np.float64)
    for key, c, size in (("rows", rows, n), ("cols", cols, m)):
        if c.array.dtype.kind not in "iu" and c.array.size:
            fail("E0208", f"the argument `{key}` of `sparse` must be integers", a.spans[key])
        if len(c.shape) != 1 or c.shape != data.shape:
            fail("E0203", "`rows`, `cols` and `values` of `sparse` must be vectors of one length", a.span)
        if c.array.size and (c.array.min() < 0 or c.array.max() >= size):
            at = int(np.flatnonzero((c.array < 0) | (c.array >= size))[0])
            fail(
                "E0207",
                f"`{key}[{at}]` of `sparse` is {int(c.array[at])}, outside 0 … {size - 1}",
                a.spans[key],
            )
    index = (rows.array.astype(np.int64), cols.array.astype(np.int64))
    return SparseConst(sparse.csr_array(sparse.coo_array((data, index), shape=(n, m))))


__all__ = ["BUILTINS", "Arguments", "Edges", "builtin", "call", "match", "range_call"]
