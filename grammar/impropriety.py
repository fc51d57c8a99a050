"""The errors about a density that cannot be normalised: the direction in the user's names, the statements at fault."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import Diagnostic, Label, Span
from spucc.energy import Energy, Query
from spucc.grammar.evidence import Evidence

# Statements that an error about a flat direction points at.
MOST_SHOWN = 2


@dataclass(frozen=True, eq=False)
class Fault:
    """A diagnostic and the direction that it names: `falls` of degree 2 or 1 in it, or 0 where the energy is flat."""

    diagnostic: Diagnostic
    at: IntArray
    direction: FloatArray
    falls: int

    def blamed(self, evidence: Evidence, n: int) -> Diagnostic:
        """The diagnostic at the statement that lets the energy fall most along the direction, where one does; one about a
        flat direction points at the first statements that read what it moves."""
        d = np.zeros(n)
        d[self.at] = self.direction / np.abs(self.direction).max()
        if self.falls:
            return at_statement(self.diagnostic, evidence.falls(d, self.falls))
        read = evidence.reading(np.flatnonzero(np.abs(d) > 1e-6), n, MOST_SHOWN)
        labels = tuple(Label(span, "stays the same along it") for span in read)
        label = "" if read else "no statement gives it an energy"
        return replace(self.diagnostic, label=label, labels=(*labels, *self.diagnostic.labels))


def at_statement(diagnostic: Diagnostic, span: Span | None) -> Diagnostic:
    """The diagnostic at a statement, with a label at the declaration where it pointed."""
    if span is None:
        return diagnostic
    label = Label(diagnostic.span, "declared here") if diagnostic.span else None
    return replace(diagnostic, span=span, labels=(label,) if label else ())


def coupled(energy: Energy, at: IntArray, k: int, row: FloatArray, diagonal: FloatArray) -> Fault:
    """Flat along k but coupled to another: a step far along k and a little along the other falls."""
    other = int(np.argmax(np.abs(row)))
    step = -np.sign(row[other]) * min(0.5, abs(row[other]) / (diagonal[other] + 1e-300))
    curvature = float(2.0 * step * row[other] + step * step * diagonal[other])
    pair = np.array([1.0, float(step)])
    return improper(energy, at[[k, other]], pair, min(curvature, -1e-300))


def spelled(energy: Energy, at: IntArray, direction: FloatArray) -> str:
    """A direction in the user's names: `x[0] + x[1] − 0.5·b`."""
    size = np.abs(direction).max()
    direction = direction / (size if size > 0 else 1.0)
    main = direction[int(np.argmax(np.abs(direction) > 0.999))]
    direction = direction / main
    shown = np.flatnonzero(np.abs(direction) > 1e-6)
    parts: list[str] = []
    for k in shown[:4]:
        c = float(direction[k])
        factor = "" if abs(abs(c) - 1.0) < 5e-7 else f"{abs(c):.3g}·"
        sign = ("-" if c < 0 else "") if not parts else (" - " if c < 0 else " + ")
        parts.append(f"{sign}{factor}{energy.label(int(at[k]))}")
    more = f" + … ({shown.size - 4} more)" if shown.size > 4 else ""
    return "".join(parts) + more


def improper(
    energy: Energy,
    at: IntArray,
    direction: FloatArray,
    curvature: float,
    query: Query | None = None,
    pulled: bool = False,
) -> Fault:
    """The error that names a direction; `query` is one that asks for something that the direction moves."""
    diagnostic = _message(energy, at, direction, curvature, query, pulled)
    return Fault(diagnostic, at, direction, 2 if curvature < 0 else 1 if pulled else 0)


def _message(
    energy: Energy, at: IntArray, direction: FloatArray, curvature: float, query: Query | None, pulled: bool
) -> Diagnostic:
    name = spelled(energy, at, direction)
    variable = energy.variable_of(int(at[int(np.argmax(np.abs(direction)))]))
    span = variable.span
    notes: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    if query is not None:
        if query.span is None or query.implicit:
            notes = (f"the query `{query.name}` asks for something that this direction moves",)
        else:
            labels = (Label(query.span, "asks for something that this direction moves"),)
    if curvature < 0:
        return Diagnostic(
            "E0408",
            f"the density cannot be normalised: the energy falls without end along {name}",
            span,
            notes=(*notes, f"its curvature there is {curvature:.4g}"),
            help="every direction needs a positive curvature: add a prior, or correct the sign of an energy",
        )
    if pulled:
        return Diagnostic(
            "E0408",
            f"the density cannot be normalised: the energy falls without end along {name}",
            span,
            notes=("its curvature there is 0, and a linear term pulls along it",),
            help="give the variable a prior, such as `x ~ normal(0, 10)`",
        )
    return Diagnostic(
        "E0407",
        f"the density cannot be normalised: the energy is flat along {name}",
        span,
        labels=labels,
        notes=notes,
        help="give the variable a prior, observe it, or ask only for what is determined (differences of "
        "a flat field)",
    )
