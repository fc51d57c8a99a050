"""The energy that one statement adds, in a few lines that a person can read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spucc.diagnostics import Span
from spucc.energy import Variable
from spucc.grammar.assemble import Accumulator
from spucc.grammar.compose import _variables
from spucc.grammar.context import Added, AddedBlock, Carried, Context, Fixed

# Terms that are written out; above, their numbers are given.
MOST_TERMS = 10
# Above so many coordinates of the program the sum is not worth an editor's time.
MOST_COORDINATES = 300_000

_POWERS = {1: "", 2: "²", 3: "³", 4: "⁴"}


def energy_at(ctx: Context, span: Span) -> str:
    """What the statement at `span` adds to the energy; empty where it adds none."""
    effects = [e for e in ctx.effects if e.span == span]
    if not effects:
        return ""
    lines = []
    for e in effects:
        if isinstance(e, Carried):
            rank = e.factor.shape[1]
            lines.append(
                f"singular law: {e.index.size} entries carried as mean + L·z, z standard normal of rank {rank}"
            )
        elif isinstance(e, Fixed):
            lines.append(f"{e.poly.size} exact condition{'s' if e.poly.size > 1 else ''}: no energy")
    parts = [e for e in effects if isinstance(e, Added | AddedBlock)]
    if parts:
        if ctx.width > MOST_COORDINATES:
            return f"adds to the energy of {ctx.width:,} coordinates"
        lines.append("E += " + polynomial(ctx, parts))
    return "\n".join(lines)


def polynomial(ctx: Context, parts: list[Added | AddedBlock]) -> str:
    """The sum of some contributions: written out if short, counted if long."""
    variables = _variables(ctx)
    total = Accumulator(variables, ctx.width)
    for part in parts:
        total.add(part)
    higher = total.higher()
    q = total.quadratic()
    upper = q.tocsr().tocoo()
    i, j = (np.asarray(c) for c in upper.coords)
    keep = i <= j
    i, j, value = i[keep], j[keep], np.where(i == j, 0.5, 1.0)[keep] * upper.data[keep]
    linear = np.flatnonzero(total.linear)
    count = i.size + linear.size + sum(m.coefficient.size for m in higher)
    name = _labels(variables)
    if count <= MOST_TERMS:
        terms = [(float(c), _monomial(row, name)) for m in higher for c, row in zip(m.coefficient, m.index)]
        terms += [(float(c), _monomial((a, b), name)) for c, a, b in zip(value, i, j)]
        terms += [(float(total.linear[k]), name(int(k))) for k in linear]
        return _written([*terms, *([(total.constant, "")] if total.constant or not terms else [])])
    said = [f"{m.coefficient.size:,} terms of degree {m.degree}" for m in reversed(higher)]
    squares = i == j
    if i.size:
        said.append(f"{int(squares.sum()):,} squares and {int((~squares).sum()):,} products")
        low, high = np.abs(value).min(), np.abs(value).max()
        said[-1] += (
            f" (coefficients {low:.3g} … {high:.3g} in size)" if high > low else f" ({high:.3g} in size)"
        )
    if linear.size:
        said.append(f"{linear.size:,} linear terms")
    if total.constant:
        said.append(f"{total.constant:.6g}")
    touched = np.zeros(ctx.width, dtype=bool)
    for index in (i, j, linear, *(m.index.ravel() for m in higher)):
        touched[index] = True
    example = _monomial((int(i[0]), int(j[0])), name) if i.size else name(int(np.flatnonzero(touched)[0]))
    return f"{' + '.join(said)}, over {int(touched.sum()):,} coordinates, such as {example}"


def _labels(variables: tuple[Variable, ...]) -> Callable[[int], str]:
    def label(k: int) -> str:
        v = next(v for v in reversed(variables) if v.start <= k and v.size)
        return v.label(k - v.start)

    return label


def _monomial(index: tuple[int, ...] | np.ndarray, name: Callable[[int], str]) -> str:
    def factors() -> Iterator[str]:
        where, powers = np.unique(np.asarray(index), return_counts=True)
        for k, power in zip(where, powers):
            yield name(int(k)) + _POWERS.get(int(power), f"^{power}")

    return "·".join(factors())


def _written(terms: list[tuple[float, str]]) -> str:
    text = ""
    for c, monomial in terms:
        size = f"{abs(c):.6g}"
        body = monomial if monomial and size == "1" else "·".join(p for p in (size, monomial) if p)
        sign = ("−" if c < 0 else "") if not text else (" − " if c < 0 else " + ")
        text += sign + body
    return text
