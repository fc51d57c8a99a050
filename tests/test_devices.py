"""Devices: the built-in files, their graphs, the forms of a target, and what bad ones get."""

import json
from importlib import resources

import msgspec
import networkx as nx
import numpy as np
import pytest

from spucc.device import Dead, DeviceSpec, TopologySpec
from spucc.devices import device_schema, list_devices, load_device, parametrised_targets
from spucc.diagnostics import SpuccError
from spucc.topology import OFFSET_RULES, build

BUILT_IN = [name for name, _ in list_devices()]
REQUIRED = {
    "ideal", "spu8", "spu8-signed", "resistive-64", "grid-16x16", "king-8x8", "king-32x32", "chimera-4x4", "chimera-16x16",
    "pegasus-4",
}  # fmt: skip


def edges_of(graph: nx.Graph) -> np.ndarray:
    pairs = np.array([sorted(e) for e in graph.edges()], dtype=np.int64).reshape(-1, 2)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def test_required_devices_are_there_and_say_what_they_are() -> None:
    assert set(BUILT_IN) >= REQUIRED
    assert all(text for _, text in list_devices())


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_every_figure_of_a_built_in_device_has_a_provenance(name: str) -> None:
    spec = load_device(name).spec
    given = msgspec.to_builtins(spec)
    default = msgspec.to_builtins(DeviceSpec(name="", family=spec.family, topology=spec.topology))
    for section in ("ground", "coupling", "bias", "circuit", "strays", "noise", "adc", "timing"):
        for field, value in (given[section] or {}).items():
            usual = (default[section] or {}).get(field)
            if value != usual and field not in ("unit", "min"):
                assert f"{section}.{field}" in spec.provenance, f"{section}.{field}"


@pytest.mark.parametrize(
    ("spec", "graph"),
    [
        (TopologySpec(kind="complete", nodes=7), nx.complete_graph(7)),
        (
            TopologySpec(kind="grid", rows=3, cols=5),
            nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 5)),
        ),
        (
            TopologySpec(kind="torus", rows=4, cols=5),
            nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 5, periodic=True)),
        ),
        (
            TopologySpec(kind="king", rows=3, cols=4),
            nx.convert_node_labels_to_integers(
                nx.strong_product(nx.path_graph(3), nx.path_graph(4)), ordering="sorted"
            ),
        ),
        (TopologySpec(kind="bipartite", rows=2, cols=3), nx.complete_bipartite_graph(2, 3)),
    ],
    ids=lambda x: x.kind if isinstance(x, TopologySpec) else "",
)
def test_lattices_equal_networkx(spec: TopologySpec, graph: nx.Graph) -> None:
    topology = build(spec)
    assert topology.nodes == graph.number_of_nodes() == topology.position.shape[0]
    assert np.array_equal(topology.edges, edges_of(graph))


@pytest.mark.parametrize("rules", [((0, 1),), ((0, 1), (4, 1), (9, 10)), ((1, 2), (3, 0))])
def test_offset_lattice_follows_its_rule(rules: tuple[tuple[int, int], ...]) -> None:
    rows, cols = 13, 12
    topology = build(TopologySpec(kind="offset", rows=rows, cols=cols, rules=rules))
    expected = nx.Graph()
    for y in range(rows):
        for x in range(cols):
            for a, b in rules:
                for u, v in ((x + a, y + b), (x - b, y + a), (x - a, y - b), (x + b, y - a)):
                    if 0 <= u < cols and 0 <= v < rows:
                        expected.add_edge(y * cols + x, v * cols + u)
    assert np.array_equal(topology.edges, edges_of(expected))


@pytest.mark.parametrize("name", sorted(OFFSET_RULES))
def test_offset_lattices_by_name_are_two_colourable_with_the_degree_they_are_named_after(name: str) -> None:
    topology = load_device(f"{name}(40,40)").topology
    assert topology.degree.max() == int(name[1:])
    assert nx.is_bipartite(nx.Graph(topology.edges.tolist()))


