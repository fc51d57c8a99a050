"""A whole program to its `Energy`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.diagnostics import Diagnostic, Label, Span, SpuccError, fail
from spucc.energy import (
    Block,
    Domain,
    Energy,
    Monomials,
    Observed,
    Origin,
    Quadratic,
    Query,
    QueryKind,
    Variable,
)
from spucc.grammar.arithmetic import quoted
from spucc.grammar.assemble import Accumulator, touched
from spucc.grammar.context import Added, AddedBlock, Carried, Context, Fixed
from spucc.grammar.distributions import plain
from spucc.grammar.poly import Affine, Poly
from spucc.grammar.propriety import Evidence, settle
from spucc.grammar.queries import asked_of, finished, form_of
from spucc.grammar.substitute import Substitution, carried, constrained
from spucc.grammar.values import SparseConst


@dataclass(eq=False)
class Gathered:
    """The effects of all statements, sorted by kind."""

    added: list[Added | AddedBlock]
    carried: list[Carried]
    fixed: list[Fixed]


def gathered(ctx: Context) -> Gathered:
    found = Gathered([], [], [])
    for effect in ctx.effects:
        match effect:
            case Carried():
                found.carried.append(effect)
            case Fixed():
                found.fixed.append(effect)
            case _:
                found.added.append(effect)
    return found


def energy_of(ctx: Context) -> tuple[Energy, list[Diagnostic]]:
    """The energy that all statements add up to, and warnings about it."""
    if not ctx.variables and not ctx.queries:
        fail("E0425", "the program declares no random variable and asks nothing",
             help="declare one with `var x: real`, or ask `query u = solve(A, b)`")
    check_degrees(ctx)
    effects = gathered(ctx)
    substitution = Substitution(ctx.width)
    carried(substitution, effects.carried)
    discrete = np.zeros(ctx.width, dtype=bool)
    for v in ctx.variables:
        discrete[v.start : v.start + _size(v.shape)] = v.domain is not Domain.REAL
    observed = observations(ctx, substitution, effects.fixed, discrete)
    if substitution.trivial:
        renumbered, variables, width = None, _variables(ctx), ctx.width
    else:
        renumbered, variables = _without(ctx, substitution)
        width = sum(v.size for v in variables)

    def mapped(a: Affine) -> Affine:
        a = substitution.affine(a)
        return a if renumbered is None else _renumber(a, renumbered, width)

    accumulator = Accumulator(variables, width)
    evidence = Evidence(width)
    origins = []
    for effect in effects.added:
        for part in _final(effect, substitution, mapped, renumbered):
            mask = np.zeros(width, dtype=bool)
            touched(part, mask)
            if isinstance(part, AddedBlock):
                accumulator.add_block(part)
            else:
                accumulator.add(part)
            evidence.note(part, mask)
            origins.append(Origin(part.span, frozen(np.flatnonzero(mask), np.int64)))
    temperature = ctx.temperature[0] if ctx.temperature else 1.0
    _matrix_queries(ctx, accumulator, evidence, temperature, renumbered)
    higher = accumulator.higher()
    quadratic = accumulator.quadratic()
    _check_finite(accumulator.linear, quadratic, higher, accumulator.constant)
    at = frozen(sorted(observed), np.int64)
    values = frozen([observed[int(k)] for k in at])
    if renumbered is not None:
        order = np.argsort(renumbered[at])
        at, values = frozen(renumbered[at][order], np.int64), frozen(values[order])
    seen = np.zeros(width, dtype=bool)
    seen[at] = True
    queries = tuple(finished(q, width, mapped, {}) for q in asked_of(ctx)) or _implicit(ctx, mapped, width, seen)
    energy = Energy(
        variables=variables, linear=frozen(accumulator.linear), quadratic=quadratic, constant=accumulator.constant,
        higher=higher, temperature=temperature, observed=Observed(at, values), queries=queries, origins=tuple(origins),
    )  # fmt: skip
    _check_queries(energy)
    return settle(energy, evidence)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _variables(ctx: Context) -> tuple[Variable, ...]:
    return tuple(
        Variable(v.name, v.shape, v.domain, v.start, v.span, ctx.stands_for.get(v.name, "")) for v in ctx.variables
    )


def _without(ctx: Context, substitution: Substitution) -> tuple[FloatArray, tuple[Variable, ...]]:
    """Variables without the carried coordinates, and each old coordinate's new number."""
    renumbered = np.cumsum(~substitution.gone) - 1
    variables = []
    start = 0
    for v in _variables(ctx):
        left = np.flatnonzero(~substitution.gone[v.start : v.stop])
        if left.size == v.size:
            variables.append(replace(v, start=start))
        elif left.size:
            variables.append(replace(v, start=start, entries=frozen(left, np.int64)))
        start += left.size
    return renumbered, tuple(variables)


