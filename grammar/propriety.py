"""Whether the density can be normalised where it is asked about, and if not, along which direction it cannot.

Certificates from the cheapest: parts that are definite by what was checked before; diagonal dominance; a
factorisation. Only connected components that a query reads are looked at, with the observed coordinates taken
out. A component that is flat along directions no query sees (an intrinsic field asked for its contrasts) is
grounded there: one coordinate for each flat direction gets a spring, which leaves the law of what is asked
unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import Diagnostic, Label, SpuccError
from spucc.energy import Domain, Energy, Quadratic, QueryKind
from spucc.grammar.components import components
from spucc.grammar.context import Added, AddedBlock

# Largest component that is factored as a dense matrix.
DENSE = 2000
# With unit diagonal: pivots above this are positive, eigenvalues below FLAT are zero.
SAFE_PIVOT = 1e-11
FLAT = 1e-13
# A pivot of a large component above this is positive; one below is looked at.
SMALL_PIVOT = 1e-6
# Rows of a sparse matrix that are looked at in one go.
STRIP = 1 << 16
# Flat directions of one large component that are looked at.
MOST_FLAT = 200


@dataclass(frozen=True, eq=False)
class Fault:
    """A diagnostic and the direction that it names: `falls` of degree 2 or 1 in it, or 0 where the energy is flat."""

    diagnostic: Diagnostic
    at: IntArray
    direction: FloatArray
    falls: int

    def blamed(self, evidence: Evidence, n: int) -> Diagnostic:
        """The diagnostic at the statement that lets the energy fall most along the direction, where one does."""
        if not self.falls:
            return self.diagnostic
        d = np.zeros(n)
        d[self.at] = self.direction / np.abs(self.direction).max()
        change = [slope(part, d, self.falls) for part in evidence.parts]
        if not change or min(change) >= 0:
            return self.diagnostic
        span = evidence.parts[int(np.argmin(change))].span
        label = Label(self.diagnostic.span, "declared here") if self.diagnostic.span else None
        return replace(self.diagnostic, span=span, labels=(label,) if label else ())


def slope(part: Added | AddedBlock, d: FloatArray, degree: int) -> float:
    """The part of the given degree of a contribution along a direction."""
    if isinstance(part, AddedBlock):
        if degree == 1:
            return 0.0
        half = 0.5 if part.cols is None else 1.0
        return half * float(d[part.rows] @ part.matrix @ d[part.rows if part.cols is None else part.cols])
    along = {id(f): f.linear.csr(d.size) @ d for t in part.poly.terms for f in t.factors}
    total = float((part.poly.affine.linear.csr(d.size) @ d).sum()) if degree == 1 else 0.0
    for t in part.poly.terms:
        if len(t.factors) != 2:
            continue
        a, b = t.factors
        product = along[id(a)] * along[id(b)]
        if degree == 1:
            product = along[id(a)] * b.offset + along[id(b)] * a.offset
        total += float(np.sum(t.weight * product))
    return total


class Evidence:
    """What the statements say about definiteness: which coordinates got a part that may be indefinite, and
    which lie in a part known to be positive definite."""

    def __init__(self, width: int) -> None:
        self.indefinite = np.zeros(width, dtype=bool)
        self.definite = np.zeros(width, dtype=bool)
        self.parts: list[Added | AddedBlock] = []

    def note(self, part: Added | AddedBlock, at: IntArray) -> None:
        """Remember what is known of one statement's contribution."""
        self.parts.append(part)
        if isinstance(part, Added) and not part.poly.terms:
            return
        self.note_part(at, part.psd, part.certified)

    def note_part(self, at: IntArray, psd: bool, certified: bool) -> None:
        if not psd:
            self.indefinite[at] = True
        if certified:
            self.definite[at] = True


def settle(energy: Energy, evidence: Evidence) -> tuple[Energy, list[Diagnostic]]:
    """The energy, grounded where need be, and warnings; or an error that names a direction."""
    free = np.zeros(energy.n, dtype=bool)
    for v in energy.variables:
        free[v.start : v.stop] = v.domain is Domain.REAL
    free[energy.observed.index] = False
    asked = asked_coordinates(energy) & free
    if not asked.any():
        return energy, []
    if energy.higher:
        from spucc.grammar.boundedness import bounded

        return energy, bounded(energy, free, evidence.parts)
    q = energy.quadratic
    if (not q.blocks or energy.n > DENSE) and asked.all() and _dominant(q, free) is True:
        return energy, []
    if not evidence.indefinite.any() and not (asked & ~evidence.definite).any():
        return energy, []
    return _by_component(energy, evidence, free, asked)


