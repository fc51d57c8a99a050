"""The model as a graph: a node for each entry of a variable, or for each variable when there are many."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.energy import Domain, Energy
from spucc.report.layout import LARGEST, places
from spucc.report.picture import CATEGORIES, DIVERGING, INK, Picture, ink_on, mix
from spucc.stages import edge_list

MOST_EDGES = 12_000
"""Couplings up to which each one is drawn."""


def couplings(energy: Energy) -> tuple[IntArray, FloatArray]:
    """Pairs of coordinates with an interaction of degree 2, and the strengths q_ij/√(q_ii q_jj) where both have an own
    term of their own, otherwise relative to the largest."""
    matrix = energy.quadratic.tocsr()
    pairs, entries = edge_list(matrix)
    own = np.abs(matrix.diagonal())
    scale = np.sqrt(own[pairs[:, 0]] * own[pairs[:, 1]])
    if len(pairs) and not (scale > 0).all():
        scale = np.full(len(pairs), np.abs(entries).max())
    return pairs, entries / np.where(scale > 0, scale, 1.0)


def draw_model(energy: Energy, width: float = 640.0) -> Picture:
    """The graph of an energy's couplings: of its coordinates where there are at most 400, else of its variables."""
    if energy.n > LARGEST or energy.quadratic.tocsr().nnz > 2 * MOST_EDGES:
        return _of_variables(energy, width)
    pairs, strength = couplings(energy)
    higher = _higher_pairs(energy)
    joined = np.unique(np.concatenate([pairs, higher]), axis=0) if len(higher) else pairs
    at, pitch, height = _page(places(energy.n, joined), width)
    picture = Picture(width, height, f"The model: {energy.n} coordinates, {len(pairs)} couplings")
    radius = float(np.clip(0.3 * pitch, 3.0, 22.0))
    observed = set(energy.observed.index.tolist())
    hue = {v.name: CATEGORIES[k % len(CATEGORIES)] for k, v in enumerate(energy.variables)}
    names = list(energy.labels())
    if len(higher):
        picture.lines(at[higher.ravel()], "#8b95a3", 1.0, name="higher", dash=(3.0, 3.0), opacity=0.7)
    thin = float(np.clip(600.0 / max(len(pairs), 1), 0.5, 4.0))
    for e in np.argsort(np.abs(strength), kind="stable").tolist():
        i, j = pairs[e].tolist()
        s = float(np.clip(strength[e], -1, 1))
        # What attracts is drawn as a capacitor would be: a negative entry of the precision is a positive coupling.
        colour = mix(DIVERGING, 0.5 - 0.5 * np.sign(s) * (0.35 + 0.65 * abs(s)))
        title = f"{names[i]} – {names[j]}: {strength[e]:+.3g} of their own terms"
        picture.line(
            at[i], at[j], colour, thin * (0.35 + 0.65 * abs(s)), name="edge", title=title, data={"a": i, "b": j},
            opacity=0.35 + 0.6 * abs(s),
        )  # fmt: skip
    for k in range(energy.n):
        variable = energy.variable_of(k)
        fill = hue[variable.name]
        title = names[k] + (" (observed)" if k in observed else "")
        _node(picture, at[k], radius, fill, variable.domain, k in observed, title, {"k": k})
        size = min(11.0, max(3.1 * radius / max(len(names[k]), 1), 1.2))
        picture.word(at[k] + [0, 0.35 * size], names[k], size, ink_on(fill), name="on-node")
    return picture


def _node(
    picture: Picture,
    at: FloatArray,
    radius: float,
    fill: str,
    domain: Domain,
    given: bool,
    title: str,
    data: dict[str, int],
) -> None:
    look = {
        "stroke": INK if given else "#ffffff",
        "width": 2.0 if given else 1.0,
        "title": title,
        "data": data,
    }
    if domain is Domain.REAL:
        picture.disc(at, radius, fill, name="node", **look)
    else:
        r = 0.9 * radius
        picture.box(at - r, (2 * r, 2 * r), fill, radius=0.25 * r, name="node", **look)