def _renumber(a: Affine, renumbered: FloatArray, width: int) -> Affine:
    from spucc.grammar.linear import Linear

    if a.linear.slots is not None:
        slots = tuple((renumbered[i], c) for i, c in a.linear.slots)
        return Affine(Linear(a.size, width, slots), a.offset, a.names)
    m = a.linear.csr()
    return Affine(
        Linear.of(sparse.csr_array((m.data, renumbered[m.indices], m.indptr), shape=(m.shape[0], width))),
        a.offset, a.names,
    )  # fmt: skip


def _final(effect, substitution, mapped, renumbered):  # type: ignore[no-untyped-def]
    """An effect in the final coordinates."""
    from spucc.grammar.poly import Term

    if isinstance(effect, AddedBlock):
        part = substitution.block(effect)
        if isinstance(part, AddedBlock):
            if renumbered is None:
                return [part]
            cols = None if part.cols is None else renumbered[part.cols]
            return [replace(part, rows=renumbered[part.rows], cols=cols)]
        effect = Added(part, effect.span, effect.psd)
    if renumbered is None:
        return [effect]
    moved: dict[int, Affine] = {}

    def once(a: Affine) -> Affine:
        if id(a) not in moved:
            moved[id(a)] = mapped(a)
        return moved[id(a)]

    terms = tuple(Term(tuple(once(f) for f in t.factors), t.weight, t.rows) for t in effect.poly.terms)
    return [Added(Poly(once(effect.poly.affine), terms), effect.span, effect.psd)]


def check_degrees(ctx: Context) -> None:
    """No product of more than four real factors."""
    real = {v.name for v in ctx.variables if v.domain is Domain.REAL}
    found = []
    for effect in ctx.effects:
        if not isinstance(effect, Added):
            continue
        for term in effect.poly.terms:
            degree = sum(1 for f in term.factors if f.names & real and not f.linear.is_zero)
            if degree > 4:
                names = frozenset(n for n in term.names if n in real)
                found.append(Diagnostic(
                    "E0404", f"this energy has degree {degree} in {quoted(names)}", effect.span,
                    help="the degree in the real variables may be at most 4",
                ))  # fmt: skip
                break
    if found:
        raise SpuccError(found)


def observations(
    ctx: Context, substitution: Substitution, constraints: list[Fixed], discrete: FloatArray
) -> dict[int, float]:
    """Single observed coordinates and their values; combinations become substitutions."""
    fixed: dict[int, tuple[float, Span]] = {}
    rest: list[Fixed] = []
    for c in constraints:
        a = c.poly.affine
        single = _single(a)
        if single is None or substitution.gone[single[0]].any():
            rest.append(c)
            continue
        index, values = single
        _fix(ctx, fixed, index, values, discrete, c.span)
    constrained(substitution, rest, discrete, fixed)
    return {k: v for k, (v, _) in fixed.items()}


def _single(a: Affine) -> tuple[FloatArray, FloatArray] | None:
    """Coordinates and values where every row reads exactly one coordinate."""
    from spucc.grammar.linear import spread

    slots = a.linear.slots
    if slots is not None and len(slots) == 1:
        index, c = slots[0]
        coefficient = spread(c, a.size)
    else:
        matrix = a.linear.csr()
        matrix.eliminate_zeros()
        if not (np.diff(matrix.indptr) == 1).all():
            return None
        index, coefficient = matrix.indices, matrix.data
    if not np.all(coefficient):
        return None
    return index, -spread(a.offset, a.size) / coefficient + 0.0


