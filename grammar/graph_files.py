"""Graphs: as JSON, and as the lists of edges of the Gset collection."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.readers import decoded, numbers
from spucc.grammar.values import Array, Graph

# What reading takes for each mark: see `decoded`.
COSTS = {b"\n": 200, b" ": 200}


def graph_from(parsed: dict[str, Any], name: str) -> Graph:
    """`{"n": 3, "edges": [[0, 1], [1, 2, 0.5]]}`"""
    if "edges" not in parsed:
        fail(
            "E0313", f"`{name}` is not a graph: it has no `edges`", help='{"n": 3, "edges": [[0, 1], [1, 2]]}'
        )
    edges = parsed["edges"]
    try:
        rows = [tuple(e) for e in edges]
        widths = {len(e) for e in rows}
        if not widths <= {2, 3}:
            raise ValueError
        array = np.array([e if len(e) == 3 else (*e, 1.0) for e in rows], dtype=np.float64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        fail("E0313", f"the edges of `{name}` must be pairs `[i, j]` or triples `[i, j, weight]`")
    top = int(array[:, :2].max()) + 1 if array.size and np.isfinite(array).all() else 0
    n = parsed.get("n", top)
    if isinstance(n, float) and n == int(n):
        n = int(n)
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        fail("E0313", f"the number of nodes `n` of `{name}` must be an integer")
    weights = parsed.get("weights")
    if weights is not None:
        try:
            array[:, 2] = np.asarray(weights, dtype=np.float64)
        except (TypeError, ValueError):
            fail("E0313", f"the weights of `{name}` must be one number for each edge")
    return checked_graph(n, array, name)


def checked_graph(n: int, rows: Array, name: str) -> Graph:
    """A graph from rows (i, j, w), each checked."""
    from spucc.grammar.graphs import MOST_NODES, graph_of

    if n > MOST_NODES:
        fail("E0311", f"`{name}` has {n:,} nodes, at most {MOST_NODES:,} are taken")
    sound: Any = np.isfinite(rows)
    finite = sound.all(axis=1)
    ends = np.where(finite[:, None], rows[:, :2], 0.0)
    outside: Any = (ends != np.floor(ends)) | (ends < 0) | (ends >= n)
    bad = np.flatnonzero(~finite | outside.any(axis=1))
    if bad.size:
        k = int(bad[0])
        fail(
            "E0313",
            f"edge {k} of `{name}` is ({rows[k, 0]:g}, {rows[k, 1]:g}, {rows[k, 2]:g}): nodes are integers "
            f"from 0 to {n - 1}, weights finite",
        )
    i, j = ends[:, 0].astype(np.int64), ends[:, 1].astype(np.int64)
    loop = np.flatnonzero(i == j)
    if loop.size:
        fail("E0313", f"edge {int(loop[0])} of `{name}` joins node {int(i[loop[0]])} to itself")
    return graph_of(n, i, j, np.ascontiguousarray(rows[:, 2]))


def gset(raw: bytes, name: str) -> Graph:
    """`n m`, then m lines `i j` or `i j w`, nodes from 1."""
    lines = [line.split() for line in decoded(raw, name, COSTS).splitlines() if line.strip()]
    if not lines or len(lines[0]) != 2:
        fail("E0310", f"`{name}` must begin with a line `n m`")
    n, m = numbers(lines[0], name)
    if n != int(n) or len(lines) - 1 != m:
        fail("E0310", f"`{name}` promises {m:g} edges and has {len(lines) - 1}")
    widths = {len(line) for line in lines[1:]}
    if not widths <= {2, 3}:
        fail("E0310", f"an edge of `{name}` is a line `i j` or `i j w`")
    words = [w for line in lines[1:] for w in (line if len(line) == 3 else [*line, "1"])]
    rows = numbers(words, name).reshape(-1, 3)
    rows[:, :2] -= 1
    return checked_graph(int(n), rows, name)