def asked_coordinates(energy: Energy) -> Any:
    """The coordinates that the queries read."""
    seen = np.zeros(energy.n, dtype=bool)
    for query in energy.queries:
        if query.kind in (QueryKind.ARGMIN, QueryKind.LOGZ):
            mine = [v for v in energy.variables if not v.stands_for]
            for v in mine:
                seen[v.start : v.stop] = True
        for form in query.forms():
            seen[form.matrix.indices] = True
    return seen


def _dominant(q: Quadratic, free: Any) -> bool:
    """Whether every row is weakly dominated by its diagonal, one row of each component strictly."""
    rows = q.sparse
    diagonal = q.diagonal()
    total = _magnitudes(rows, free.astype(np.float64))
    own = np.abs(np.asarray(rows.diagonal()))
    if q.blocks:
        return False
    slack = diagonal - (total - own)
    slack, diagonal = slack[free], diagonal[free]
    if not (diagonal > 0).all() or (slack < -1e-13 * diagonal).any():
        return False
    strict = slack > 1e-9 * diagonal
    if strict.all():
        return True
    part = rows if free.all() else rows[np.flatnonzero(free)][:, np.flatnonzero(free)]
    label = components(part)
    held = np.zeros(label.size, dtype=bool)
    held[label[strict]] = True
    return bool(held[label].all())


def _magnitudes(matrix: sparse.csr_array, weight: FloatArray) -> FloatArray:
    """|matrix| @ weight, a strip of rows at a time: no copy of a large matrix is made."""
    n = matrix.shape[0]
    total = np.empty(n)
    for start in range(0, n, STRIP):
        pointer = matrix.indptr[start : start + STRIP + 1]
        a, b = pointer[0], pointer[-1]
        parts = (np.abs(matrix.data[a:b]), matrix.indices[a:b], pointer - a)
        total[start : start + STRIP] = sparse.csr_array(parts, shape=(pointer.size - 1, n)) @ weight
    return total


def _by_component(
    energy: Energy, evidence: Evidence, free: Any, asked: Any
) -> tuple[Energy, list[Diagnostic]]:
    keep = np.flatnonzero(free)
    part = energy.quadratic.restrict(keep) if keep.size < energy.n else energy.quadratic
    label = components(part.pattern())
    read = np.zeros(label.size, dtype=bool)
    read[label[asked[keep]]] = True
    wanted = np.flatnonzero(read)
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], wanted)
    stops = np.searchsorted(label[order], wanted, side="right")
    faults: list[Fault] = []
    grounds: list[tuple[int, float]] = []
    small: list[IntArray] = []
    diagonal = part.diagonal()
    singles = stops - starts == 1
    alone = order[starts[singles]]
    for k in alone[~(diagonal[alone] > 0)][:5]:
        faults += _flat_single(energy, int(keep[k]), float(diagonal[k]), evidence)
    for begin, end in zip(starts[~singles], stops[~singles]):
        small.append(np.sort(order[begin:end]))
    if len(small) > 1 and sum(c.size for c in small) > DENSE and not part.blocks:
        dominated = _dominant(part, read[label])
        if dominated:
            small = []
    for members in small:
        at = keep[members]
        if not evidence.indefinite[at].any() and evidence.definite[at].all():
            continue  # definite parts that cover all coordinates, the rest semidefinite: the sum is definite
        fault, ground = _component(energy, part, members, at)
        faults += fault
        grounds += ground
        if len(faults) >= 5:
            break
    if faults:
        raise SpuccError([f.blamed(evidence, energy.n) for f in faults])
    if grounds:
        energy = _grounded(energy, grounds)
    return energy, []


def _flat_single(energy: Energy, k: int, curvature: float, evidence: Evidence) -> list[Fault]:
    return [_improper(energy, np.array([k]), np.ones(1), curvature)]


