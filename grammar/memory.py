"""How much an elaboration holds, counted in numbers of eight bytes, so that a program is refused alike on every machine.

Names hold their values, statements what they add to the energy, and a statement at work whatever its expressions are worth.
Arrays that share their memory, and those that took the place of one that is gone, count once in a statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from spucc.diagnostics import Span, fail
from spucc.grammar.linear import Linear
from spucc.grammar.poly import Affine, Poly
from spucc.grammar.values import Const, Edges, Graph, Group, Random, SparseConst, Value, allow

# With the arrays inside one operation, and those of the sum of all energies, this stays below a gigabyte.
MOST_NUMBERS = 70_000_000
# What a number of a statement's energy, and a random coordinate, take when all energies are added up.
ADDED_UP = 2
COORDINATE = 12
# A number that a user gives may be worked on in so many arrays.
GIVEN = 8
# Smaller values of expressions are not looked at.
SMALL = 1_000
# Terms of a polynomial that are looked at; the others are taken to be like them.
LOOKED_AT = 64


class Memory:
    """What one elaboration holds: `names`, `effects`, and `made` by the statement at hand."""

    def __init__(self) -> None:
        self.names = 0
        self.effects = 0
        self.allowed = MOST_NUMBERS
        self._made: dict[tuple[int, int], int] = {}
        self._total = 0

    def given(self, numbers: int) -> None:
        """So many numbers came from outside: they are held, and may be worked on."""
        self.allowed += GIVEN * numbers
        allow(numbers)

    def add(self, numbers: int) -> None:
        """A contribution to the energy."""
        self.effects += ADDED_UP * numbers

    def begin(self) -> tuple[dict[tuple[int, int], int], int]:
        """A statement begins; what the one around it has made is handed out, to be given back to `end`."""
        before = (self._made, self._total)
        self._made, self._total = {}, 0
        return before

    def end(self, before: tuple[dict[tuple[int, int], int], int]) -> None:
        self._made, self._total = before

    def make(self, value: Value) -> int:
        """An expression is worth `value`: the numbers that this adds."""
        if isinstance(value, Const) and value.array.size < SMALL:
            return 0
        before = self._total
        for owner in owners(arrays_of(value)):
            key = (id(owner), owner.nbytes)
            if key not in self._made:
                self._made[key] = owner.nbytes
                self._total += owner.nbytes // 8
        return self._total - before

    def check(self, span: Span) -> None:
        """Raises E0217 once more is held than is allowed."""
        if self.names + self.effects + self._total > self.allowed:
            fail(
                "E0217",
                f"up to here this program holds more than {self.allowed:,} numbers at once; the rest is not looked at",
                span,
                help="numbers that come from data files are allowed for; what is computed may be split into several programs",
            )


def held(arrays: Iterable[np.ndarray[Any, Any]]) -> int:
    """The numbers that some arrays hold, those that share memory once."""
    return sum({id(o): o.nbytes for o in owners(arrays)}.values()) // 8


def owners(arrays: Iterable[np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays that hold the memory of some."""
    for array in arrays:
        yield array.base if isinstance(array.base, np.ndarray) else array


def arrays_of(value: Value) -> Iterator[np.ndarray[Any, Any]]:
    match value:
        case Const():
            yield value.array
        case SparseConst():
            yield from (value.matrix.data, value.matrix.indices, value.matrix.indptr)
        case Graph():
            yield from (value.i, value.j, value.w)
        case Edges():
            yield from arrays_of(value.graph)
        case Group():
            for item in value.items:
                yield from arrays_of(item)
        case Random():
            yield from arrays_of_poly(value.poly)


def arrays_of_poly(poly: Poly) -> Iterator[np.ndarray[Any, Any]]:
    yield from _affine(poly.affine)
    for term in poly.terms[:: max(1, len(poly.terms) // LOOKED_AT)]:
        yield from (a for a in (term.weight, term.rows) if isinstance(a, np.ndarray))
        for factor in term.factors:
            yield from _affine(factor)


def _affine(form: Affine) -> Iterator[np.ndarray[Any, Any]]:
    if isinstance(form.offset, np.ndarray):
        yield form.offset
    yield from _linear(form.linear)


def _linear(linear: Linear) -> Iterator[np.ndarray[Any, Any]]:
    if linear.matrix is not None:
        yield from (linear.matrix.data, linear.matrix.indices, linear.matrix.indptr)
    for slot in linear.slots or ():
        yield from (a for a in slot if isinstance(a, np.ndarray))
