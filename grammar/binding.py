"""`data` declarations: where a datum comes from, and whether it is what was declared.

In this order: what the caller gives by name (`--data N=16`), the data files in the order given, the default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spucc.diagnostics import Diagnostic, Span, SpuccError, did_you_mean, fail
from spucc.grammar import graph_files, json_files, tree
from spucc.grammar.context import Context, Declared
from spucc.grammar.data_files import DataFile, npz_graph
from spucc.grammar.evaluate import evaluate, located
from spucc.grammar.memory import arrays_of
from spucc.grammar.types import Source, checked, dimension
from spucc.grammar.values import (
    Const,
    Edges,
    Graph,
    Random,
    Range,
    SparseConst,
    Text,
    Value,
    check_size,
    describe,
    show_shape,
)

Given = Mapping[str, Any]


@dataclass(eq=False)
class Bound:
    """All that was given from outside, what the program declares as data, and the digests of what was used."""

    named: Given = field(default_factory=dict)
    files: list[DataFile] = field(default_factory=list)
    wanted: dict[str, Span] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


def bind(ctx: Context, node: tree.Data) -> None:
    """Find a datum, check it, and give its name its value."""
    name = node.name.id
    ctx.bound.wanted[name] = node.name.span
    if ctx.scope.find(name) is not None:
        ctx.declare(node.name, Const(np.zeros(())))
    value, source, column = _find(ctx, node)
    if node.type.name == "graph":
        value = _as_graph(value, source)
    elif node.type.name == "string":
        if not isinstance(value, Text):
            source.fail("E0302", f"must be a string, found {describe(value)}")
    else:
        value = _as_array(ctx, node, value, source, column)
    ctx.declare(node.name, value)
    shown = node.type.name + (show_shape(value.shape) if value.shape else "")
    ctx.declared.append(Declared(name, "data", shown, value.shape, node.name.span, value))
    ctx.bound.digests[name] = digest(value)


def _find(ctx: Context, node: tree.Data) -> tuple[Value, Source, bool]:
    """The value, where it is from, and whether it is a column of a table."""
    name = node.name.id
    bound: Bound = ctx.bound
    found = _from_outside(bound, node)
    if found is not None:
        ctx.memory.given(sum(a.size for a in arrays_of(found[0])))
        return found
    if node.default is not None:
        value = evaluate(ctx, node.default)
        if isinstance(value, Random):
            fail("E0210", f"the default of `{name}` depends on a random variable", node.default.span)
        return value, Source(name, "its default", node.default.span), False
    known = [*bound.named, *(k for f in bound.files for k in f.names())]
    fail(
        "E0301",
        f"no value for the datum `{name}`",
        node.name.span,
        help=did_you_mean(name, known)
        or f"give it with `--data {name}=…`, in a file with `--data FILE`, or as a default",
    )


def undeclared(ctx: Context) -> Iterator[Diagnostic]:
    """E0318 for each value given by name that no `data` declares. Files may hold more than a program asks for.

    Nothing is said where the program may have declarations that were not come to, or where E0301 offers the name.
    """
    bound: Bound = ctx.bound
    if any(d.is_error and d.code != "E0301" for d in ctx.diagnostics):
        return
    without = bound.wanted.keys() - bound.digests.keys()
    for name in bound.named:
        if name in bound.wanted or any(
            did_you_mean(w, bound.named) and did_you_mean(name, [w]) for w in without
        ):
            continue
        declared = next((d for d in ctx.declared if d.name == name), None)
        if declared is not None:
            yield Diagnostic(
                "E0318",
                f"a value is given for `{name}`, which is {_NOT_DATA[declared.kind]}",
                declared.span,
                help=f"leave it out, or declare `data {name}: …`",
            )
            continue
        help = did_you_mean(name, bound.wanted)
        span = next((at for key, at in bound.wanted.items() if f"`{key}`" in help), None)
        yield Diagnostic(
            "E0318",
            f"a value is given for `{name}`, but the program declares no such datum",
            span,
            label="this one?" if span else "",
            help=help or (f"its data are {', '.join(bound.wanted)}" if bound.wanted else "it has no data"),
        )


_NOT_DATA = {
    "param": "a param: its value stands in the program",
    "let": "a constant: its value stands in the program",
    "var": "a random variable: `observe` fixes one",
    "data": "the length of an axis: the array that has it says what it is",
}


def _from_outside(bound: Bound, node: tree.Data) -> tuple[Value, Source, bool] | None:
    """A datum given by name or in a data file."""
    name = node.name.id
    if name in bound.named:
        source = Source(name, "given by name", node.name.span)
        return converted(bound.named[name], node.type.name, source), source, False
    for file in bound.files:
        if name in file.names():
            try:
                return (
                    file.read(name),
                    Source(name, file.name, node.name.span),
                    file.kind == "csv",
                )
            except SpuccError as error:
                raise located(error, node.name.span) from None
        graph = npz_graph(file, name) if node.type.name == "graph" else None
        if graph is not None:
            return graph, Source(name, file.name, node.name.span), False
    return None


def converted(given: Any, type_: str, source: Source) -> Value:
    """A Python object, or the text after `--data NAME=`, as a value."""
    if isinstance(given, Const | SparseConst | Graph | Text):
        return given
    if isinstance(given, str):
        if type_ == "string":
            return Text(given)
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            if given not in ("inf", "-inf"):
                source.fail(
                    "E0315",
                    f"cannot be read from `{given[:60]}`",
                    help='numbers and JSON arrays: `--data N=16`, `--data "y=[1, 2, 3]"`',
                )
            given = float(given)
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return Const(given)
    if hasattr(given, "tocsr"):
        from scipy import sparse

        return SparseConst(sparse.csr_array(given.tocsr(), dtype=np.float64))
    if hasattr(given, "number_of_nodes"):
        number = {node: k for k, node in enumerate(given.nodes())}
        edges = [[number[i], number[j], float(d.get("weight", 1.0))] for i, j, d in given.edges(data=True)]
        return graph_files.graph_from({"n": len(number), "edges": edges}, source.name)
    try:
        return json_files.from_json(given, source.name)
    except SpuccError as error:
        raise located(error, source.span) from None


def _as_graph(value: Value, source: Source) -> Graph:
    if isinstance(value, Graph):
        return value
    matrix = value.matrix if isinstance(value, SparseConst) else None
    if (
        isinstance(value, Const)
        and len(value.shape) == 2
        and value.shape[0] == value.shape[1]
        and value.shape[0] > 3
    ):
        from scipy import sparse

        matrix = sparse.csr_array(value.array)
    if matrix is not None and matrix.shape[0] == matrix.shape[1]:
        if (abs(matrix - matrix.T) > 0).nnz:
            source.fail("E0306", "is an adjacency matrix that is not symmetric")
        from scipy import sparse

        upper = sparse.coo_array(sparse.triu(matrix, 1))
        rows = np.column_stack([*upper.coords, upper.data]).astype(np.float64)
        return graph_files.checked_graph(int(matrix.shape[0]), rows, source.name)
    source.fail("E0313", f"must be a graph, found {describe(value)}", '{"n": 3, "edges": [[0, 1], [1, 2]]}')
    raise AssertionError


def _as_array(ctx: Context, node: tree.Data, value: Value, source: Source, column: bool) -> Value:
    if isinstance(value, Edges | Range):
        from spucc.grammar.broadcasting import numeric

        value = numeric(value, source.span)
    if not isinstance(value, Const | SparseConst):
        source.fail("E0302", f"must be {node.type.name}, found {describe(value)}")
    assert isinstance(value, Const | SparseConst)
    if column and value.shape == (1,) and not node.type.shape and isinstance(value, Const):
        value = Const(value.array.reshape(()))
    if isinstance(value, SparseConst) and node.type.name not in ("spd", "symmetric", "real"):
        source.fail("E0302", f"must be {node.type.name}, found a sparse matrix")
    shape = _bind_shape(ctx, node.type, value.shape, source)
    if value.shape != shape:
        empty = isinstance(value, Const) and value.array.size == 0 and 0 in shape
        if not empty:
            hint = "it looks transposed" if len(shape) == 2 and value.shape == shape[::-1] else ""
            source.fail(
                "E0303", f"has the shape {show_shape(value.shape)}, declared is {show_shape(shape)}", hint
            )
        value = Const(np.zeros(shape))
    if isinstance(value, SparseConst) and node.type.name == "spd":
        check_size(value.shape, source.span)
        value = Const(value.matrix.toarray())
    return checked(ctx, node.type, value, source)


def _bind_shape(ctx: Context, type_: tree.Type, found: tuple[int, ...], source: Source) -> tuple[int, ...]:
    """The declared shape; a dimension that is a new name is bound by the datum."""
    square = type_.name in ("spd", "symmetric")
    if square and len(type_.shape) != 1:
        fail("E0226", f"`{type_.name}` takes one dimension: `{type_.name}[n]` is n × n", type_.span)
    sizes: list[int] = []
    for axis, d in enumerate(type_.shape):
        if isinstance(d, tree.Name) and ctx.scope.find(d.id) is None:
            if axis >= len(found):
                source.fail(
                    "E0303", f"has {len(found)} axes, declared are {2 if square else len(type_.shape)}"
                )
            n = Const(np.asarray(found[axis], dtype=np.int64))
            ctx.declare(d, n)
            ctx.declared.append(Declared(d.id, "data", "int", (), d.span, n))
            sizes.append(found[axis])
        else:
            sizes.append(dimension(ctx, d))
    return (sizes[0], sizes[0]) if square else tuple(sizes)


def digest(value: Value) -> str:
    """A digest of a datum's content."""
    state = hashlib.sha256(describe(value).encode())
    match value:
        case Const():
            state.update(np.ascontiguousarray(value.array).data)
        case SparseConst():
            for part in (value.matrix.data, value.matrix.indices, value.matrix.indptr):
                state.update(np.ascontiguousarray(part).data)
        case Graph():
            for part in (value.i, value.j, value.w):
                state.update(np.ascontiguousarray(part).data)
        case Text():
            state.update(value.value.encode())
    return state.hexdigest()