def test_chimera_is_a_product_of_tiles() -> None:
    topology = build(TopologySpec(kind="chimera", rows=16, cols=16))
    assert (topology.nodes, len(topology.edges)) == (2048, 6016)
    small = nx.Graph(build(TopologySpec(kind="chimera", rows=1, cols=1)).edges.tolist())
    assert nx.is_isomorphic(small, nx.complete_bipartite_graph(4, 4))
    assert topology.degree.max() == 6


@pytest.mark.parametrize(("m", "cells", "couplers"), [(2, 40, 164), (4, 264, 1604), (16, 5640, 40484)])
def test_pegasus_has_the_published_size(m: int, cells: int, couplers: int) -> None:
    topology = build(TopologySpec(kind="pegasus", rows=m))
    assert ((topology.degree > 0).sum(), len(topology.edges)) == (cells, couplers)
    assert topology.degree.max() == (15 if m > 2 else 13)
    graph = nx.Graph(topology.edges.tolist())
    assert nx.is_connected(graph)
    assert max(map(len, nx.find_cliques(graph))) == 4  # the K_4 of an odd pair on an odd pair


def test_large_lattices_are_built() -> None:
    topology = load_device("king(330,310)").topology
    assert topology.nodes == 102_300
    assert len(topology.edges) == 330 * 309 + 329 * 310 + 2 * 329 * 309
    assert (np.diff(topology.edges[:, 0]) >= 0).all()


def test_parameters_change_what_they_name() -> None:
    device = load_device("king(12,11){bits=10 coupling.max=2e-9}")
    assert device.topology.nodes == 132
    assert device.spec.coupling.bits == device.spec.ground.bits == 10
    assert device.spec.coupling.max == 2e-9
    assert device.name == "king(12,11){bits=10 coupling.max=2e-9}"
    assert load_device("spu8{bits=4}").spec.ground.bits == 4
    assert load_device("spu8{bits=4}").fingerprint != load_device("spu8").fingerprint
    assert load_device("king(4,4){family=resistive}").spec.coupling.signed
    assert load_device("offset(9,9){rules=0:1+2:1}").spec.topology.rules == ((0, 1), (2, 1))


@pytest.mark.parametrize("form", [form for form, _ in parametrised_targets()])
def test_every_advertised_form_loads(form: str) -> None:
    name, numbers = form.rstrip(")").split("(")
    rules = "{rules=0:1}" if name == "offset" else ""
    sized = (
        f"{name}({','.join('16' for _ in numbers.split(','))}){rules}" if name != "pegasus" else "pegasus(3)"
    )
    assert len(load_device(sized).topology.edges) > 0


def test_published_schema_is_fresh() -> None:
    text = (resources.files("spucc.targets.devices") / "schema.json").read_text()
    assert json.loads(text) == json.loads(msgspec.json.encode(device_schema()))


GOOD = """name = "mine"
family = "capacitive"
[topology]
kind = "grid"
rows = 2
cols = 3
[coupling]
max = 1e-9
bits = 6
"""


