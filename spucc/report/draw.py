"""`spucc draw`: the page's drawings as files, and the graphs behind them as DOT and GraphML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spucc.diagnostics import did_you_mean, fail
from spucc.fidelity.moments import moments_of, target_moments
from spucc.report.chip import board_of, codes_of, draw_chip
from spucc.report.graph import couplings, draw_model
from spucc.report.picture import Picture
from spucc.running.results import write_whole
from spucc.stages import Job, Program

ENDINGS = (".svg", ".png", ".dot", ".graphml")

Attributes = dict[str, str | int | float | bool]


@dataclass
class Graph:
    """Nodes and edges with what is known of each."""

    name: str
    nodes: dict[str, Attributes] = field(default_factory=dict)
    edges: list[tuple[str, str, Attributes]] = field(default_factory=list)


def draw(
    program: Program, path: Path, what: str = "chip", job: str | None = None, colour: str = "chain"
) -> None:
    """Write the drawing (`.svg`, `.png`) or the graph (`.dot`, `.graphml`) of a program's `chip` or `model`.

    `job` picks one by name (the first); `colour` is what the chip's cells are coloured by: chain, value or error. Raises E0650
    for a PNG without matplotlib, E0651 for another ending, E0652 for a job that there is not, E0392 when the file cannot be
    written.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        fail("E0651", f"cannot draw `{path.name}`", help=f"end the name in {', '.join(ENDINGS)}")
    if ending in (".dot", ".graphml"):
        graph = model_graph(program) if what == "model" else chip_graph(program, _job(program, job))
        text = dot(graph) if ending == ".dot" else graphml(graph)
        write_whole(path, text.encode())
        return
    picture = (
        draw_model(program.source, 900.0) if what == "model" else _chip(program, _job(program, job), colour)
    )
    write_whole(path, picture.png() if ending == ".png" else picture.svg(standalone=True).encode())


def _job(program: Program, name: str | None) -> Job:
    names = [j.name for j in program.jobs]
    if not names:
        fail("E0652", "the program has no job: every variable is given", help="--what model draws the model")
    if name is not None and name not in names:
        near = did_you_mean(name, names) or "its jobs are " + ", ".join(names[:12])
        fail("E0652", f"the program has no job `{name}`", help=near)
    return program.jobs[names.index(name) if name is not None else 0]


def _chip(program: Program, job: Job, colour: str) -> Picture:
    wrong = None
    if colour == "error":
        asked, made = target_moments(job, program.device_of(job)), moments_of(job, program.device_of(job))
        if asked is not None and made is not None:
            wrong = np.abs(made.sd / asked.sd - 1)
    board = board_of(program.device_of(job), job, wrong, 900.0)
    if board is None:
        fail("E0652", f"job `{job.name}` is not compiled to the end, so nothing is on the chip")
    return draw_chip(board, colour)


def model_graph(program: Program) -> Graph:
    """A node for each coordinate of the source, an edge for each coupling."""
    energy = program.source
    pairs, strength = couplings(energy)
    names = list(energy.labels())
    matrix = energy.quadratic.tocsr()
    own = matrix.diagonal()
    given = set(energy.observed.index.tolist())
    graph = Graph("model")
    for k, name in enumerate(names):
        v = energy.variable_of(k)
        graph.nodes[name] = {
            "variable": v.name,
            "domain": str(v.domain),
            "own": float(own[k]),
            "linear": float(energy.linear[k]),
            "observed": k in given,
            "line": v.span.line if v.span is not None else 0,
        }
    entries = np.asarray(matrix[pairs[:, 0], pairs[:, 1]]).ravel() if len(pairs) else np.zeros(0)
    for (i, j), q, s in zip(pairs.tolist(), entries.tolist(), strength.tolist()):
        graph.edges.append((names[i], names[j], {"energy": q, "strength": s}))
    return graph


def chip_graph(program: Program, job: Job) -> Graph:
    """A node for each cell of the board (or each used one, where there are as many as wanted), an edge for each working
    coupler, with what they carry."""
    device, board = program.device_of(job), board_of(program.device_of(job), job)
    codes = codes_of(job)
    if board is None or codes is None:
        fail("E0652", f"job `{job.name}` is not compiled to the end, so nothing is on the chip")
    graph = Graph(device.name)
    alive = device.alive
    for c in range(device.topology.nodes or 0):
        x, y = device.topology.position[c].tolist()
        graph.nodes[f"cell {c}"] = {"state": "idle" if alive[c] else "dead", "x": x, "y": y}
    at = [f"cell {c}" for c in codes.cell.tolist()]
    for p, name in enumerate(at):
        graph.nodes.setdefault(
            name, {"x": float(board.place[p, 0]), "y": float(board.place[p, 1])} if not alive.size else {}
        )
        graph.nodes[name] |= {
            "state": "used",
            "carries": board.name[p],
            "chain": int(codes.chain[p]),
            "ground": board.text[p],
        }
    used = set()
    for e, (p, q) in enumerate(codes.edges.tolist()):
        used.add(frozenset((at[p], at[q])))
        kind = "chain" if board.inner[e] else "coupling"
        graph.edges.append((at[p], at[q], {"state": kind, "setting": board.setting[e]}))
    for a, b in device.topology.edges[device.live_edges].tolist():
        if frozenset((f"cell {a}", f"cell {b}")) not in used:
            graph.edges.append((f"cell {a}", f"cell {b}", {"state": "idle"}))
    return graph


def dot(graph: Graph) -> str:
    """As Graphviz reads it: positions where the chip has them, weak lines for what is idle."""

    def rows() -> Iterator[str]:
        yield f"graph {_quoted(graph.name)} {{"
        yield '  node [shape=circle, style=filled, fillcolor="#dfeaf4", fontname="sans-serif"];'
        for name, facts in graph.nodes.items():
            more = {**facts, "label": facts.get("carries", name)}
            if "x" in facts:
                more["pos"] = f"{facts['x']},{-float(facts['y'])}!"
            if facts.get("state") in ("idle", "dead"):
                more["fillcolor"] = "#eef1f4" if facts["state"] == "idle" else "#f5c8c8"
            yield f"  {_quoted(name)} [{_listed(more)}];"
        for a, b, facts in graph.edges:
            more = dict(facts)
            if facts.get("state") == "idle":
                more["color"] = "#d5dbe1"
            elif facts.get("state") == "chain":
                more["penwidth"] = 3
            yield f"  {_quoted(a)} -- {_quoted(b)} [{_listed(more)}];"
        yield "}"

    return "\n".join(rows()) + "\n"


def _listed(facts: Attributes) -> str:
    return ", ".join(f"{key}={_quoted(str(value))}" for key, value in facts.items())


def _quoted(text: str) -> str:
    """A string of DOT, in which only the quote and the backslash have a meaning."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def graphml(graph: Graph) -> str:
    """As GraphML, which networkx, Gephi, yEd and igraph read."""
    import networkx

    g = networkx.Graph(name=graph.name)
    for name, facts in graph.nodes.items():
        g.add_node(name, **facts)
    for a, b, facts in graph.edges:
        g.add_edge(a, b, **facts)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + "\n".join(networkx.generate_graphml(g)) + "\n"
