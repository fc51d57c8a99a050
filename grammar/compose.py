"""A whole program to its `Energy`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen
from spucc.diagnostics import Diagnostic, SpuccError, fail
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
from spucc.grammar.assemble import Accumulator, touched
from spucc.grammar.broadcasting import quoted
from spucc.grammar.context import Added, AddedBlock, Carried, Context, Fixed
from spucc.grammar.evaluate import located
from spucc.grammar.evidence import Evidence
from spucc.grammar.linear import Linear
from spucc.grammar.observations import observations
from spucc.grammar.poly import Affine, Poly, Term
from spucc.grammar.propriety import settle
from spucc.grammar.queries import asked_of, finished, form_of
from spucc.grammar.substitute import Substitution, carried
from spucc.grammar.values import Random, SparseConst, number_of


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
        fail(
            "E0425",
            "the program declares no random variable and asks nothing",
            help="declare one with `var x: real`, or ask `query u = solve(A, b)`",
        )
    check_degrees(ctx)
    effects = gathered(ctx)
    substitution = Substitution(ctx.width)
    carried(substitution, effects.carried)
    discrete = np.zeros(ctx.width, dtype=bool)
    for v in ctx.variables:
        discrete[v.start : v.start + number_of(v.shape)] = v.domain is not Domain.REAL
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
        part = _final(effect, substitution, mapped, renumbered)
        at = touched(part, width)
        try:
            accumulator.add(part)
        except SpuccError as error:
            raise located(error, part.span) from None
        evidence.note(part, at)
        origins.append(Origin(part.span, frozen(at, np.int64)))
    temperature = ctx.temperature[0] if ctx.temperature else 1.0
    _matrix_queries(ctx, accumulator, evidence, temperature, renumbered)
    higher = accumulator.higher()
    quadratic = accumulator.quadratic()
    _check_finite(accumulator.linear, quadratic, higher, accumulator.constant)
    at, values = observed
    if renumbered is not None:
        order = np.argsort(renumbered[at])
        at, values = frozen(renumbered[at][order], np.int64), frozen(values[order])
    seen = np.zeros(width, dtype=bool)
    seen[at] = True
    queries = tuple(finished(q, width, mapped) for q in asked_of(ctx)) or _implicit(ctx, mapped, width, seen)
    energy = Energy(
        variables=variables,
        linear=frozen(accumulator.linear),
        quadratic=quadratic,
        constant=accumulator.constant,
        higher=higher,
        temperature=temperature,
        observed=Observed(at, values),
        queries=queries,
        origins=tuple(origins),
    )
    _check_queries(energy)
    return settle(energy, evidence)


def _variables(ctx: Context) -> tuple[Variable, ...]:
    return tuple(
        Variable(v.name, v.shape, v.domain, v.start, v.span, ctx.stands_for.get(v.name, ""))
        for v in ctx.variables
    )


def _without(ctx: Context, substitution: Substitution) -> tuple[IntArray, tuple[Variable, ...]]:
    """Variables without the carried coordinates, and each old coordinate's new number."""
    renumbered: IntArray = np.cumsum(~substitution.gone) - 1
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


def _renumber(a: Affine, renumbered: IntArray, width: int) -> Affine:
    if a.linear.slots is not None:
        slots = tuple((renumbered[i], c) for i, c in a.linear.slots)
        return Affine(Linear(a.size, width, slots), a.offset, a.names)
    m = a.linear.csr()
    return Affine(
        Linear.of(sparse.csr_array((m.data, renumbered[m.indices], m.indptr), shape=(m.shape[0], width))),
        a.offset,
        a.names,
    )


