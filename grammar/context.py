"""What elaboration knows and gathers: names in scope, the loop it is in, the effects that statements had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import Diagnostic, Label, Span, SpuccError, did_you_mean, fail
from spucc.energy import Domain
from spucc.grammar import tree
from spucc.grammar.memory import COORDINATE, MOST_NUMBERS, Memory, arrays_of, arrays_of_poly, held
from spucc.grammar.poly import Poly
from spucc.grammar.values import Batch, Const, Poison, PoisonedError, Value, lift, number_of

# Expressions evaluated, a statement counting as ten: some seconds.
MOST_STEPS = 450_000
# Numbers that take as long as a step.
A_STEP = 5_000
# Multiplications of matrix algebra that do.
A_STEP_OF_ALGEBRA = 450_000


@dataclass(frozen=True, eq=False, slots=True)
class Declared:
    """A name of the program: what an editor shows when the pointer rests on it."""

    name: str
    kind: str
    type: str
    shape: tuple[int, ...]
    span: Span
    value: Value


class Scope:
    """Names to values; a block sees the names of the blocks around it."""

    __slots__ = ("names", "parent")

    def __init__(self, parent: Scope | None = None) -> None:
        self.parent = parent
        self.names: dict[str, tuple[Value, Span]] = {}

    def find(self, name: str) -> tuple[Value, Span] | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def known(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.parent


@dataclass(frozen=True, eq=False, slots=True)
class VariableInfo:
    name: str
    shape: tuple[int, ...]
    domain: Domain
    start: int
    span: Span


@dataclass(frozen=True, eq=False, slots=True)
class Added:
    """A contribution to the energy: the sum of all entries of `poly`. `psd` says that its quadratic part is
    positive semidefinite by construction; `certified` that it is positive definite on the coordinates it
    reads."""

    poly: Poly
    span: Span
    psd: bool = False
    certified: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class AddedBlock:
    """A contribution ½ xᵀMx − potential·x over a dense block; `cols` None: a symmetric block at (rows, rows),
    else the term xᵀ_rows M x_cols without the ½."""

    rows: IntArray
    cols: IntArray | None
    matrix: FloatArray
    span: Span
    psd: bool = False
    certified: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Carried:
    """A variable with a singular law: its entries `index` are `mean + factor @ z`, z fresh standard normals
    that start at coordinate `z`."""

    index: IntArray
    mean: Poly
    factor: FloatArray
    z: int
    name: str
    span: Span


@dataclass(frozen=True, eq=False, slots=True)
class Fixed:
    """`observe`: every entry of the linear `poly` is zero."""

    poly: Poly
    span: Span


Effect = Added | AddedBlock | Carried | Fixed


def arrays_of_effect(effect: Effect) -> Iterator[np.ndarray[Any, Any]]:
    match effect:
        case Added() | Fixed():
            yield from arrays_of_poly(effect.poly)
        case AddedBlock():
            yield effect.matrix
        case Carried():
            yield effect.factor


@dataclass(eq=False)
class Context:
    """The state of one elaboration."""

    folder: Path | None
    allow_paths: tuple[Path, ...] = ()
    scope: Scope = field(default_factory=Scope)
    batch: Batch | None = None
    variables: list[VariableInfo] = field(default_factory=list)
    domains: dict[str, Domain] = field(default_factory=dict)
    width: int = 0
    effects: list[Effect] = field(default_factory=list)
    queries: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, tree.Function] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    calls: int = 0
    temperature: tuple[float, Span] | None = None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    declared: list[Declared] = field(default_factory=list)
    turns: int = 0
    steps: int = 0
    halted: bool = False
    files: dict[tuple[str, ...], Value] = field(default_factory=dict)
    files_read: dict[str, str] = field(default_factory=dict)
    stands_for: dict[str, str] = field(default_factory=dict)
    bound: Any = None
    sources: dict[str, str] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    importing: list[Path] = field(default_factory=list)
    imported: set[Path] = field(default_factory=set)

    def step(self, node: tree.Node, count: int = 1) -> None:
        """Count the work of elaboration, so that a program cannot keep the compiler busy for minutes."""
        if self.halted:
            raise PoisonedError
        self.steps += count
        most = MOST_STEPS * self.memory.allowed // MOST_NUMBERS  # more for data that are given
        if self.steps > most:
            self.halted = True
            fail(
                "E0228",
                f"this program takes more than {most:,} steps of elaboration; the rest is not looked at",
                node.span,
                help="write what repeats with arrays, or with a `for` whose body has one shape in all turns",
            )

    def multiply(self, node: tree.Node, *sizes: int) -> None:
        """Count the work of a product or factorisation of dense matrices."""
        self.step(node, prod(sizes) // A_STEP_OF_ALGEBRA)

    def weigh(self, node: tree.Node, value: Value) -> None:
        """Count what an expression is worth, as memory and as work."""
        made = self.memory.make(value)
        if made:
            self.step(node, made // A_STEP)
            self.check_memory(node)

    def keep_effects(self, node: tree.Node, begin: int) -> None:
        """Count what a statement has added to the energy from effect number `begin` on."""
        for effect in self.effects[begin:]:
            self.memory.add(held(arrays_of_effect(effect)))
        self.check_memory(node)

    def check_memory(self, node: tree.Node) -> None:
        try:
            self.memory.check(node.span)
        except SpuccError:
            self.halted = True
            raise

    def lookup(self, node: tree.Name) -> Value:
        """The value of a name, as seen from inside the current loop."""
        found = self.scope.find(node.id)
        if found is None:
            constant = BUILTIN_CONSTANTS.get(node.id)
            if constant is not None:
                return Const(np.asarray(constant))
            if node.id in self.functions:
                fail("E0206", f"`{node.id}` is a function: call it, `{node.id}(…)`", node.span)
            fail(
                "E0201",
                f"unknown name `{node.id}`",
                node.span,
                help=did_you_mean(node.id, self.scope.known()),
            )
        value = found[0]
        if isinstance(value, Poison):
            raise PoisonedError
        return lift(value, self.batch)

    def declare(self, name: tree.Name, value: Value) -> None:
        """Give a name its value; a second declaration in the same block, or of an outer name, is an error."""
        previous = self.scope.find(name.id)
        if previous is not None:
            fail(
                "E0202",
                f"`{name.id}` is declared twice",
                name.span,
                labels=(Label(previous[1], "first declared here"),),
                help="a name is declared once; choose another",
            )
        self.scope.names[name.id] = (value, name.span)
        self.memory.names += held(arrays_of(value))

    def domain_of(self, name: str) -> Domain:
        return self.domains[name]

    def add_variable(self, name: str, shape: tuple[int, ...], domain: Domain, span: Span) -> VariableInfo:
        size = number_of(shape)
        info = VariableInfo(name, shape, domain, self.width, span)
        self.variables.append(info)
        self.domains[name] = domain
        self.width += size
        self.memory.names += COORDINATE * size
        return info

    @contextmanager
    def inside(self, batch: Batch | None, scope: Scope | None = None) -> Iterator[None]:
        """Evaluate in a loop and a block of its own."""
        before = (self.batch, self.scope, self.memory.names)
        self.batch = batch
        self.scope = Scope(self.scope) if scope is None else scope
        try:
            yield
        finally:
            self.batch, self.scope, self.memory.names = before


BUILTIN_CONSTANTS = {"inf": float("inf"), "pi": 3.141592653589793}


T = TypeVar("T")


class Collector:
    """Runs several steps and raises all their errors together."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self.poisoned = False

    def attempt(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """The result of one step, or None where it failed."""
        try:
            return work(*arguments)
        except SpuccError as error:
            self.found += error.diagnostics
        except PoisonedError:
            self.poisoned = True
        return None

    def done(self) -> None:
        if self.found:
            raise SpuccError(self.found)
        if self.poisoned:
            raise PoisonedError
