"""Drawings as data: lines, discs, boxes and words, written as SVG by hand and as PNG by matplotlib.

Every shape carries explicit colours for a white page, and classes by which the report's style sheet gives it others. What a
user named is escaped here and nowhere else.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.diagnostics import fail

CATEGORIES = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#8f6fc8",
    "#a6a01c",
    "#7a5230",
    "#4fc1a6",
    "#e58fb1",
    "#5b6b82",
)
"""Colours that stay apart for colour-blind readers (Okabe and Ito, Color Universal Design, and between them)."""

SEQUENTIAL = ("#fde9a9", "#f5bf6c", "#e68e52", "#c75b53", "#98345f", "#5e1f5c")
"""Small to large, in one direction of lightness."""

DIVERGING = ("#08519c", "#5c9bd1", "#f4f4f2", "#ec9a4d", "#a63603")
"""Negative, zero, positive."""

INK, FAINT, PAPER = "#1d2733", "#c4ccd6", "#ffffff"

LOSS, GAIN, GREY = "#d55e00", "#0072b2", "#66717f"


Point = Sequence[float] | FloatArray


@dataclass(frozen=True)
class Shape:
    """One shape. `points` [m, 2]: the ends of a line, the corner and the size of a box, the middle of a disc, where a word
    stands. A line of pairs (`kind` "lines") holds a segment for every two points and is one element however many."""

    kind: str
    points: FloatArray
    fill: str = "none"
    stroke: str = "none"
    width: float = 0.0
    radius: float = 0.0
    text: str = ""
    size: float = 0.0
    anchor: str = "middle"
    dash: tuple[float, ...] = ()
    opacity: float = 1.0
    name: str = ""
    title: str = ""
    data: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass
class Picture:
    """Shapes in the order in which they are drawn, in a box of `width` × `height` from the upper left."""

    width: float
    height: float
    label: str
    shapes: list[Shape] = field(default_factory=list)

    def line(self, a: Point, b: Point, stroke: str = INK, width: float = 1.0, **more: object) -> None:
        self._add("line", [a, b], stroke=stroke, width=width, **more)

    def lines(self, points: FloatArray, stroke: str = INK, width: float = 1.0, **more: object) -> None:
        """Segments between every two of the points [2m, 2]."""
        if len(points):
            self._add("lines", points, stroke=stroke, width=width, **more)

    def path(self, points: FloatArray, stroke: str = INK, width: float = 1.0, **more: object) -> None:
        self._add("path", points, stroke=stroke, width=width, **more)

    def disc(self, at: Point, radius: float, fill: str = INK, **more: object) -> None:
        self._add("disc", [at], fill=fill, radius=radius, **more)

    def box(self, at: Point, size: Point, fill: str = INK, **more: object) -> None:
        self._add("box", [at, size], fill=fill, **more)

    def word(self, at: Point, text: str, size: float = 11.0, fill: str = INK, **more: object) -> None:
        self._add("word", [at], text=text, size=size, fill=fill, **more)

    def _add(self, kind: str, points: object, **more: object) -> None:
        self.shapes.append(Shape(kind, np.asarray(points, dtype=np.float64), **more))  # type: ignore[arg-type]

    def elements(self) -> str:
        """The shapes alone as SVG text."""
        return "".join(map(_element, self.shapes))

    def svg(self, *, standalone: bool = False, name: str = "", margin: float = 0.0, under: str = "") -> str:
        """As SVG text. Standalone pictures carry the namespace, a size and a font; `under` is drawn before the shapes."""
        space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
        size = f' width="{_n(self.width)}" height="{_n(self.height)}"' if standalone else ""
        box = f"{_n(-margin)} {_n(-margin)} {_n(self.width + 2 * margin)} {_n(self.height + 2 * margin)}"
        head = (
            f'<svg{space}{size} viewBox="{box}" role="img" aria-label="{escape(self.label)}"'
            + (f' class="{escape(name)}"' if name else "")
            + ' font-family="system-ui, sans-serif">'
        )
        paper = f'<rect width="100%" height="100%" fill="{PAPER}"/>' if standalone else ""
        return head + paper + under + self.elements() + "</svg>"

    def png(self, dots: float = 2.0) -> bytes:
        """As PNG with `dots` pixels a unit. Needs the extra `plot`; raises E0650 without it."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            fail("E0650", "a PNG needs matplotlib", help='pip install "spucc[plot]", or write .svg')
        figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=72 * dots, facecolor=PAPER)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.axis("off")
        for order, shape in enumerate(self.shapes):
            _paint(axes, shape, order)
        buffer = io.BytesIO()
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
        return buffer.getvalue()


def mix(colours: Sequence[str], share: float) -> str:
    """The colour at `share` (0 … 1) of the way through a list of colours."""
    if not np.isfinite(share):
        return FAINT
    at = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    k = min(int(at), len(colours) - 2)
    a, b = (np.array([int(colours[i][c : c + 2], 16) for c in (1, 3, 5)]) for i in (k, k + 1))
    return "#" + "".join(f"{round(v):02x}" for v in a + (at - k) * (b - a))