def _higher_pairs(energy: Energy) -> IntArray:
    found = [
        np.sort(term.index[:, [a, b]], axis=1)
        for term in energy.higher
        for a in range(term.degree)
        for b in range(a + 1, term.degree)
    ]
    pairs = np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return np.unique(pairs, axis=0)[:MOST_EDGES] if len(pairs) else pairs


def _page(x: FloatArray, width: float) -> tuple[FloatArray, float, float]:
    """Places on the page, the distance of neighbours, the height."""
    n = len(x)
    if n == 0:
        return x, width, 60.0
    low, high = x.min(axis=0), x.max(axis=0)
    extent = np.maximum(high - low, 1e-9)
    margin, tallest = 34.0, 0.8 * width
    closest = _apart(x)
    scale = min((width - 2 * margin) / extent[0], (tallest - 2 * margin) / extent[1], 110.0 / closest)
    height = max(float(scale * extent[1]) + 2 * margin, 90.0)
    at = (x - low) * scale + [(width - scale * extent[0]) / 2, (height - scale * extent[1]) / 2]
    if n == 1:
        return at, 70.0, height
    return at, float(scale * closest), height


def _apart(x: FloatArray) -> float:
    """How far apart neighbours are, but for the closest tenth."""
    from scipy.spatial import cKDTree

    if len(x) < 2:
        return 110.0
    return max(float(np.quantile(cKDTree(x).query(x, k=2)[0][:, 1], 0.1)), 1e-9)


def _of_variables(energy: Energy, width: float) -> Picture:
    """One node a variable; what is drawn between two is the number of couplings."""
    variables = [v for v in energy.variables if v.size]
    starts = np.array([v.start for v in variables])
    pairs, _ = edge_list(energy.quadratic.tocsr())
    owner = np.searchsorted(starts, pairs, side="right") - 1
    between, counts = (
        np.unique(owner, axis=0, return_counts=True) if len(pairs) else (owner, np.zeros(0, dtype=np.int64))
    )
    inside = {int(a): int(c) for (a, b), c in zip(between, counts) if a == b}
    across = [(int(a), int(b), int(c)) for (a, b), c in zip(between, counts) if a != b]
    n = len(variables)
    picture = Picture(
        width, 420.0, f"The model: {energy.n} coordinates of {n} variables, {len(pairs)} couplings"
    )
    if n > LARGEST:
        picture.word((width / 2, 40), f"{n} variables, {energy.n} coordinates, {len(pairs)} couplings", 13)
        picture.height = 70.0
        return picture
    edges = np.array([[a, b] for a, b, _ in across], dtype=np.int64).reshape(-1, 2)
    at, pitch, picture.height = _page(places(n, edges), width)
    top = float(np.log1p(max((c for *_, c in across), default=1)))
    for a, b, c in across:
        thick = 1 + 5 * np.log1p(c) / top
        title = f"{variables[a].name} – {variables[b].name}: {c} couplings"
        picture.line(at[a], at[b], "#8b95a3", float(thick), name="edge", title=title)
    radius = float(np.clip(0.4 * pitch, 6.0, 30.0))
    for k, v in enumerate(variables):
        title = f"{v.name}: {v.size} entries, {inside.get(k, 0)} couplings among them"
        _node(picture, at[k], radius, CATEGORIES[k % len(CATEGORIES)], v.domain, False, title, {"v": k})
        size = min(12.0, 3.1 * radius / max(len(v.name), 1))
        fill = CATEGORIES[k % len(CATEGORIES)]
        picture.word(at[k] + [0, 0.35 * size], v.name, size, ink_on(fill), name="on-node")
        if n < 40:
            picture.word(at[k] + [0, radius + 12], f"{v.size} entries", 10, name="note")
    return picture
