"""What can be selected on the page: every coordinate of the source, or every variable where there are many."""

from __future__ import annotations

from typing import Any

import numpy as np

from spucc.stages import Program, source_maps

NAMED = 1100
"""Coordinates up to which each can be selected; of more, only variables."""

_NEIGHBOURS = 10


def variables_of(program: Program) -> list[dict[str, Any]]:
    """For each its name, its lines of the source, its job and coordinates there, its terms and strongest neighbours."""
    energy = program.source
    files = [name for name, _ in program.provenance.sources]

    def line(span: Any) -> str | None:
        return f"L{files.index(span.file)}-{span.line}" if span is not None and span.file in files else None

    origins = [(line(o.span), set(o.coordinates.tolist())) for o in energy.origins if energy.n <= NAMED]
    if energy.n > NAMED:
        return [
            {"l": v.name, "size": v.size, "decl": line(v.span), "lines": [], "j": -1, "i": []}
            for v in energy.variables[:NAMED]
        ]
    maps, _ = source_maps(program)
    home: dict[int, tuple[int, list[int]]] = {}
    for j, matrix in enumerate(maps):
        rows = np.repeat(np.arange(energy.n), np.diff(matrix.indptr))
        for k, i in zip(rows.tolist(), matrix.indices.tolist()):
            home.setdefault(k, (j, []))[1].append(i)
    matrix = energy.quadratic.tocsr()
    observed = dict(zip(energy.observed.index.tolist(), energy.observed.value.tolist()))
    out = []
    for k in range(energy.n):
        variable = energy.variable_of(k)
        low, high = matrix.indptr[k], matrix.indptr[k + 1]
        others = [
            (int(c), float(v))
            for c, v in zip(matrix.indices[low:high], matrix.data[low:high])
            if c != k and v
        ]
        others.sort(key=lambda e: -abs(e[1]))
        j, inside = home.get(k, (-1, []))
        out.append(
            {
                "l": energy.label(k),
                "decl": line(variable.span),
                "lines": sorted({at for at, members in origins if at is not None and k in members}),
                "j": j,
                "i": inside,
                "obs": observed.get(k),
                "nb": [[c, float(f"{v:.4g}")] for c, v in others[:_NEIGHBOURS]],
                "deg": len(others),
                "h": float(f"{energy.linear[k]:.6g}"),
                "q": float(f"{matrix[k, k]:.6g}"),
                "for": variable.stands_for,
            }
        )
    return out