def _final(
    effect: Added | AddedBlock,
    substitution: Substitution,
    mapped: Callable[[Affine], Affine],
    renumbered: IntArray | None,
) -> Added | AddedBlock:
    """An effect in the final coordinates."""
    if isinstance(effect, AddedBlock):
        part = substitution.block(effect)
        if isinstance(part, AddedBlock):
            if renumbered is None:
                return part
            cols = None if part.cols is None else renumbered[part.cols]
            return replace(part, rows=renumbered[part.rows], cols=cols)
        effect = Added(part, effect.span, effect.psd)
    if renumbered is None:
        return effect
    moved: dict[int, Affine] = {}

    def once(a: Affine) -> Affine:
        if id(a) not in moved:
            moved[id(a)] = mapped(a)
        return moved[id(a)]

    terms = tuple(Term(tuple(once(f) for f in t.factors), t.weight, t.rows) for t in effect.poly.terms)
    return Added(Poly(once(effect.poly.affine), terms), effect.span, effect.psd)


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
                found.append(
                    Diagnostic(
                        "E0404",
                        f"this energy has degree {degree} in {quoted(names)}",
                        effect.span,
                        help="the degree in the real variables may be at most 4",
                    )
                )
                break
    if found:
        raise SpuccError(found)


def _matrix_queries(
    ctx: Context,
    accumulator: Accumulator,
    evidence: Evidence,
    temperature: float,
    renumbered: IntArray | None,
) -> None:
    """`inverse`, `solve`: a Gaussian of its own, with precision A at the program's temperature."""
    for asked in asked_of(ctx):
        if asked.hidden is None or asked.matrix is None:
            continue
        n = asked.matrix.shape[0]
        index = np.arange(asked.hidden, asked.hidden + n, dtype=np.int64)
        if renumbered is not None:
            index = renumbered[index]
        if isinstance(asked.matrix, SparseConst):
            coo = sparse.coo_array(asked.matrix.matrix)
            i, j = (index[np.asarray(c)] for c in coo.coords)
            accumulator.entries.append((i, j, coo.data * (0.5 * temperature)))
            evidence.note_part(index, asked.certified, asked.certified)
        else:
            matrix = asked.matrix.array if temperature == 1.0 else asked.matrix.array * temperature
            accumulator.blocks.append(Block(frozen(index, np.int64), frozen(index, np.int64), frozen(matrix)))
            evidence.note_part(index, asked.certified, asked.certified)
        if asked.rhs is not None:
            accumulator.linear[index] -= temperature * asked.rhs


def _check_finite(
    linear: FloatArray, quadratic: Quadratic, higher: tuple[Monomials, ...], constant: float
) -> None:
    arrays = [linear, quadratic.sparse.data, np.asarray(constant), *(m.coefficient for m in higher)]
    arrays += [block.matrix for block in quadratic.blocks]
    if not all(np.isfinite(a).all() for a in arrays):
        fail(
            "E0421",
            "the energy is not finite: a coefficient overflowed",
            help="scale the model: variables near 1 and scales that are not extreme",
        )


def _implicit(
    ctx: Context, mapped: Callable[[Affine], Affine], width: int, seen: BoolArray
) -> tuple[Query, ...]:
    """A program with no query asks for draws of every variable that is not observed."""
    queries = []
    for d in ctx.declared:
        if d.kind != "var" or number_of(d.shape) == 0:
            continue
        value = d.value
        assert isinstance(value, Random)
        form = form_of(mapped(value.poly.affine), d.shape, width)
        if form.matrix.nnz and seen[form.matrix.indices].all():
            continue
        queries.append(Query(d.name, QueryKind.SAMPLE, form, span=d.span, implicit=True))
    return tuple(queries)


def _check_queries(energy: Energy) -> None:
    for q in energy.queries:
        if not all(np.isfinite(f.matrix.data).all() and np.isfinite(f.offset).all() for f in q.forms()):
            fail("E0421", f"the query `{q.name}` asks for something that is not finite", q.span)
        if q.kind is QueryKind.LOGZ and not energy.is_gaussian and energy.domains[0].size:
            fail(
                "E0420",
                "`logz` is for Gaussian programs and for programs of spins and bits alone; this one has "
                + (
                    "real variables too"
                    if any(d.size for d in energy.domains[1:])
                    else "real variables with terms above degree 2"
                ),
                q.span,
            )