def load_text(tmp_path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_device(str(path))


def test_users_file(tmp_path) -> None:
    device = load_text(tmp_path, GOOD)
    assert (device.name, device.topology.nodes, device.spec.coupling.codes) == ("mine", 6, 64)


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        (GOOD.replace("capacitive", "capacitve"), "E0503", 2, "capacitive"),
        (GOOD.replace("bits = 6", "bitts = 6"), "E0503", 9, "bits"),
        (GOOD.replace("bits = 6", "bits = 60"), "E0503", 9, "32"),
        (GOOD.replace("max = 1e-9", 'max = "big"'), "E0503", 8, "float"),
        (GOOD.replace("max = 1e-9\n", ""), "E0503", 7, "largest"),
        (GOOD.replace("bits = 6", "min = 2e-9"), "E0503", 8, "min"),
        (GOOD.replace('family = "capacitive"\n', ""), "E0503", 1, "family"),
        (GOOD + "[circuit]\nresistance = -3\n", "E0503", 11, "0"),
        (GOOD + "[ground]\nsigned = true\n", "E0503", 11, "ground"),
        (GOOD + "[coupling.extra]\nx = 1\n", "E0503", 10, "extra"),
        (GOOD + '[provenance]\n"circuit.resistence" = "x"\n', "E0503", 10, "resistance"),
        (GOOD.replace("bits = 6", "levels = [0.0, 2e-9, 1e-9]"), "E0503", 9, "increase"),
        (GOOD.replace("grid", "gird"), "E0504", 3, "grid"),
        (GOOD.replace("cols = 3\n", ""), "E0504", 3, "cols"),
        (GOOD + "[dead]\ncells = [9]\n", "E0504", 3, "9"),
        (GOOD + "[dead]\ncouplers = [[0, 5]]\n", "E0504", 3, "(0, 5)"),
        (GOOD + "[[[", "E0502", 10, "TOML"),
    ],
)
def test_bad_files_name_the_line_and_the_way_out(
    tmp_path, text: str, code: str, line: int, words: str
) -> None:
    with pytest.raises(SpuccError) as caught:
        load_text(tmp_path, text)
    found = caught.value.diagnostics[0]
    assert found.code == code
    assert found.span is not None
    assert found.span.line == line
    assert words in found.title + found.help
    assert found.help


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("spu9", "E0501", "spu8"),
        ("kign(3,3)", "E0501", "king"),
        ("king", "E0501", "king(4,4)"),
        ("", "E0501", "spucc targets"),
        ("king(3)", "E0505", "rows, cols"),
        ("king(0,3)", "E0504", "1 or more"),
        ("king(100000,100000)", "E0504", "5e+07"),
        ("pegasus(2000)", "E0504", "5e+07"),
        ("spu8{bits}", "E0505", "field=value"),
        ("spu8{bits=many}", "E0503", "int"),
        ("spu8{name.x=3}", "E0505", "name"),
        ("king(3,3){family=resistve}", "E0505", "resistive"),
        ("./nowhere.toml", "E0502", "spucc targets"),
        ("offset(3,3)", "E0504", "rules"),
        ("spu8}{", "E0505", "name{"),
    ],
)
def test_bad_targets_say_what_to_write(target: str, code: str, words: str) -> None:
    with pytest.raises(SpuccError) as caught:
        load_device(target)
    found = caught.value.diagnostics[0]
    assert found.code == code
    assert words in found.title + found.help


LISTED = 'name = "l"\nfamily = "resistive"\ncalibration = "c.npz"\n[topology]\nkind = "list"\nnodes = 3\nedges_file = "{}"\n'


def test_files_beside_the_device(tmp_path) -> None:
    (tmp_path / "e.json").write_text("[[2, 0], [1, 2]]")
    np.savez(tmp_path / "c.npz", resistance=np.array([1.0, 2.0, 3.0]))
    device = load_text(tmp_path, LISTED.format("e.json"))
    assert device.topology.edges.tolist() == [[0, 2], [1, 2]]
    assert device.calibration.resistance is not None
    assert device.calibration.resistance.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("file", "content", "table"),
    [
        ("../e.json", None, {}),
        ("none.json", None, {}),
        ("e.json", "{", {}),
        ("e.json", "[[0, 1, 2]]", {}),
        ("e.json", "[[0, 1]]", {"resistance": np.ones(2)}),
        ("e.json", "[[0, 1]]", {"resistanse": np.ones(3)}),
        ("e.json", "[[0, 1]]", {"resistance": np.array([1, np.nan, 1])}),
        ("e.json", "[[0, 1]]", {"resistance": np.array([1, None, 1], dtype=object)}),
    ],
)
def test_bad_files_beside_the_device(tmp_path, file: str, content: str | None, table: dict) -> None:
    if content is not None:
        (tmp_path / file).write_text(content)
    np.savez(tmp_path / "c.npz", **table)
    with pytest.raises(SpuccError) as caught:
        load_text(tmp_path, LISTED.format(file))
    assert caught.value.diagnostics[0].code == "E0506"


def test_dead_parts_are_neither_alive_nor_live() -> None:
    device = load_device("grid(3,3)").without(cells=(4,), couplers=((1, 0),))
    assert device.spec.dead == Dead(cells=(4,), couplers=((0, 1),))
    assert device.alive.sum() == 8
    assert device.live_edges.sum() == 12 - 4 - 1
