"""Marginals, asked and made: bars, probabilities, and the errors alone where there are many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spucc.arrays import FloatArray
from spucc.report.picture import GREY, LOSS, Picture, ticks


def draw_marginals(
    names: Sequence[str],
    asked: tuple[FloatArray, FloatArray],
    made: tuple[FloatArray, FloatArray],
    width: float = 640.0,
) -> Picture:
    """Mean and one and two standard deviations of each coordinate: what was asked as a bar, what is made as a line over it.
    Of more than 48 coordinates the errors alone, coordinate by coordinate."""
    n = len(names)
    if n > 48:
        return draw_errors(names, asked, made, width)
    (m, s), (m2, s2) = asked, made
    row = 19.0
    picture = Picture(width, 34 + row * n + 22, "Marginals: asked and made")
    ends = np.concatenate([m - 2.3 * s, m + 2.3 * s, m2 - 2.3 * s2, m2 + 2.3 * s2])
    low, high = float(ends.min()), float(ends.max())
    left, right = 104.0, 92.0
    scale = (width - left - right) / max(high - low, 1e-300)

    def x(v: float) -> float:
        return left + (v - low) * scale

    for tick in ticks(low, high):
        picture.line((x(tick), 20), (x(tick), 24 + row * n), "#dde3ea", 0.8, name="grid")
        picture.word((x(tick), 36 + row * n), f"{tick:g}", 9, GREY, name="note")
    picture.word((width - right + 12, 12), "sd off by", 9, GREY, anchor="start", name="note")
    picture.word(
        (left, 12), "bar: asked, mean ± 1 and 2 sd; line: made", 9, GREY, anchor="start", name="note"
    )
    for k in range(n):
        y = 24 + row * (k + 0.5)
        size = min(10.5, 170.0 / max(len(names[k]), 1))
        off = s2[k] / s[k] - 1 if s[k] > 0 else np.nan
        title = f"{names[k]}: mean {m[k]:.6g} asked, {m2[k]:.6g} made; sd {s[k]:.6g} asked, {s2[k]:.6g} made"
        data: dict[str, str | int | float] = {"k": k}
        picture.word((left - 8, y + 3.5), names[k], size, anchor="end", name="row", data=data)
        picture.box(
            (x(m[k] - 2 * s[k]), y - 3),
            (4 * s[k] * scale, 6),
            "#c9dcec",
            name="asked2",
            title=title,
            data=data,
        )
        picture.box(
            (x(m[k] - s[k]), y - 5), (2 * s[k] * scale, 10), "#8fb8d8", name="asked1", title=title, data=data
        )
        picture.line(
            (x(m2[k] - 2 * s2[k]), y), (x(m2[k] + 2 * s2[k]), y), LOSS, 1.2, name="made", title=title
        )
        picture.line((x(m2[k] - s2[k]), y), (x(m2[k] + s2[k]), y), LOSS, 2.6, name="made", title=title)
        picture.line((x(m2[k]), y - 6), (x(m2[k]), y + 6), LOSS, 1.6, name="made", title=title)
        picture.word((width - right + 12, y + 3.5), f"{100 * off:+.2g} %", 9.5, anchor="start", name="value")
    return picture


def draw_probabilities(
    names: Sequence[str], asked: FloatArray, made: FloatArray, width: float = 640.0
) -> Picture:
    """The probability of the upper value of each spin or bit: asked as a bar, made as a mark on it."""
    row, left, right = 22.0, 104.0, 92.0
    picture = Picture(width, 34 + row * len(names) + 22, "Probability of the upper value: asked and made")
    wide = width - left - right
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + wide * tick
        picture.line((x, 20), (x, 24 + row * len(names)), "#dde3ea", 0.8, name="grid")
        picture.word((x, 36 + row * len(names)), f"{tick:g}", 9, GREY, name="note")
    picture.word(
        (left, 12),
        "probability of the upper value; bar: asked, mark: made",
        9,
        GREY,
        anchor="start",
        name="note",
    )
    picture.word((width - right + 12, 12), "off by", 9, GREY, anchor="start", name="note")
    for k, name in enumerate(names):
        y = 24 + row * (k + 0.5)
        title = f"{name}: probability {asked[k]:.6g} asked, {made[k]:.6g} made"
        data: dict[str, str | int | float] = {"k": k}
        picture.word(
            (left - 8, y + 3.5),
            name,
            min(10.5, 170.0 / max(len(name), 1)),
            anchor="end",
            name="row",
            data=data,
        )
        picture.box(
            (left, y - 6), (max(wide * asked[k], 0.5), 12), "#8fb8d8", name="asked1", title=title, data=data
        )
        x = left + wide * made[k]
        picture.line((x, y - 8), (x, y + 8), LOSS, 2.4, name="made", title=title)
        picture.word(
            (width - right + 12, y + 3.5), f"{made[k] - asked[k]:+.2g}", 9.5, anchor="start", name="value"
        )
    return picture


def draw_errors(
    names: Sequence[str],
    asked: tuple[FloatArray, FloatArray],
    made: tuple[FloatArray, FloatArray],
    width: float,
) -> Picture:
    """The error of each coordinate's standard deviation and mean, in the order of the source; thinned to 2,000."""
    (m, s), (m2, s2) = asked, made
    every = np.unique(np.linspace(0, len(names) - 1, min(len(names), 2000)).astype(np.int64))
    picture = Picture(width, 300.0, "Errors of the marginals")
    left, row = 74.0, 112.0
    for r, (title, values) in enumerate((("sd, relative", s2 / s - 1), ("mean, in sd", (m2 - m) / s))):
        y0 = 14 + r * (row + 26)
        top = float(np.abs(values[every]).max(initial=0.0))
        if top < 1e-12:
            values, top = np.zeros_like(values), 0.0
        picture.word((8, y0 + 4), title, 10.5, anchor="start", name="axis")
        for share in (-1, 0, 1):
            y = y0 + 12 + (row - 12) * (0.5 - 0.5 * share)
            picture.line((left, y), (width - 10, y), "#dde3ea", 0.8, name="grid")
            picture.word((left - 5, y + 3), _signed(share * top), 8.5, GREY, anchor="end", name="note")
        for k in every.tolist():
            x = left + 6 + (width - left - 22) * k / max(len(names) - 1, 1)
            y = y0 + 12 + (row - 12) * (0.5 - 0.5 * float(values[k]) / (top or 1.0))
            picture.disc(
                (x, y),
                2.2,
                LOSS,
                name="dot",
                title=f"{names[k]}: {values[k]:+.3g}",
                data={"k": k},
                opacity=0.8,
            )
    picture.word(
        (width / 2, 292), f"{len(names)} coordinates in the order of the source", 9.5, GREY, name="note"
    )
    return picture


def _signed(v: float) -> str:
    return f"{v:+.1e}" if v else "0"
