"""The chip with what a job put on it: cells, chains and couplers where the device's topology has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Device, Family
from spucc.fidelity.ledger import decode
from spucc.ir.facts import settings_of
from spucc.ir.show import names_of
from spucc.report.board_places import fitted, folded, free_places
from spucc.report.layout import LARGEST
from spucc.report.picture import CATEGORIES, DIVERGING, FAINT, INK, SEQUENTIAL, Picture, ink_on, mix
from spucc.stages import Configuration, Job, Quantized, Role

SINGLE = 4200
"""Cells in use up to which each one is drawn, and idle ones up to which each has a name; of more, how full each part is."""

COLOURS = ("value", "error", "chain")


@dataclass(frozen=True, eq=False)
class Board:
    """What a drawing of one job needs. Per position of the job's codes: `cell`, `at` [n, 2] on the page, `name`, `text`,
    `chain` (number of the logical cell), `hue` (its colour's number), `value` and `error` (0 … 1, NaN: none) and
    `coordinate`; per coupler its ends `edges` [m, 2], `inner` (holds a chain together), `strength` (−1 … 1), `setting`."""

    device: Device
    codes: Quantized
    cell: IntArray
    place: FloatArray
    pitch: float
    name: list[str]
    text: list[str]
    chain: IntArray
    hue: IntArray
    value: FloatArray
    error: FloatArray
    coordinate: IntArray
    inner: FloatArray
    strength: FloatArray
    setting: list[str]
    width: float
    height: float

    @property
    def at(self) -> FloatArray:
        return self.place[self.cell]


def codes_of(job: Job) -> Quantized | None:
    """The codes that a job holds, once it has any."""
    value = job.value.codes if isinstance(job.value, Configuration) else job.value
    return value if isinstance(value, Quantized) else None


def board_of(
    device: Device, job: Job, error: FloatArray | None = None, width: float = 640.0, member: int = 0
) -> Board | None:
    """The board of a job, laid out `width` wide; None for a job without codes. `error` [job's coordinates] is what the
    colour "error" shows, relative to its largest. Of an ensemble the settings are those of a `member`."""
    codes = codes_of(job)
    if codes is None:
        return None
    cell = codes.cell
    if device.topology.nodes is None:
        places, cell = free_places(codes.n, codes.edges), frozen(np.arange(codes.n), np.int64)
    else:
        places = folded(device.topology.position)
    place, pitch, height = fitted(places, width)
    ground, coupling = decode(codes, member, device)
    own, between = settings_of(codes, device, member)
    if device.family in (Family.PBIT, Family.LANGEVIN):
        # These cells are told apart by their bias.
        bias = codes.bias[member]
        ground = (
            np.asarray(bias, dtype=np.float64) if device.spec.bias is None else device.spec.bias.decode(bias)
        )
    spread = np.abs(coupling).max(initial=0.0)
    chain = codes.chain
    inner = chain[codes.edges[:, 0]] == chain[codes.edges[:, 1]]
    shown = np.full(codes.n, np.nan)
    if error is not None:
        known = codes.coordinate >= 0
        shown[known] = error[codes.coordinate[known]]
        top = np.nanmax(shown) if np.isfinite(shown).any() else 0.0
        shown = shown / top if top > 0 else np.where(np.isfinite(shown), 0.0, np.nan)
    return Board(
        device,
        codes,
        cell,
        place,
        pitch,
        names_of(codes, job.target),
        own,
        chain,
        _hues(chain, codes.edges),
        _share(ground),
        shown,
        codes.coordinate,
        inner,
        coupling / spread if spread > 0 else coupling,
        between,
        width,
        height,
    )


def _share(values: FloatArray) -> FloatArray:
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    return (values - low) / (high - low) if high > low else np.full(values.size, 0.5)


def _hues(chain: IntArray, edges: IntArray) -> IntArray:
    """A colour's number for every position, the same in a chain and another one in chains that couplers join, as on a map."""
    neighbours: dict[int, set[int]] = {c: set() for c in np.unique(chain).tolist()}
    for a, b in np.unique(chain[edges], axis=0).tolist() if len(edges) else []:
        if a != b:
            neighbours[a].add(b)
            neighbours[b].add(a)
    colour: dict[int, int] = {}
    for c in neighbours:
        taken = {colour[d] for d in neighbours[c] if d in colour}
        free = [k for k in range(len(CATEGORIES)) if k not in taken]
        # Of the free colours the one that was given least: a page of one colour says nothing.
        uses = list(colour.values())
        colour[c] = (
            min(free, key=lambda k: (uses.count(k), k)) if free and len(uses) < 2000 else c % len(CATEGORIES)
        )
    return np.array([colour[c] for c in chain.tolist()], dtype=np.int64)


def draw_chip(board: Board, colour: str = "chain", idle: bool = True) -> Picture:
    """The whole board with used, idle and dead parts; `colour` is one of `COLOURS`. Without `idle` what `draw_idle` draws is
    left out."""
    device, topology = board.device, board.device.topology
    total = topology.nodes if topology.nodes is not None else board.codes.n
    said = f"{board.codes.n} of {total} cells of {device.name} in use"
    picture = Picture(board.width, board.height, f"The chip: {said}")
    if topology.nodes is None and board.codes.n > LARGEST:
        picture.height = 70.0
        picture.word(
            (board.width / 2, 32),
            f"{device.name} has no places: any number of cells, any of them joined.",
            13,
        )
        said = f"{board.codes.n:,} cells and {len(board.codes.edges):,} couplers are in use."
        picture.word((board.width / 2, 52), said, 13)
        return picture
    if _crowded(board):
        return _crowd(picture, board)
    radius = _radius(board)
    if idle and topology.nodes is not None:
        used = np.zeros(total, dtype=bool)
        used[board.cell] = True
        _idle(picture, board, used, radius)
    heavy = max(0.2 * radius, 1.0)
    order = np.lexsort((np.abs(board.strength), board.inner))
    many = len(order) > 12 * max(board.codes.n, 1)
    for e in order.tolist():
        p, q = board.codes.edges[e].tolist()
        held, s = bool(board.inner[e]), float(board.strength[e])
        stroke = (
            CATEGORIES[board.hue[p]]
            if held
            else mix(DIVERGING, 0.5 + 0.5 * np.sign(s) * (0.35 + 0.65 * abs(s)))
        )
        width = 1.6 * heavy if held else (0.25 + 0.75 * abs(s)) * heavy * (0.4 if many else 0.7)
        a, b = board.at[p], board.at[q]
        kind = "inner" if held else "edge pos" if s >= 0 else "edge neg"
        what = "holds a chain together" if held else f"{board.name[p]} – {board.name[q]}"
        title = f"coupler {board.codes.cell[p]}–{board.codes.cell[q]}: {board.setting[e]}; {what}"
        picture.line(
            a,
            b,
            stroke,
            width,
            name=kind,
            title=title,
            data={"a": p, "b": q, "e": e},
            opacity=1.0 if held or not many else 0.25 + 0.7 * abs(s),
        )
    for p in range(board.codes.n):
        _cell(picture, board, p, radius, colour)
    return picture


def _radius(board: Board) -> float:
    return min(max(0.36 * board.pitch, 1.2), 32.0)


def draw_idle(board: Board) -> Picture | None:
    """The board with nothing on it, for all jobs of a device to be drawn upon; None where the parts cannot be told apart or
    have no places."""
    if board.device.topology.nodes is None or _crowded(board):
        return None
    picture = Picture(board.width, board.height, "")
    _idle(picture, board, np.zeros(board.device.topology.nodes, dtype=bool), _radius(board))
    return picture


def _crowded(board: Board) -> bool:
    return board.codes.n > SINGLE or len(board.codes.edges) > 4 * SINGLE


def _idle(picture: Picture, board: Board, used: np.ndarray, radius: float) -> None:
    device, edges = board.device, board.device.topology.edges
    dead = ~device.alive
    live = device.live_edges
    thin = max(0.05 * radius, 0.4)
    crowded = len(edges) > min(14 * len(used), 12_000)
    idle = edges[live]
    if crowded:
        # All pairs of many cells would be a grey disc: only the couplers among used cells are left to the foreground.
        idle = idle[:0]
    picture.lines(board.place[idle.ravel()], FAINT, thin, name="idle-edge", opacity=0.7)
    picture.lines(board.place[edges[~live].ravel()], "#d33f3f", 2 * thin, name="dead-edge", opacity=0.6)
    bare = ~used
    if len(used) > SINGLE:
        dots = board.place[bare & ~dead]
        half = np.array([0.4 * radius, 0.0])
        picture.lines(
            np.stack([dots - half, dots + half], axis=1).reshape(-1, 2),
            FAINT,
            0.8 * radius,
            name="idle-edge idle-dot",
        )
        bare = dead
    for c in np.flatnonzero(bare).tolist():
        x, y = board.place[c]
        if dead[c]:
            r = 0.7 * radius
            cross = np.array([[x - r, y - r], [x + r, y + r], [x - r, y + r], [x + r, y - r]])
            picture.disc((x, y), radius, "#fbe3e3", name="dead", title=f"cell {c}: dead")
            picture.lines(cross, "#d33f3f", max(0.14 * radius, 0.6), name="dead-cross")
        else:
            picture.disc(
                (x, y),
                0.62 * radius,
                "#e9edf2",
                stroke=FAINT,
                width=thin,
                name="idle",
                title=f"cell {c}: idle",
            )


def cell_fill(board: Board, p: int, colour: str) -> str:
    """The colour of a used cell."""
    if colour == "chain":
        return CATEGORIES[board.hue[p]]
    return mix(SEQUENTIAL, float(board.value[p] if colour == "value" else board.error[p]))


def _cell(picture: Picture, board: Board, p: int, radius: float, colour: str) -> None:
    x, y = board.at[p]
    role = Role(int(board.codes.role[p]))
    odd = role in (Role.BORDER, Role.AUXILIARY)
    fill = cell_fill(board, p, colour)
    title = f"cell {board.codes.cell[p]}: {board.name[p]}, {board.text[p]}"
    picture.disc(
        (x, y), radius, fill, stroke=INK if odd else "#ffffff", width=max(0.07 * radius, 0.4), name="cell",
        title=title, data={"p": p}, dash=(2.0, 2.0) if odd else (),
    )  # fmt: skip
    label = board.name[p].partition("'")[0]
    size = min(13.0, 3.1 * radius / max(len(label), 1))
    picture.word((x, y + 0.35 * size), label, size, ink_on(fill), name="on-cell")


def _crowd(picture: Picture, board: Board) -> Picture:
    """A board of too many cells to tell apart: how large a share of each part is in use."""
    low, high = board.place.min(axis=0), board.place.max(axis=0)
    bins = 64
    size = max((high - low).max() / bins, 1e-9)
    index = ((board.place - low) / size).astype(np.int64).clip(0, bins - 1)
    key = index[:, 1] * bins + index[:, 0]
    every = np.bincount(key, minlength=bins * bins)
    used = np.bincount(key[board.cell], minlength=bins * bins)
    for k in np.flatnonzero(every).tolist():
        share = used[k] / every[k]
        corner = low + size * np.array([k % bins, k // bins]) - size / 2
        picture.box(
            corner, (0.94 * size, 0.94 * size), mix(("#e9edf2", *SEQUENTIAL[1:]), float(share)), name="part",
            title=f"{used[k]} of {every[k]} cells in use",
        )  # fmt: skip
    return picture
