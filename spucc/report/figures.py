"""The plots of the page: the ledger as a waterfall, marginals asked and made, poles, settling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Device, Family
from spucc.ir.show import si
from spucc.report.picture import Picture
from spucc.stages import LedgerEntry, Quantized, Schedule

LOSS, GAIN, GREY = "#d55e00", "#0072b2", "#66717f"

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
        said = "unknown" if np.isnan(v) else f"{v:.3g}"
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

    for tick in _ticks(low, high):
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


def _ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between two bounds."""
    span = max(high - low, 1e-300)
    raw = span / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda f: abs(f * power - raw))
    first = np.ceil(low / step)
    return [float(f"{step * (first + k):.12g}") for k in range(int((high - step * first) / step + 1e-9) + 1)]


def poles_of(codes: Quantized, device: Device) -> FloatArray | None:
    """The poles [m, 2] (real and imaginary part, 1/s) of the first member's circuit (physics §4); None where there are none
    or too many."""
    if device.family not in (Family.CAPACITIVE, Family.RESISTIVE) or codes.n == 0:
        return None
    from spucc.diagnostics import SpuccError
    from spucc.targets.circuits import board
    from spucc.targets.linear import system

    try:
        circuit = board(codes, 0, device)
        r, l = circuit.resistance, circuit.inductance
        if device.family is Family.RESISTIVE and codes.n <= 1500:
            rates = np.linalg.eigvalsh(circuit.matrix.toarray()) / circuit.capacitance
            return np.stack([-rates, np.zeros_like(rates)], axis=1)
        if not np.ptp(r) and not np.ptp(l) and not circuit.series_resistance.any() and codes.n <= 1500:
            c = np.linalg.eigvalsh(circuit.matrix.toarray())
            g = 1.0 / (2 * r[0] * c)
            root = np.sqrt((g**2 - 1.0 / (l[0] * c)).astype(complex))
            poles = np.concatenate([-g + root, -g - root])
        elif codes.n <= 200:
            poles = -system(circuit).rates
        else:
            return None
    except (SpuccError, np.linalg.LinAlgError):
        return None
    return np.stack([poles.real, poles.imag], axis=1)


def draw_poles(poles: FloatArray, width: float = 310.0) -> Picture:
    """The poles in the complex plane."""
    height = 230.0
    picture = Picture(width, height, f"{len(poles)} poles of the circuit")
    left, right, top, bottom = 62.0, 14.0, 16.0, 40.0
    x_low = 1.08 * float(poles[:, 0].min())
    y_top = 1.12 * float(np.abs(poles[:, 1]).max(initial=0.0))
    flat = y_top == 0.0

    def place(re: float, im: float) -> tuple[float, float]:
        x = left + (width - left - right) * (1 - re / x_low)
        middle = top + (height - top - bottom) / 2
        return x, middle if flat else middle - im / y_top * (height - top - bottom) / 2

    for tick in _ticks(x_low, 0.0, 3):
        x, _ = place(tick, 0)
        picture.line((x, top), (x, height - bottom), "#dde3ea", 0.8, name="grid")
        picture.word((x, height - bottom + 13), _short(tick), 9, GREY, name="note")
    for tick in [] if flat else _ticks(-y_top, y_top, 4):
        _, y = place(0, tick)
        picture.line((left, y), (width - right, y), "#dde3ea", 0.8, name="grid")
        picture.word((left - 5, y + 3), _short(tick), 9, GREY, anchor="end", name="note")
    picture.word((left + (width - left - right) / 2, height - 8), "real part, 1/s", 9.5, GREY, name="note")
    picture.word((8, 11), "imaginary part, 1/s", 9.5, GREY, anchor="start", name="note")
    slowest = float(poles[:, 0].max())
    for re, im in poles.tolist():
        title = (
            f"{_short(re)} ± {_short(abs(im))} i 1/s: forgets in {si(-1 / re, 's')}"
            if re < 0
            else "does not settle"
        )
        last = re >= slowest * (1 + 1e-9)
        picture.disc(
            place(re, im),
            4.0 if last else 3.0,
            LOSS if last else GAIN,
            name="pole",
            title=title,
            opacity=0.85,
        )
    return picture


def draw_settling(schedule: Schedule, poles: FloatArray | None, width: float = 310.0) -> Picture:
    """What is left of a cold start while the board settles, and when it is read first and next."""
    height = 230.0
    picture = Picture(width, height, "Settling: what is left of a cold start")
    left, right, top, bottom = 52.0, 14.0, 16.0, 40.0
    if poles is None or not (poles[:, 0] < 0).all() or schedule.settle <= 0:
        picture.height = 60.0
        picture.word((width / 2, 34), "no clock: times are counted in sweeps", 11, GREY)
        return picture
    slowest = float(-poles[:, 0].max())
    end = 1.25 * (schedule.settle + 2 * schedule.interval)

    def place(t: float, left_of: float) -> tuple[float, float]:
        share = np.log10(max(left_of, 1e-7)) / -7
        return left + (width - left - right) * t / end, float(top + (height - top - bottom) * share)

    for power in (0, -2, -4, -6):
        _, y = place(0, 10.0**power)
        picture.line((left, y), (width - right, y), "#dde3ea", 0.8, name="grid")
        picture.word((left - 5, y + 3), f"1e{power}" if power else "1", 9, GREY, anchor="end", name="note")
    times = np.linspace(0, min(end, 3.5 * np.log(10) / slowest), 60)
    picture.path(
        np.array([place(t, np.exp(-2 * slowest * t)) for t in times.tolist()]), GAIN, 2.0, name="curve"
    )
    for k, t in enumerate(
        (schedule.settle, schedule.settle + schedule.interval, schedule.settle + 2 * schedule.interval)
    ):
        x, _ = place(t, 1.0)
        dash = () if k == 0 else (3.0, 3.0)
        title = f"draw {k + 1} after {si(t, 's')}"
        picture.line((x, top), (x, height - bottom), LOSS, 1.4, name="read", dash=dash, title=title)
    x, _ = place(schedule.settle, 1.0)
    picture.word(
        (x - 5, top + 10), f"settled, {si(schedule.settle, 's')}", 9.5, LOSS, anchor="end", name="read-word"
    )
    for tick in _ticks(0, end, 3):
        x, _ = place(tick, 1.0)
        picture.word((x, height - bottom + 13), si(tick, "s"), 9, GREY, name="note")
    picture.word((left + (width - left - right) / 2, height - 8), "time", 9.5, GREY, name="note")
    picture.word((8, 11), "worst error of a variance left", 9.5, GREY, anchor="start", name="note")
    return picture


def _short(v: float) -> str:
    return "0" if v == 0 else f"{v:.2g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