def _fix(
    ctx: Context, fixed: dict[int, tuple[float, Span]], index: FloatArray, values: FloatArray, discrete: FloatArray,
    span: Span,
) -> None:  # fmt: skip
    names = sorted(ctx.variables, key=lambda v: v.start)
    for k, value in zip(index.tolist(), values.tolist()):
        if k in fixed and fixed[k][0] != value:
            fail("E0415", f"{_label(names, k)} is observed twice, as {fixed[k][0]:g} and as {value:g}", span,
                 labels=(Label(fixed[k][1], "first observed here"),))
        fixed[k] = (value, span)
    if discrete[index].any():
        for k, value in zip(index.tolist(), values.tolist()):
            variable = _owner(names, k)
            allowed = {Domain.SPIN: (-1.0, 1.0), Domain.BIT: (0.0, 1.0)}.get(variable.domain)
            if allowed is not None and value not in allowed:
                fail("E0424", f"{_label(names, k)} is {variable.domain.value} and cannot be observed as {value:g}", span,
                     help=f"its values are {allowed[0]:g} and {allowed[1]:g}")


def _owner(variables, k):  # type: ignore[no-untyped-def]
    return next(v for v in variables if v.start <= k < v.start + _size(v.shape))


def _label(variables, k):  # type: ignore[no-untyped-def]
    v = _owner(variables, k)
    return "`" + Variable(v.name, v.shape, v.domain, v.start).label(k - v.start) + "`"


def _matrix_queries(ctx, accumulator, evidence, temperature, renumbered):  # type: ignore[no-untyped-def]
    """`inverse`, `solve`: a Gaussian of its own, with precision A at the program's temperature."""
    for asked in asked_of(ctx):
        if asked.hidden is None or asked.matrix is None:
            continue
        n = asked.matrix.shape[0]
        index = np.arange(asked.hidden, asked.hidden + n, dtype=np.int64)
        if renumbered is not None:
            index = renumbered[index]
        mask = np.zeros(accumulator.n, dtype=bool)
        mask[index] = True
        if isinstance(asked.matrix, SparseConst):
            coo = sparse.coo_array(asked.matrix.matrix)
            i, j = (index[np.asarray(c)] for c in coo.coords)
            accumulator.entries.append((i, j, coo.data * (0.5 * temperature)))
            evidence.note_part(mask, asked.certified, asked.certified)
        else:
            matrix = asked.matrix.array if temperature == 1.0 else asked.matrix.array * temperature
            accumulator.blocks.append(Block(frozen(index, np.int64), frozen(index, np.int64), frozen(matrix)))
            evidence.note_part(mask, asked.certified, asked.certified)
        if asked.rhs is not None:
            accumulator.linear[index] -= temperature * asked.rhs


def _check_finite(linear: FloatArray, quadratic: Quadratic, higher: tuple[Monomials, ...], constant: float) -> None:
    arrays = [linear, quadratic.sparse.data, np.asarray(constant), *(m.coefficient for m in higher)]
    if not all(np.isfinite(a).all() for a in arrays):
        fail("E0421", "the energy is not finite: a coefficient overflowed",
             help="scale the model: variables near 1 and scales that are not extreme")


def _implicit(ctx: Context, mapped, width: int, seen: FloatArray) -> tuple[Query, ...]:  # type: ignore[no-untyped-def]
    """A program with no query asks for draws of every variable that is not observed."""
    queries = []
    for d in ctx.declared:
        if d.kind != "var" or _size(d.shape) == 0:
            continue
        value = d.value
        form = form_of(mapped(value.poly.affine), d.shape, width)  # type: ignore[union-attr]
        if form.matrix.nnz and seen[form.matrix.indices].all():
            continue
        queries.append(Query(d.name, QueryKind.SAMPLE, form, span=d.span, implicit=True))
    return tuple(queries)


def _check_queries(energy: Energy) -> None:
    for q in energy.queries:
        if q.kind is QueryKind.LOGZ and not energy.is_gaussian:
            fail("E0420", "`logz` is for Gaussian programs; this one has spins, bits or terms above degree 2", q.span)


__all__ = ["energy_of", "plain"]
