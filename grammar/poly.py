"""`Poly`: the algebra over random variables. Many polynomials at once, one an entry.

    entry e  =  affine[e]  +  Σ_terms Σ_{k: rows[k] = e} weight[k] · Π_f factor_f[k]

Factors are affine forms. Nothing is multiplied out here: that is `assemble`'s business, once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import fail
from spucc.grammar.linear import Coefficient, Linear, picked, ranges, spread, stacked

# Products that a single expression may expand to.
LARGEST_EXPANSION = 10_000_000
# A product of more factors than this is refused whatever its variables.
MOST_FACTORS = 16


@dataclass(frozen=True, eq=False, slots=True)
class Affine:
    """`linear @ x + offset`, one form a row. `names` are the variables it may read."""

    linear: Linear
    offset: Coefficient
    names: frozenset[str]

    @property
    def size(self) -> int:
        return self.linear.size

    def take(self, rows: IntArray) -> Affine:
        return Affine(self.linear.take(rows), picked(self.offset, rows), self.names)

    def scaled(self, c: Coefficient) -> Affine:
        return Affine(self.linear.scaled(c), self.offset * c, self.names)

    def plus(self, other: Affine) -> Affine:
        return Affine(self.linear.plus(other.linear), self.offset + other.offset, self.names | other.names)

    def gathered(self, rows: IntArray, size: int) -> Affine:
        offset: Coefficient
        if isinstance(self.offset, float):
            zero = self.offset == 0.0
            offset = 0.0 if zero else np.asarray(np.bincount(rows, minlength=size) * self.offset, np.float64)
        else:
            offset = np.asarray(np.bincount(rows, weights=self.offset, minlength=size), np.float64)
        return Affine(self.linear.gathered(rows, size), offset, self.names)

    def multiplied(self, left: Any) -> Affine:
        zero = isinstance(self.offset, float) and self.offset == 0.0
        offset: Coefficient = 0.0 if zero else np.asarray(left @ spread(self.offset, self.size))
        return Affine(self.linear.multiplied(left), offset, self.names)


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """`weight[k] · Π factor[k]`, added to entry `rows[k]` (to entry k where rows is None)."""

    factors: tuple[Affine, ...]
    weight: Coefficient
    rows: IntArray | None = None

    @property
    def size(self) -> int:
        return self.factors[0].size

    @property
    def names(self) -> frozenset[str]:
        return frozenset[str]().union(*(f.names for f in self.factors))

    def scaled(self, c: Coefficient) -> Term:
        if not isinstance(c, float) and self.rows is not None:
            c = c[self.rows]
        return Term(self.factors, self.weight * c, self.rows)

    def picked(self, at: IntArray, rows: IntArray | None) -> Term:
        """The products `at`, added to new rows; equal factors stay one object."""
        moved = {id(f): f.take(at) for f in self.factors}
        return Term(tuple(moved[id(f)] for f in self.factors), picked(self.weight, at), rows)

    def take(self, chosen: IntArray, size: int) -> Term:
        """The part of entries `chosen` (of `size`), which become entries 0, 1, …"""
        if self.rows is None:
            return self.picked(chosen, None)
        order = np.argsort(self.rows, kind="stable")
        counts = np.bincount(self.rows, minlength=size)
        starts = np.cumsum(counts) - counts
        check_expansion(int(counts[chosen].sum()))
        at = order[ranges(starts[chosen], counts[chosen])]
        return self.picked(at, np.repeat(np.arange(chosen.size), counts[chosen]))

    def gathered(self, rows: IntArray) -> Term:
        return Term(self.factors, self.weight, rows if self.rows is None else rows[self.rows])

    def times(self, other: Affine) -> Term:
        factor = other if self.rows is None else other.take(self.rows)
        return Term((*self.factors, factor), self.weight, self.rows)

    def times_term(self, other: Term, size: int) -> Term:
        """The product of two terms, entry by entry."""
        if self is other and self.rows is None:
            return Term(self.factors * 2, self.weight * self.weight)
        if self.rows is None and other.rows is None:
            return Term(self.factors + other.factors, self.weight * other.weight)
        if other.rows is None:
            return other.times_term(self, size)
        if self.rows is None:
            mine = self.picked(other.rows, other.rows)
            return Term(mine.factors + other.factors, mine.weight * other.weight, other.rows)
        counts = np.bincount(other.rows, minlength=size)[self.rows]
        check_expansion(int(counts.sum()))
        mine = self.picked(np.repeat(np.arange(self.size), counts), np.repeat(self.rows, counts))
        theirs = other.take(self.rows, size)
        return Term(mine.factors + theirs.factors, mine.weight * theirs.weight, mine.rows)


def check_expansion(count: int) -> None:
    if count > LARGEST_EXPANSION:
        fail(
            "E0217",
            f"this expression stands for {count:,} products of variables",
            help=f"at most {LARGEST_EXPANSION:,}; is a sum squared that could be a square summed?",
        )


@dataclass(frozen=True, eq=False, slots=True)
class Poly:
    """See the module's docstring."""

    affine: Affine
    terms: tuple[Term, ...] = ()

    @property
    def size(self) -> int:
        return self.affine.size

    @property
    def names(self) -> frozenset[str]:
        return self.affine.names.union(*(t.names for t in self.terms))

    @property
    def is_linear(self) -> bool:
        return not self.terms

    @property
    def is_constant(self) -> bool:
        return not self.terms and self.affine.linear.is_zero

    @staticmethod
    def constant(values: FloatArray | float, size: int) -> Poly:
        return Poly(Affine(Linear.zero(size), values, frozenset()))

    @staticmethod
    def variable(name: str, start: int, size: int) -> Poly:
        index = np.arange(start, start + size, dtype=np.int64)
        return Poly(Affine(Linear.coordinates(index, start + size), 0.0, frozenset([name])))

    def take(self, rows: IntArray) -> Poly:
        return Poly(self.affine.take(rows), tuple(t.take(rows, self.size) for t in self.terms))

    def scaled(self, c: Coefficient) -> Poly:
        return Poly(self.affine.scaled(c), tuple(t.scaled(c) for t in self.terms))

    def plus(self, other: Poly) -> Poly:
        return Poly(self.affine.plus(other.affine), self.terms + other.terms)

    def times(self, other: Poly) -> Poly:
        if other.is_constant:
            return self.scaled(other.affine.offset)
        if self.is_constant:
            return other.scaled(self.affine.offset)
        terms: list[Term] = []
        mine, theirs = not nothing(self.affine), not nothing(other.affine)
        if mine and theirs:
            terms.append(Term((self.affine, other.affine), 1.0))
        if theirs:
            terms += [t.times(other.affine) for t in self.terms]
        if mine:
            terms += [t.times(self.affine) for t in other.terms]
        terms += [a.times_term(b, self.size) for a in self.terms for b in other.terms]
        if any(len(t.factors) > MOST_FACTORS for t in terms):
            fail("E0404", f"a product of more than {MOST_FACTORS} random factors")
        return Poly(Affine(Linear.zero(self.size), 0.0, frozenset()), tuple(terms))

    def gathered(self, rows: IntArray, size: int) -> Poly:
        """Entry r of the result is the sum of the entries e with `rows[e] == r`."""
        return Poly(self.affine.gathered(rows, size), tuple(t.gathered(rows) for t in self.terms))

    def multiplied(self, left: Any) -> Poly:
        """`left @ self` for a constant matrix, dense or sparse."""
        affine = self.affine.multiplied(left)
        if not self.terms:
            return Poly(affine)
        matrix = sparse.coo_array(left)
        rows, columns = matrix.coords
        terms = []
        for t in self.terms:
            t = t.take(np.asarray(columns, np.int64), self.size).scaled(np.asarray(matrix.data, np.float64))
            terms.append(t.gathered(np.asarray(rows, np.int64)))
        return Poly(affine, tuple(terms))


def nothing(a: Affine) -> bool:
    """Whether an affine form is identically zero."""
    return a.linear.is_zero and not np.any(a.offset)


def joined(parts: Sequence[Poly]) -> Poly:
    """The entries of all parts one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = frozenset[str]().union(*(p.affine.names for p in parts))
    offset: Coefficient = 0.0
    if any(not isinstance(p.affine.offset, float) or p.affine.offset != 0.0 for p in parts):
        offset = np.concatenate([spread(p.affine.offset, p.size) for p in parts])
    affine = Affine(stacked([p.affine.linear for p in parts]), offset, names)
    terms: list[Term] = []
    start = 0
    for p in parts:
        for t in p.terms:
            rows = np.arange(t.size, dtype=np.int64) if t.rows is None else t.rows
            terms.append(Term(t.factors, t.weight, rows + start))
        start += p.size
    return Poly(affine, tuple(terms))
