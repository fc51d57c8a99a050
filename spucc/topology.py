"""The graphs of devices, built from a few numbers.

Every function returns the couplers of one kind of lattice as pairs and the cells' places in a drawing; `build` picks the
function, puts the couplers in order and checks them. All of it is vectorised: a lattice of 10⁵ cells takes milliseconds.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Topology, TopologySpec
from spucc.diagnostics import did_you_mean, fail
from spucc.npz import load_npz

Graph = tuple[int, IntArray, FloatArray]
"""Cells, pairs [m, 2] in any order, positions [cells, 2]."""

OFFSET_RULES: dict[str, tuple[tuple[int, int], ...]] = {
    "g8": ((0, 1), (4, 1)),
    "g12": ((0, 1), (4, 1), (9, 10)),
    "g16": ((0, 1), (4, 1), (8, 7), (14, 9)),
    "g20": ((0, 1), (4, 1), (3, 6), (8, 7), (14, 9)),
    "g24": ((0, 1), (1, 2), (4, 1), (3, 6), (8, 7), (14, 9)),
}
"""The rules of the lattices with 8 … 24 couplers a cell."""

OFFSET_SOURCES = {
    "g8": "arXiv 2510.23972, table of connectivities; the authors' replication code has the same rules",
    "g12": "arXiv 2510.23972, table of connectivities; the authors' replication code has the mirror image (10, 9)",
    "g16": "arXiv 2510.23972, table of connectivities, as ferrotherm has it; the authors' replication code has (11, 14) "
    "beside the rules of g12",
    "g20": "assumed: five rules after arXiv 2510.23972, not compared with its table",
    "g24": "assumed: six rules after arXiv 2510.23972, not compared with its table",
}
"""Where each set of rules comes from."""

# Where the bars of a Pegasus graph begin, for the 12 tracks of a vertical and of a horizontal bundle
# (Boothby, Bunyk, Raymond, Roy: Next-Generation Topology of D-Wave Quantum Processors, arXiv 2003.00133, §2).
_PEGASUS_OFFSETS = np.array(
    [[2, 2, 2, 2, 10, 10, 10, 10, 6, 6, 6, 6], [6, 6, 6, 6, 2, 2, 2, 2, 10, 10, 10, 10]]
)


def build(spec: TopologySpec, folder: Path | None = None) -> Topology:
    """The graph that a device file asks for.

    `folder` is where `edges_file` is looked for (JSON list of pairs, or `.npz` with an array `edges`). Raises E0504 for an
    unknown kind, a missing or impossible number, or a coupler that joins no two cells; E0506 for a bad `edges_file`.
    """
    if spec.kind not in KINDS:
        near = did_you_mean(spec.kind, KINDS) or f"the kinds are {', '.join(KINDS)}"
        fail("E0504", f"there is no topology of kind `{spec.kind}`", help=near)
    if spec.kind == "any":
        return Topology("any", None, frozen(np.zeros((0, 2)), np.int64), frozen(np.zeros((0, 2))))
    if spec.edges_file is not None:
        spec = _with_file(spec, folder)
    _check_size(spec)
    nodes, pairs, position = KINDS[spec.kind](spec)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= nodes):
        bad = pairs[((pairs < 0) | (pairs >= nodes)).any(axis=1)][0]
        fail(
            "E0504",
            f"coupler ({bad[0]}, {bad[1]}) leads out of the {nodes} cells",
            help=f"cells count from 0 to {nodes - 1}",
        )
    loops = pairs[pairs[:, 0] == pairs[:, 1]]
    if loops.size:
        fail(
            "E0504",
            f"coupler ({loops[0, 0]}, {loops[0, 0]}) joins a cell with itself",
            help="remove it from the list",
        )
    return Topology(spec.kind, nodes, frozen(_ordered(nodes, pairs), np.int64), frozen(position))


MOST = 50_000_000
"""Couplers, and cells, that a device may have: the arrays of more would not fit the memory of most machines."""


def _check_size(spec: TopologySpec) -> None:
    """E0504 for a graph of more than `MOST` parts, told before any is made."""
    rows, cols, shore, n = spec.rows or 0, spec.cols or 0, spec.shore, spec.nodes or 0
    cells = rows * cols
    parts = {
        "complete": n * n // 2,
        "chimera": cells * shore * (shore + 2),
        "pegasus": 24 * rows * rows * 8,
        "bipartite": cells,
        "visible-hidden": cells,
        "offset": 2 * cells * max(len(spec.rules), 1),
    }.get(spec.kind, 4 * cells)
    if max(parts, n) > MOST:
        fail(
            "E0504",
            f"topology `{spec.kind}` of that size has about {max(parts, n):.0e} parts",
            help=f"at most {MOST:.0e} cells and couplers are served",
        )
    check_pairs(spec.edges, "coupler")


def check_pairs(pairs: Iterable[tuple[int, int]], what: str) -> None:
    """E0504 for a pair of cells that no device can have."""
    for pair in pairs:
        if not (min(pair) >= 0 and max(pair) < MOST):
            fail("E0504", f"{what} {pair} leads out of the cells", help="cells count from 0")


def _ordered(nodes: int, pairs: IntArray) -> IntArray:
    """Distinct pairs with i < j in lexicographic order."""
    key = (
        np.unique(pairs.min(axis=1) * nodes + pairs.max(axis=1))
        if pairs.size
        else np.zeros(0, dtype=np.int64)
    )
    return np.stack([key // max(nodes, 1), key % max(nodes, 1)], axis=1)


def _need(spec: TopologySpec, *names: str, least: int = 1) -> list[int]:
    values = []
    for name in names:
        value = getattr(spec, name)
        if value is None:
            fail("E0504", f"topology `{spec.kind}` needs `{name}`", help=f"write `{name} = …` in [topology]")
        if value < least:
            fail("E0504", f"topology `{spec.kind}` has {name} = {value}", help=f"it takes {least} or more")
        values.append(int(value))
    return values


def _shape(spec: TopologySpec) -> tuple[int, int]:
    rows, cols = _need(spec, "rows", "cols")
    return rows, cols


def _lattice_position(rows: int, cols: int) -> FloatArray:
    r, c = np.divmod(np.arange(rows * cols), cols)
    return np.stack([c, r], axis=1).astype(np.float64)


def _steps(rows: int, cols: int, steps: list[tuple[int, int]], wrap: bool = False) -> IntArray:
    """Pairs of cells (r, c), (r + dr, c + dc) of a lattice numbered row by row."""
    r, c = np.divmod(np.arange(rows * cols), cols)
    found = []
    for dr, dc in steps:
        to_r, to_c = r + dr, c + dc
        if wrap:
            to_r, to_c = to_r % rows, to_c % cols
        inside = (to_r >= 0) & (to_r < rows) & (to_c >= 0) & (to_c < cols)
        pairs = np.stack([r * cols + c, to_r * cols + to_c], axis=1)[inside]
        found.append(pairs[pairs[:, 0] != pairs[:, 1]])
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)


def complete(spec: TopologySpec) -> Graph:
    """Every pair of `nodes` cells; drawn on a circle."""
    (n,) = _need(spec, "nodes")
    angle = 2 * np.pi * np.arange(n) / n
    return n, np.stack(np.triu_indices(n, 1), axis=1), np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def grid(spec: TopologySpec) -> Graph:
    """`rows` × `cols` cells, each joined to its four neighbours; cell (r, c) is number r·cols + c."""
    rows, cols = _shape(spec)
    return rows * cols, _steps(rows, cols, [(0, 1), (1, 0)]), _lattice_position(rows, cols)


def king(spec: TopologySpec) -> Graph:
    """`rows` × `cols` cells, each joined to its eight neighbours."""
    rows, cols = _shape(spec)
    return rows * cols, _steps(rows, cols, [(0, 1), (1, 0), (1, 1), (1, -1)]), _lattice_position(rows, cols)


def torus(spec: TopologySpec) -> Graph:
    """A grid whose borders are joined."""
    rows, cols = _shape(spec)
    return rows * cols, _steps(rows, cols, [(0, 1), (1, 0)], wrap=True), _lattice_position(rows, cols)


def offset(spec: TopologySpec) -> Graph:
    """`rows` × `cols` cells; rule (a, b) joins (x, y) with (x+a, y+b), (x−b, y+a), (x−a, y−b), (x+b, y−a) (physics §3).

    x is the column. The borders are open. Rules with a + b odd join only cells of different colour.
    """
    rows, cols = _shape(spec)
    if not spec.rules:
        fail(
            "E0504", "topology `offset` needs `rules`", help="write `rules = [[0, 1], [4, 1]]` in [topology]"
        )
    # The two steps not listed are the reverses of the two that are.
    steps = [step for a, b in spec.rules for step in ((b, a), (a, -b))]
    return rows * cols, _steps(rows, cols, steps), _lattice_position(rows, cols)


def bipartite(spec: TopologySpec) -> Graph:
    """`rows` cells each joined to each of `cols` further ones; drawn as two columns."""
    a, b = _shape(spec)
    i, j = np.divmod(np.arange(a * b), b)
    height = np.concatenate([(np.arange(a) + 0.5) / a, (np.arange(b) + 0.5) / b]) * max(a, b)
    side = np.repeat([0.0, max(a, b) / 2], [a, b])
    return a + b, np.stack([i, a + j], axis=1), np.stack([side, height], axis=1)


def visible_hidden(spec: TopologySpec) -> Graph:
    """`rows` visible cells, each joined to each of `cols` hidden ones, which are all joined to one another; no visible cell
    to another (the generative computer of physics §3)."""
    a, b = _shape(spec)
    n, across, position = bipartite(spec)
    i, j = np.triu_indices(b, 1)
    return n, np.concatenate([across, np.stack([a + i, a + j], axis=1)]), position


def chimera(spec: TopologySpec) -> Graph:
    """`rows` × `cols` tiles of two shores of `shore` cells; cell (r, c, u, k) is number ((r·cols + c)·2 + u)·shore + k.

    In a tile the shores are completely joined; shore 0 continues to the next row, shore 1 to the next column (Bunyk et al.,
    arXiv 1401.5504).
    """
    rows, cols = _shape(spec)
    (t,) = _need(spec, "shore")
    number = np.arange(rows * cols * 2 * t).reshape(rows, cols, 2, t)
    inside = np.broadcast_arrays(number[:, :, 0, :, None], number[:, :, 1, None, :])
    pairs = [
        np.stack([x.ravel() for x in inside], axis=1),
        np.stack([number[:-1, :, 0].ravel(), number[1:, :, 0].ravel()], axis=1),
        np.stack([number[:, :-1, 1].ravel(), number[:, 1:, 1].ravel()], axis=1),
    ]
    r, c, u, k = np.unravel_index(number.ravel(), number.shape)
    # A cross, turned a little so that no cell lies on a coupler that continues another one's track.
    along = k - (t - 1) / 2
    along = along + np.where(along > 0, 0.5, -0.5)
    size = t + 2
    aside = 0.4 * along
    place = np.stack(
        [c * size + np.where(u == 0, aside, along), r * size + np.where(u == 0, along, -aside)], axis=1
    )
    return number.size, np.concatenate(pairs), np.asarray(place, dtype=np.float64)


def pegasus(spec: TopologySpec) -> Graph:
    """The Pegasus graph P_m, m = `rows`; cell (u, w, k, z) is number ((u·m + w)·12 + k)·(m − 1) + z, as D-Wave counts.

    A cell is a bar of length 12: vertical (u = 0) at column 12w + k from row 12z + s_0k, or horizontal (u = 1) at row 12w + k
    from column 12z + s_1k. Bars that cross are joined (internal couplers), consecutive bars of a track (external) and the
    tracks 2k, 2k+1 (odd). The 8(m − 1) bars at the rim that cross nothing get no coupler, so their numbers are not used
    (Boothby et al., arXiv 2003.00133).
    """
    (m,) = _need(spec, "rows", least=2)
    number = np.arange(24 * m * (m - 1)).reshape(2, m, 12, m - 1)
    u, w, k, z = np.unravel_index(number.ravel(), number.shape)
    track, start = 12 * w + k, 12 * z + _PEGASUS_OFFSETS[u, k]
    # Vertical bar v at column x crosses, in each of its 12 rows, the one horizontal bar that covers x, if any.
    vertical = number[0].ravel()
    x, row = np.repeat(track[vertical], 12), (start[vertical][:, None] + np.arange(12)).ravel()
    w1, k1 = np.divmod(row, 12)
    z1 = (x - _PEGASUS_OFFSETS[1, k1]) // 12
    exists = (w1 < m) & (z1 >= 0) & (z1 < m - 1)
    w1, k1, z1 = w1[exists], k1[exists], z1[exists]
    internal = np.stack([np.repeat(vertical, 12)[exists], number[1, w1, k1, z1]], axis=1)
    external = np.stack([number[:, :, :, :-1].ravel(), number[:, :, :, 1:].ravel()], axis=1)
    odd = np.stack([number[:, :, 0::2].ravel(), number[:, :, 1::2].ravel()], axis=1)
    fabric = np.zeros(number.size, dtype=bool)
    fabric[internal.ravel()] = True
    pairs = np.concatenate([internal, external, odd])
    middle = start + 5.5
    position = np.stack([np.where(u == 0, track, middle), np.where(u == 0, middle, track)], axis=1)
    return number.size, pairs[fabric[pairs].all(axis=1)], position.astype(np.float64)


def listed(spec: TopologySpec) -> Graph:
    """`nodes` cells and the couplers of `edges` (or of `edges_file`); drawn on a circle."""
    (n,) = _need(spec, "nodes")
    angle = 2 * np.pi * np.arange(n) / n
    pairs = np.asarray(spec.edges, dtype=np.int64).reshape(-1, 2)
    return n, pairs, np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def _any(spec: TopologySpec) -> Graph:
    raise AssertionError("`any` has no graph of its own")


KINDS: dict[str, Callable[[TopologySpec], Graph]] = {
    "any": _any,
    "complete": complete,
    "grid": grid,
    "king": king,
    "torus": torus,
    "chimera": chimera,
    "pegasus": pegasus,
    "bipartite": bipartite,
    "visible-hidden": visible_hidden,
    "offset": offset,
    "list": listed,
}
"""Every kind of topology by its name in a device file."""


def beside(folder: Path | None, name: str, what: str) -> Path:
    """The file `name` in the folder of the device file. Raises E0506 if it is not there or lies outside the folder."""
    if folder is None:
        fail(
            "E0506",
            f"{what} `{name}` needs a device file beside it",
            help="a built-in device has no files of its own",
        )
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        fail(
            "E0506",
            f"{what} `{name}` lies outside the device file's folder",
            help="put it beside the device file",
        )
    if not path.is_file():
        fail("E0506", f"{what} `{name}` is not there", help=f"it is looked for at {path}")
    return path


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` (never pickled ones) or the lists of a `.json`. Raises E0506 when it cannot be read."""
    try:
        if path.suffix == ".npz":
            return load_npz(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        tables = content if isinstance(content, dict) else {"edges": content}
        return {name: np.asarray(value) for name, value in tables.items()}
    except (
        OSError,
        ValueError,
        EOFError,
        RecursionError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        fail(
            "E0506",
            f"cannot read `{path.name}`: {error}",
            help="it is a JSON file or an .npz of plain arrays",
        )


def _with_file(spec: TopologySpec, folder: Path | None) -> TopologySpec:
    import msgspec

    name = spec.edges_file or ""
    tables = read_arrays(beside(folder, name, "edges_file"))
    pairs = tables.get("edges")
    if pairs is None or pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        fail(
            "E0506",
            f"`{name}` holds no list of pairs of cells",
            help="write [[0, 1], [1, 2], …], or `edges` in an .npz",
        )
    return msgspec.structs.replace(spec, edges=tuple(map(tuple, pairs.tolist())), edges_file=None)