def _component(
    energy: Energy, part: Quadratic, members: IntArray, at: IntArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    if members.size > DENSE:
        return _large(energy, part, members, at)
    dense = part.restrict(members).toarray()
    diagonal = np.diagonal(dense)
    if not (diagonal > 0).all():
        k = int(np.argmin(diagonal))
        if diagonal[k] < 0:
            return [_improper(energy, at[k : k + 1], np.ones(1), float(diagonal[k]))], []
        if dense[k].any():
            return [_coupled(energy, at, k, dense[k], diagonal)], []
        scale = np.where(diagonal > 0, diagonal, 1.0) ** -0.5
    else:
        scale = 1.0 / np.sqrt(diagonal)
    scaled = dense * scale[:, None] * scale
    try:
        factor = np.linalg.cholesky(scaled)
        if (np.diagonal(factor) ** 2 > SAFE_PIVOT).all():
            return [], []
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(scaled)
    tolerance = FLAT * max(members.size, 10)
    if values[0] < -tolerance:
        direction = vectors[:, 0] * scale
        return [_improper(energy, at, direction, float(values[0]) if values[0] < 0 else 0.0)], []
    null = vectors[:, np.abs(values) <= tolerance] * scale[:, None]
    if null.shape[1] == 0:
        return [], []
    return _ground(energy, at, null, diagonal)


def _coupled(energy: Energy, at: IntArray, k: int, row: FloatArray, diagonal: FloatArray) -> Fault:
    """Flat along k but coupled to another: a step far along k and a little along the other falls."""
    other = int(np.argmax(np.abs(row)))
    step = -np.sign(row[other]) * min(0.5, abs(row[other]) / (diagonal[other] + 1e-300))
    curvature = float(2.0 * step * row[other] + step * step * diagonal[other])
    pair = np.array([1.0, float(step)])
    return _improper(energy, at[[k, other]], pair, min(curvature, -1e-300))


def _ground(
    energy: Energy, at: IntArray, null: FloatArray, diagonal: FloatArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    """Flat directions that no query sees get a spring each; one that is seen, or along which a force pulls,
    is an error."""
    linear = energy.linear[at] + _pull_of_observed(energy, at)
    size = np.abs(null).max(axis=0)
    null = null / size
    force = null.T @ linear
    scale = np.abs(null.T) @ np.abs(linear) + 1e-300
    seen = np.abs(force) > 1e-9 * scale
    if seen.any():
        direction = null[:, int(np.argmax(np.abs(force)))]
        sign = -np.sign(float(direction @ linear))
        return [_improper(energy, at, direction * sign, 0.0, pulled=True)], []
    for query in energy.queries:
        if query.kind is QueryKind.LOGZ:
            return [_improper(energy, at, null[:, 0], 0.0, query.name)], []
        if query.kind is QueryKind.ARGMIN:
            continue
        for form in query.forms():
            rows = form.matrix[:, at]
            moved = np.abs(rows @ null)
            limit = 1e-9 * (abs(rows) @ np.abs(null)) + 1e-300
            if (moved > limit).any():
                column = int(np.argmax((moved > limit).any(axis=0)))
                return [_improper(energy, at, null[:, column], 0.0, query.name)], []
    grounds = []
    left = null.copy()
    typical = float(np.mean(np.abs(diagonal))) or 1.0
    for _ in range(null.shape[1]):
        k, column = (int(v) for v in np.unravel_index(int(np.argmax(np.abs(left))), left.shape))
        grounds.append((int(at[k]), typical))
        pivot = left[:, column] / left[k, column]
        left = left - np.outer(pivot, left[k])
        left[:, column] = 0.0
    return [], grounds


def _pull_of_observed(energy: Energy, at: IntArray) -> FloatArray:
    if not energy.observed.index.size:
        return np.zeros(at.size)
    x = np.zeros(energy.n)
    x[energy.observed.index] = energy.observed.value
    return np.asarray((energy.quadratic @ x)[at])


def _grounded(energy: Energy, grounds: list[tuple[int, float]]) -> Energy:
    diagonal = np.zeros(energy.n)
    for k, spring in grounds:
        diagonal[k] += spring
    on = np.flatnonzero(diagonal)
    extra = sparse.csr_array(sparse.coo_array((diagonal[on], (on, on)), shape=(energy.n, energy.n)))
    total = sparse.csr_array(energy.quadratic.sparse + extra)
    return replace(energy, quadratic=Quadratic(total, energy.quadratic.blocks))


def _large(
    energy: Energy, part: Quadratic, members: IntArray, at: IntArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    """A component too large for a dense factorisation: LDLᵀ of the sparse matrix."""
    from scipy.sparse.linalg import splu

    inside = part.restrict(members)
    if not inside.blocks and _dominant(inside, np.ones(members.size, dtype=bool)):
        return [], []
    if inside.blocks and sum(b.matrix.size for b in inside.blocks) > 0.05 * members.size**2:
        return _large_dense(energy, inside, at)
    matrix = inside.tocsr()
    diagonal = matrix.diagonal()
    if not (diagonal > 0).all():
        k = int(np.argmin(diagonal))
        row = matrix[[k]].toarray()[0]
        if diagonal[k] == 0 and row.any():
            return [_coupled(energy, at, k, row, diagonal)], []
        return [_improper(energy, at[k : k + 1], np.ones(1), float(diagonal[k]))], []
    scale = sparse.dia_array((1.0 / np.sqrt(diagonal)[None, :], [0]), shape=matrix.shape)
    scaled = sparse.csc_array(scale @ matrix @ scale)
    lu = _factor(splu, scaled, 0.0)
    pivots = lu.U.diagonal()
    small = np.flatnonzero(pivots <= SMALL_PIVOT)
    if not small.size:
        return [], []
    # Lᵀ y = e_k gives yᵀ A y = pivot k. Rounding makes a vanishing pivot as large as |y|² times the machine's precision, so
    # that the curvature along y decides, not the pivot.
    y = _solved(lu, small[np.argsort(pivots[small])][:MOST_FLAT])
    curvature = np.einsum("ij,ij->j", y, scaled @ y) / (y * y).sum(axis=0)
    lowest = int(np.argmin(curvature))
    if curvature[lowest] < -FLAT:
        return [_improper(energy, at, np.asarray(scale @ y[:, lowest]), float(curvature[lowest]))], []
    flat = y[:, curvature <= FLAT]
    if not flat.shape[1]:
        return [], []
    # One step of inverse iteration brings the directions to full precision.
    sharper = lu.solve(flat)
    if np.isfinite(sharper).all():
        flat = np.linalg.qr(sharper)[0]
    return _ground(energy, at, np.asarray(scale @ flat), diagonal)


def _solved(lu: Any, at: IntArray) -> FloatArray:
    """The columns y of Lᵀ y = e_k, in the order of the matrix."""
    from scipy.sparse.linalg import spsolve_triangular

    n = lu.shape[0]
    unit = np.zeros((n, at.size))
    unit[at, np.arange(at.size)] = 1.0
    y = spsolve_triangular(sparse.csr_array(lu.L.T), unit, lower=False, unit_diagonal=True)
    return np.asarray(y[lu.perm_c])


def _factor(splu: Any, scaled: Any, shift: float) -> Any:
    """LDLᵀ by SuperLU in symmetric mode; a zero pivot is moved a little."""
    options = {"SymmetricMode": True}
    matrix = scaled if shift == 0.0 else sparse.csc_array(scaled + shift * sparse.eye_array(scaled.shape[0]))
    try:
        return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    except RuntimeError:
        if shift > 1e-10:
            raise
        return _factor(splu, scaled, 1e-15 if shift == 0.0 else shift * 10)


def _large_dense(
    energy: Energy, inside: Quadratic, at: IntArray
) -> tuple[list[Fault], list[tuple[int, float]]]:
    dense = inside.toarray()
    diagonal = np.diagonal(dense)
    if (diagonal > 0).all():
        scale = 1.0 / np.sqrt(diagonal)
        try:
            factor = np.linalg.cholesky(dense * scale[:, None] * scale)
            if (np.diagonal(factor) ** 2 > SAFE_PIVOT).all():
                return [], []
        except np.linalg.LinAlgError:
            pass
    values, vectors = np.linalg.eigh(dense)
    if values[0] > FLAT * at.size * values[-1]:
        return [], []
    return [_improper(energy, at, vectors[:, 0], min(float(values[0]), 0.0))], []


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


def _improper(
    energy: Energy,
    at: IntArray,
    direction: FloatArray,
    curvature: float,
    query: str = "",
    pulled: bool = False,
) -> Fault:
    """The error that names a direction."""
    diagnostic = _message(energy, at, direction, curvature, query, pulled)
    return Fault(diagnostic, at, direction, 2 if curvature < 0 else 1 if pulled else 0)


def _message(
    energy: Energy, at: IntArray, direction: FloatArray, curvature: float, query: str, pulled: bool
) -> Diagnostic:
    name = spelled(energy, at, direction)
    variable = energy.variable_of(int(at[int(np.argmax(np.abs(direction)))]))
    span = variable.span
    notes = (f"the query `{query}` asks for something that this direction moves",) if query else ()
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
        notes=notes,
        help="give the variable a prior, observe it, or ask only for what is determined (differences of "
        "a flat field)",
    )
