"""The poles of a job's circuit, and how it forgets a cold start."""

from __future__ import annotations

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Device, Family
from spucc.ir.show import si
from spucc.report.picture import GAIN, GREY, LOSS, Picture, ticks
from spucc.stages import Quantized, Schedule


def poles_of(codes: Quantized, device: Device, member: int = 0) -> FloatArray | None:
    """The poles [m, 2] (real and imaginary part, 1/s) of a member's circuit (physics §4); None where there are none
    or too many."""
    if not device.family.electric or codes.n == 0:
        return None
    from spucc.diagnostics import SpuccError
    from spucc.targets.circuits import board
    from spucc.targets.linear import system

    try:
        circuit = board(codes, member, device)
        r, l = circuit.resistance, circuit.inductance
        if device.family is Family.RESISTIVE and codes.n <= 1500:
            rates = np.linalg.eigvalsh(circuit.matrix.toarray()) / circuit.capacitance
            return np.stack([-rates, np.zeros_like(rates)], axis=1)
        if device.family is Family.INDUCTIVE and codes.n <= 1500:
            root = 1.0 / np.sqrt(circuit.loop)
            rates = 1.0 / np.linalg.eigvalsh(circuit.matrix.toarray() * np.outer(root, root))
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

    for tick in ticks(x_low, 0.0, 3):
        x, _ = place(tick, 0)
        picture.line((x, top), (x, height - bottom), "#dde3ea", 0.8, name="grid")
        picture.word((x, height - bottom + 13), _short(tick), 9, GREY, name="note")
    for tick in [] if flat else ticks(-y_top, y_top, 4):
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
    for tick in ticks(0, end, 3):
        x, _ = place(tick, 1.0)
        picture.word((x, height - bottom + 13), si(tick, "s"), 9, GREY, name="note")
    picture.word((left + (width - left - right) / 2, height - 8), "time", 9.5, GREY, name="note")
    picture.word((8, 11), "worst error of a variance left", 9.5, GREY, anchor="start", name="note")
    return picture


def _short(v: float) -> str:
    return "0" if v == 0 else f"{v:.2g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
