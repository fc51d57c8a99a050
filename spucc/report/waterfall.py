"""The ledger as a waterfall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spucc.report.picture import GAIN, GREY, LOSS, Picture
from spucc.stages import LedgerEntry

FIGURES = (
    ("kl_forward", "KL(asked ‖ made), nats a variable", 1e-16),
    ("sd_error", "worst standard deviation, relative", 1e-12),
    ("mean_error", "worst mean, in standard deviations", 1e-12),
    ("correlation_error", "worst correlation", 1e-12),
)
"""Field of the ledger, what it is, and what is below it no more than the rounding of floating-point numbers."""


def draw_ledger(entries: Sequence[LedgerEntry], width: float = 640.0) -> Picture:
    """Pass by pass the error so far, on a logarithmic scale: a bar leads from where the pass before stood to where this one
    does, downwards where a pass wins something back."""
    left, row, gap, top = 58.0, 66.0, 40.0, 34.0
    known = [e for e in entries if e.basis != "none"]
    height = top + len(FIGURES) * (row + gap) - gap + 34
    picture = Picture(width, height if known else 60.0, "The ledger: errors after each pass")
    if not known:
        said = "no statement can be made of the errors" if entries else "nothing was measured"
        picture.word((width / 2, 34), said, 12, GREY)
        return picture
    step = (width - left - 12) / len(known)
    for r, (key, title, floor) in enumerate(FIGURES):
        y0 = top + r * (row + gap)
        _waterfall(
            picture,
            [float(getattr(e, key)) for e in known],
            known,
            (key, title, floor),
            (left, y0, step, row),
        )
    base = top + len(FIGURES) * (row + gap) - gap + 10
    for k, e in enumerate(known):
        x = left + (k + 0.5) * step
        size = min(10.5, 1.7 * step / max(len(e.name), 1))
        picture.word((x, base + 8), e.name, size, name="tick", data={"pass": e.name})
        if e.basis != "exact":
            picture.word((x, base + 20), e.basis, 0.9 * size, GREY, name="note")
    return picture


def _waterfall(
    picture: Picture,
    values: list[float],
    entries: Sequence[LedgerEntry],
    figure: tuple[str, str, float],
    box: tuple[float, float, float, float],
) -> None:
    (key, title, floor), (left, y0, step, row) = figure, box
    finite = [v for v in values if np.isfinite(v) and v > floor]
    low = np.log10(floor)
    top = max(np.ceil(np.log10(max(finite))), low + 3) if finite else -6.0

    def y(v: float) -> float:
        if not np.isfinite(v):
            return y0
        share = (np.log10(max(v, floor)) - low) / (top - low)
        return float(y0 + row * (1 - share))

    picture.word((8, y0 - 18), title, 11, anchor="start", name="axis")
    for power in (low, np.round((low + top) / 2), top):
        at = float(y0 + row * (1 - (power - low) / (top - low)))
        picture.line((left, at), (left + step * len(values), at), "#dde3ea", 0.8, name="grid")
        said = "rounding" if power == low else f"1e{power:.0f}"
        picture.word((left - 5, at + 3), said, 8.5, GREY, anchor="end", name="note")
    before = floor
    for k, (v, e) in enumerate(zip(values, entries)):
        a, b = y(before), y(v)
        x = left + k * step
        said = "unknown" if np.isnan(v) else "rounding" if abs(v) <= floor else f"{v:.3g}"
        title_ = f"{e.name}: {key.replace('_', ' ')} {said} ({e.basis})"
        data: dict[str, str | int | float] = {"pass": e.name}
        if np.isnan(v):
            picture.word((x + 0.5 * step, y0 + row - 4), "?", 11, GREY, name="note")
            continue
        high, size = min(a, b), max(abs(a - b), 1.5)
        changed = abs(a - b) > 0.75
        colour = (LOSS if b < a else GAIN) if changed else GREY
        kind = ("loss" if b < a else "gain") if changed else "same"
        picture.box(
            (x + 0.14 * step, high), (0.72 * step, size), colour, name=f"bar {kind}", title=title_, data=data
        )
        if k + 1 < len(values):
            picture.line((x + 0.86 * step, b), (x + 1.14 * step, b), GREY, 0.8, name="grid-strong")
        if changed:
            under = b < a or b + 11 > y0 + row
            size_ = min(9.0, 1.9 * step / max(len(said), 1))
            picture.word((x + 0.5 * step, high - 3 if under else b + 10), said, size_, name="value")
        before = v
