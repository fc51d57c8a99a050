"""Drawings and graphs as files, and what notebooks show."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import networkx
import numpy as np
import page_zoo as programs
import pytest
from click.testing import CliRunner

from spucc import SpuccError
from spucc.cli import cli
from spucc.report.draw import draw
from spucc.report.layout import places
from spucc.report.settling import poles_of

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", [k for k in programs.KINDS if k != "all given"])
@pytest.mark.parametrize("what", ["chip", "model"])
def test_svg_is_xml_with_a_shape_for_every_cell(tmp_path: Path, name: str, what: str) -> None:
    program, _ = programs.kind(name)
    draw(program, tmp_path / "a.svg", what)
    root = ET.parse(tmp_path / "a.svg").getroot()
    assert root.tag == f"{SVG}svg"
    kinds = [e.get("class", "") for e in root.iter()]
    if what == "model":
        assert kinds.count("node") == program.source.n
    else:
        topology, dead = program.device.topology, program.device.spec.dead
        used = program.jobs[0].value.codes.n
        assert kinds.count("cell") == used
        assert kinds.count("idle") == (topology.nodes or used) - used - len(dead.cells)
        assert kinds.count("dead") == len(dead.cells)
    box = [float(v) for v in root.get("viewBox", "").split()]
    for e in root.iter(f"{SVG}circle"):
        x, y, r = (float(e.get(k, "nan")) for k in ("cx", "cy", "r"))
        assert x - r >= -1 and x + r <= box[2] + 1 and y - r >= -1 and y + r <= box[3] + 1


def test_a_circle_does_not_touch_its_neighbour(tmp_path: Path) -> None:
    for name in ("chains", "no couplings", "two jobs"):
        draw(programs.kind(name)[0], tmp_path / "a.svg")
        discs = list(ET.parse(tmp_path / "a.svg").iter(f"{SVG}circle"))
        at = np.array([[float(e.get("cx", 0)), float(e.get("cy", 0)), float(e.get("r", 0))] for e in discs])
        apart = np.hypot(*(at[:, None, :2] - at[None, :, :2]).transpose(2, 0, 1)) + 1e9 * np.eye(len(at))
        assert (apart > at[:, None, 2] + at[None, :, 2]).all()


def test_graphml_reads_back_with_all_that_the_chip_carries(tmp_path: Path) -> None:
    program, _ = programs.kind("chains")
    draw(program, tmp_path / "c.graphml")
    g = networkx.read_graphml(tmp_path / "c.graphml")
    device, codes = program.device, program.jobs[0].value.codes
    assert g.number_of_nodes() == device.topology.nodes
    assert g.number_of_edges() == device.live_edges.sum()
    used = {n for n, d in g.nodes(data=True) if d["state"] == "used"}
    assert used == {f"cell {c}" for c in codes.cell.tolist()}
    chain = {frozenset(e[:2]) for e in g.edges(data=True) if e[2]["state"] == "chain"}
    inner = codes.edges[codes.chain[codes.edges[:, 0]] == codes.chain[codes.edges[:, 1]]]
    assert chain == {frozenset(f"cell {c}" for c in codes.cell[e].tolist()) for e in inner}


def test_the_models_graph_has_its_couplings(tmp_path: Path) -> None:
    program, _ = programs.kind("two jobs")
    draw(program, tmp_path / "m.graphml", "model")
    g = networkx.read_graphml(tmp_path / "m.graphml")
    assert set(g.edges()) == {("x[0]", "x[1]"), ("z[0]", "z[1]"), ("z[0]", "z[2]"), ("z[1]", "z[2]")}
    precision = np.linalg.inv(np.eye(3) + 0.5)
    assert g.edges["z[0]", "z[2]"]["energy"] == pytest.approx(precision[0, 2])


def test_dot_quotes_what_it_names(tmp_path: Path) -> None:
    program, _ = programs.kind("chains")
    draw(program, tmp_path / "c.dot")
    text = (tmp_path / "c.dot").read_text(encoding="utf-8")
    assert text.startswith('graph "king-8x8" {') and text.endswith("}\n")
    assert text.count(" -- ") == program.device.live_edges.sum()
    assert text.count('"') % 2 == 0


def test_png_has_the_pictures_proportions(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    program, _ = programs.kind("dead")
    draw(program, tmp_path / "c.png")
    draw(program, tmp_path / "c.svg")
    head = (tmp_path / "c.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(head[k : k + 4], "big") for k in (16, 20))
    root = ET.parse(tmp_path / "c.svg").getroot()
    assert width / height == pytest.approx(
        float(root.get("width", 0)) / float(root.get("height", 0)), rel=0.01
    )


def test_wrong_endings_and_jobs_are_named(tmp_path: Path) -> None:
    program, _ = programs.kind("two jobs")
    with pytest.raises(SpuccError, match="E0651"):
        draw(program, tmp_path / "c.pdf")
    with pytest.raises(SpuccError, match=r"E0652.*no job `9:w`"):
        draw(program, tmp_path / "c.svg", job="9:w")
    with pytest.raises(SpuccError, match="E0652"):
        draw(programs.kind("all given")[0], tmp_path / "c.svg")
    draw(program, tmp_path / "c.svg", job=program.jobs[1].name)


def test_the_commands(tmp_path: Path) -> None:
    source = tmp_path / "m.spu"
    source.write_text(programs.CHAINED, encoding="utf-8")
    made, page, picture = (str(tmp_path / n) for n in ("m.spuc", "r.html", "m.svg"))
    run = CliRunner().invoke(
        cli,
        ["compile", str(source), "-t", "king-8x8", "-O", "0", "-o", made, "--report", page],
        catch_exceptions=False,
    )
    assert run.exit_code == 0, run.output
    text = Path(page).read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and '"seen":false' not in text
    for what in ("chip", "model"):
        run = CliRunner().invoke(cli, ["draw", made, "-o", picture, "--what", what], catch_exceptions=False)
        assert run.exit_code == 0 and Path(picture).read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize("name", programs.KINDS)
def test_notebooks_show_programs_and_states(name: str) -> None:
    program, album = programs.kind(name)
    for shown in (program, *(state for _, state in (*album.states[:1], *album.states[-1:]))):
        text = shown._repr_html_()
        ET.fromstring(text.replace("&nbsp;", " "))
        assert program.device.name in text


def test_notebooks_show_results() -> None:
    program, _ = programs.kind("hostile")
    text = program.run(samples=200)._repr_html_()
    ET.fromstring(text)
    assert "m[2]" in text


# --- places ----------------------------------------------------------------------------------------------------------------


def test_a_path_is_laid_out_in_order_and_even() -> None:
    n = 9
    x = places(n, np.stack([np.arange(n - 1), np.arange(1, n)], axis=1))
    steps = np.linalg.norm(np.diff(x, axis=0), axis=1)
    np.testing.assert_allclose(steps, 1.0, atol=0.15)


def test_a_grid_keeps_its_neighbours_nearest() -> None:
    n = 6
    edges = [(r * n + c, r * n + c + 1) for r in range(n) for c in range(n - 1)]
    edges += [(r * n + c, r * n + n + c) for r in range(n - 1) for c in range(n)]
    x = places(n * n, np.array(edges))
    length = np.linalg.norm(x[np.array(edges)[:, 0]] - x[np.array(edges)[:, 1]], axis=1)
    assert length.max() < 2 * length.min()


def test_parts_that_stand_alone_do_not_overlap() -> None:
    x = places(6, np.array([[0, 1], [1, 2], [3, 4], [4, 5]]))
    apart = np.linalg.norm(x[:3, None] - x[None, 3:], axis=2).min()
    assert apart > 0.5


@pytest.mark.parametrize(("n", "edges"), [(1, []), (2, [(0, 1)]), (4, []), (3, [(0, 1), (0, 2), (1, 2)])])
def test_small_graphs_have_distinct_places(n: int, edges: list[tuple[int, int]]) -> None:
    x = places(n, np.array(edges, dtype=np.int64).reshape(-1, 2))
    assert np.isfinite(x).all() and len(np.unique(x.round(6), axis=0)) == n


def test_a_state_with_codes_shows_its_chip_in_a_notebook() -> None:
    """Before the codes the model is drawn, after them the board."""
    _, album = programs.kind("chains")
    by_pass = {name.partition("{")[0]: state for name, state in album.states}
    fitted, coded = by_pass["fit"]._repr_html_(), by_pass["quantize"]._repr_html_()
    cells = len(by_pass["quantize"].jobs[0].value.cell)
    assert coded.count('class="cell') == cells > 6 and 'class="cell' not in fitted


def test_poles_are_those_of_each_members_own_circuit() -> None:
    """The poles of RLC cells add up to −tr(C⁻¹)/R, C the matrix of the member's capacitors with the strays."""
    program, _ = programs.kind("ensemble")
    codes, spec = program.jobs[0].value.codes, program.device.spec  # type: ignore[union-attr]
    sums = []
    for m in range(codes.members):
        c = np.diag(spec.ground.decode(codes.ground[m]) + spec.strays.ground)
        for (p, q), v in zip(codes.edges, spec.coupling.decode(codes.coupling[m]) + spec.strays.coupling):
            c[[p, q], [p, q]] += v
            c[p, q] -= v
            c[q, p] -= v
        poles = poles_of(codes, program.device, m)
        assert poles is not None and len(poles) == 2 * codes.n and (poles[:, 0] < 0).all()
        sums.append(poles[:, 0].sum())
        assert sums[-1] == pytest.approx(-np.trace(np.linalg.inv(c)) / spec.circuit.resistance, rel=1e-9)
    assert len(set(sums)) > 1, "members differ"