def ink_on(fill: str) -> str:
    """Ink that is read on a fill (WCAG's relative luminance)."""
    channels = np.array([int(fill[c : c + 2], 16) for c in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "#10151c" if float(linear @ [0.2126, 0.7152, 0.0722]) > 0.2 else "#ffffff"


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers between two bounds."""
    span = max(high - low, 1e-300)
    raw = span / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda f: abs(f * power - raw))
    first = np.ceil(low / step)
    return [float(f"{step * (first + k):.12g}") for k in range(int((high - step * first) / step + 1e-9) + 1)]


def _n(x: float) -> str:
    """A coordinate to a hundredth, without what need not be written."""
    text = f"{x:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _element(s: Shape) -> str:
    parts = [f' class="{escape(s.name)}"'] if s.name else []
    if s.kind != "word" and s.fill != "none":
        parts.append(f' fill="{s.fill}"')
    elif s.kind in ("path", "lines") or (s.kind != "word" and s.stroke != "none"):
        parts.append(' fill="none"')
    if s.stroke != "none":
        parts.append(f' stroke="{s.stroke}" stroke-width="{_n(s.width)}"')
    if s.dash:
        parts.append(f' stroke-dasharray="{" ".join(map(_n, s.dash))}"')
    if s.opacity != 1.0:
        parts.append(f' opacity="{_n(s.opacity)}"')
    parts += [f' data-{key}="{escape(str(value))}"' for key, value in s.data.items()]
    look = "".join(parts)
    inner = f"<title>{escape(s.title)}</title>" if s.title else ""
    p = s.points.tolist()
    if s.kind == "line":
        at = f'x1="{_n(p[0][0])}" y1="{_n(p[0][1])}" x2="{_n(p[1][0])}" y2="{_n(p[1][1])}"'
        return f"<line {at}{look}>{inner}</line>"
    if s.kind in ("lines", "path"):
        step = 2 if s.kind == "lines" else len(p)
        d = "".join(f"{'L' if k % step else 'M'}{_n(x)} {_n(y)}" for k, (x, y) in enumerate(p))
        return f'<path d="{d}"{look}>{inner}</path>'
    if s.kind == "disc":
        return f'<circle cx="{_n(p[0][0])}" cy="{_n(p[0][1])}" r="{_n(s.radius)}"{look}>{inner}</circle>'
    if s.kind == "box":
        round_ = f' rx="{_n(s.radius)}"' if s.radius else ""
        at = f'x="{_n(p[0][0])}" y="{_n(p[0][1])}" width="{_n(p[1][0])}" height="{_n(p[1][1])}"'
        return f"<rect {at}{round_}{look}>{inner}</rect>"
    at = f'x="{_n(p[0][0])}" y="{_n(p[0][1])}" font-size="{_n(s.size)}" text-anchor="{s.anchor}" fill="{s.fill}"'
    return f"<text {at}{look}>{inner}{escape(s.text)}</text>"


def _paint(axes: Any, s: Shape, order: int) -> None:
    """One shape on matplotlib's axes, whose unit is a point of 1/72 inch as the pictures' is."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle

    add = axes.add_artist
    x, y = s.points[:, 0], s.points[:, 1]
    edge: dict[str, Any] = {"edgecolor": s.stroke, "linewidth": s.width, "facecolor": s.fill}
    common: dict[str, Any] = {"zorder": order, "alpha": s.opacity}
    dash: Any = (0, s.dash) if s.dash else "-"
    if s.kind == "lines":
        add(LineCollection(list(s.points.reshape(-1, 2, 2)), colors=s.stroke, linewidths=s.width, **common))
    elif s.kind in ("line", "path"):
        if s.fill != "none":
            add(Polygon(s.points, closed=False, **edge, **common))
        else:
            add(Line2D(x, y, color=s.stroke, linewidth=s.width, linestyle=dash, **common))
    elif s.kind == "disc":
        add(Circle((x[0], y[0]), s.radius, **edge, **common))
    elif s.kind == "box":
        style = f"round,pad=0,rounding_size={s.radius}"
        shape = (
            FancyBboxPatch((x[0], y[0]), x[1], y[1], boxstyle=style, mutation_scale=1)
            if s.radius
            else (Rectangle((x[0], y[0]), x[1], y[1]))
        )
        shape.set(**edge, **common)
        add(shape)
    else:
        side = {"start": "left", "middle": "center", "end": "right"}[s.anchor]
        # A dollar sign in a name is no mathematics.
        axes.text(
            x[0],
            y[0],
            s.text.replace("$", r"\$"),
            fontsize=s.size,
            color=s.fill,
            ha=side,
            va="baseline",
            **common,
        )
