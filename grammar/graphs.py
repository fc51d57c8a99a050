"""Graphs: lattices and families by name, and what can be read off a graph."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import Span, fail
from spucc.grammar.arguments import Arguments
from spucc.grammar.functions import builtin
from spucc.grammar.values import LARGEST_LOOP, Const, Edges, Graph, SparseConst, Value

MOST_NODES = 50_000_000


def graph_of(n: int, i: IntArray, j: IntArray, w: FloatArray | None = None) -> Graph:
    """A graph with each edge once, the smaller node first, in order; weights of an edge given twice are
    added."""
    return _from_keys(n, _keys(n, i, j), w)


def _keys(n: int, i: IntArray, j: IntArray) -> IntArray:
    """`low · n + high` for each edge."""
    key = np.minimum(i, j, dtype=np.int64)
    key *= n
    key += np.maximum(i, j)
    return key


def _from_keys(n: int, key: IntArray, w: FloatArray | None = None) -> Graph:
    """A graph from the keys of its edges, in any order; `key` is used up. A lattice has millions of edges, so nothing is
    kept twice: touching fresh memory takes longer than the arithmetic."""
    if w is None:
        key.sort()
    else:
        order = np.argsort(key, kind="stable")
        key, w = key[order], w[order]
    first = np.ones(key.size, dtype=bool)
    np.not_equal(key[1:], key[:-1], out=first[1:])
    if not first.all():
        if w is not None:
            w = np.add.reduceat(w, np.flatnonzero(first))
        key = key[first]
    low = key // max(n, 1)
    key -= low * n
    return Graph(n, low, key, np.broadcast_to(np.ones(1), key.shape) if w is None else w)


def _sizes(a: Arguments, *keys: str) -> list[int]:
    sizes = [a.whole(k) for k in keys]
    for key, n in zip(keys, sizes):
        if n < 0:
            fail("E0211", f"the argument `{key}` of `{a.name}` cannot be negative", a.spans[key])
    return sizes


def _check(nodes: int, edges: int, span: Span) -> None:
    if nodes > MOST_NODES or edges > LARGEST_LOOP:
        fail(
            "E0217",
            f"a graph of {nodes:,} nodes and {edges:,} edges is too large",
            span,
            help=f"at most {MOST_NODES:,} nodes and {LARGEST_LOOP:,} edges",
        )


def _lattice(n: int, m: int, steps: list[tuple[int, int]], wrap: bool) -> Graph:
    """Every node (row, column) joined to (row + dr, column + dc) for each step; `wrap` joins the last row and column to
    the first."""
    node = np.arange(n * m, dtype=np.int64).reshape(n, m)
    ends = [
        (node[: n - dr, max(0, -dc) : m - max(dc, 0)], node[dr:, max(0, dc) : m - max(-dc, 0)])
        for dr, dc in steps
    ]
    if wrap and m > 1:
        ends.append((node[:, :1], node[:, -1:]))
    if wrap and n > 1:
        ends.append((node[:1], node[-1:]))
    return _from_keys(n * m, np.concatenate([_keys(n * m, i, j).ravel() for i, j in ends]))


@builtin("grid king torus", "n m")
def _grids(a: Arguments) -> Value:
    """Lattices of n × m nodes, node row · m + column: with 4 neighbours, with 8, with 4 and wrapped
    around."""
    n, m = _sizes(a, "n", "m")
    _check(n * m, (4 if a.name == "king" else 2) * n * m, a.span)
    steps = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if a.name == "king" else [])
    return _lattice(n, m, steps, a.name == "torus")


@builtin("ring path complete", "n")
def _families(a: Arguments) -> Value:
    """A cycle, a line, all pairs."""
    (n,) = _sizes(a, "n")
    if a.name == "complete":
        _check(n, n * (n - 1) // 2, a.span)
        i, j = np.triu_indices(n, 1)
        return graph_of(n, i.astype(np.int64), j.astype(np.int64))
    _check(n, n, a.span)
    i = np.arange(max(n - 1, 0), dtype=np.int64)
    if a.name == "ring" and n > 2:
        return graph_of(n, np.append(i, 0), np.append(i + 1, n - 1))
    return graph_of(n, i, i + 1)


@builtin("bipartite", "n m")
def _bipartite(a: Arguments) -> Value:
    """Nodes 0 … n − 1 each joined to nodes n … n + m − 1."""
    n, m = _sizes(a, "n", "m")
    _check(n + m, n * m, a.span)
    i = np.repeat(np.arange(n, dtype=np.int64), m)
    j = np.tile(np.arange(n, n + m, dtype=np.int64), n)
    return graph_of(n + m, i, j)


@builtin("edges", "G")
def _edges(a: Arguments) -> Value:
    """The edges, each once: to loop over, or as an array [m, 2]."""
    return Edges(a.graph())


@builtin("nodes", "G")
def _nodes(a: Arguments) -> Value:
    """0 … n − 1"""
    return Const(np.arange(a.graph().n, dtype=np.int64))


@builtin("weights", "G")
def _weights(a: Arguments) -> Value:
    """The weights in the order of `edges`."""
    return Const(a.graph().w)


@builtin("degree", "G")
def _degree(a: Arguments) -> Value:
    """The number of neighbours of each node."""
    return Const(neighbours(a.graph()))


def neighbours(g: Graph) -> IntArray:
    count = np.bincount(g.i, minlength=g.n) + np.bincount(g.j, minlength=g.n)
    return np.asarray(count, dtype=np.int64)


@builtin("adjacency laplacian", "G")
def _matrices(a: Arguments) -> Value:
    """The weighted adjacency matrix W, or the Laplacian diag(W 1) − W; sparse."""
    from scipy import sparse

    g = a.graph()
    half = sparse.coo_array((g.w, (g.i, g.j)), shape=(g.n, g.n))
    w = sparse.csr_array(half + half.T)
    if a.name == "adjacency":
        return SparseConst(w, None, frozenset(["symmetric"]))
    total = sparse.dia_array((w.sum(axis=1)[None, :], [0]), shape=(g.n, g.n)) if g.n else w
    return SparseConst(sparse.csr_array(total - w), None, frozenset(["symmetric"]))
