"""A naive interpreter of `.spu` programs, for tests: entry by entry, loops as loops, polynomials as dictionaries.

It shares nothing with the elaborator but the syntax tree. Arrays are NumPy arrays of Python objects, so that NumPy's own
rules say what indexing and broadcasting mean. Spins and bits keep their powers until the end.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from spucc.grammar import tree


class P:
    """A polynomial: sorted tuples of coordinates to coefficients."""

    def __init__(self, terms: dict[tuple[int, ...], float]) -> None:
        self.terms = terms

    @staticmethod
    def of(value: Any) -> P:
        return value if isinstance(value, P) else P({(): float(value)})

    def __add__(self, other: Any) -> P:
        out = dict(self.terms)
        for key, c in P.of(other).terms.items():
            out[key] = out.get(key, 0.0) + c
        return P(out)

    __radd__ = __add__

    def __mul__(self, other: Any) -> P:
        out: dict[tuple[int, ...], float] = {}
        for a, c in self.terms.items():
            for b, d in P.of(other).terms.items():
                key = tuple(sorted(a + b))
                out[key] = out.get(key, 0.0) + c * d
        return P(out)

    __rmul__ = __mul__

    def __neg__(self) -> P:
        return self * -1.0

    def __sub__(self, other: Any) -> P:
        return self + P.of(other) * -1.0

    def __rsub__(self, other: Any) -> P:
        return P.of(other) + self * -1.0

    def __truediv__(self, other: float) -> P:
        return self * (1.0 / float(other))

    def __pow__(self, n: int) -> P:
        out = P({(): 1.0})
        for _ in range(int(n)):
            out = out * self
        return out


class Naive:
    """Run a program; `energy` is a `P`."""

    def __init__(self) -> None:
        self.energy = P({})
        self.names: dict[str, Any] = {}
        self.functions: dict[str, tree.Function] = {}
        self.width = 0
        self.domains: list[str] = []

    # --- statements ---

    def run(self, statements: tuple[tree.Statement, ...]) -> None:
        for s in statements:
            getattr(self, "do_" + type(s).__name__.lower())(s)

    def do_let(self, s: tree.Let) -> None:
        self.names[s.name.id] = self.value(s.value)

    def do_var(self, s: tree.Var) -> None:
        shape = tuple(int(self.value(d)) for d in s.type.shape)
        size = math.prod(shape)
        x = np.empty(shape, dtype=object)
        for k, at in enumerate(np.ndindex(*shape)):
            x[at] = P({(self.width + k,): 1.0})
        self.width += size
        self.domains += [s.type.name] * size
        self.names[s.name.id] = x
        if s.distribution is not None:
            self.tilde(x, s.distribution)

    def do_function(self, s: tree.Function) -> None:
        self.functions[s.name.id] = s

    def do_query(self, s: tree.Query) -> None:
        pass

    def do_energyterm(self, s: tree.EnergyTerm) -> None:
        self.add(self.value(s.value))

    def do_tilde(self, s: tree.Tilde) -> None:
        self.tilde(self.value(s.left), s.distribution)

    def do_for(self, s: tree.For) -> None:
        for row in self.rows(s.iterable, len(s.targets)):
            before = dict(self.names)
            self.names.update(zip([t.id for t in s.targets], row))
            self.run(s.body)
            self.names = before

    def do_if(self, s: tree.If) -> None:
        before = dict(self.names)
        self.run(s.then if self.value(s.condition) else s.otherwise)
        self.names = before

    def add(self, value: Any) -> None:
        for entry in np.asarray(value, dtype=object).ravel():
            self.energy = self.energy + entry

    def tilde(self, left: Any, call: tree.Call) -> None:
        args = [self.value(a) for a in call.args]
        left = np.asarray(left, dtype=object)
        if call.function.id == "normal":
            mu, sigma = (np.broadcast_to(np.asarray(a, dtype=object), left.shape) for a in args)
            for at in np.ndindex(*left.shape):
                if not math.isinf(float(sigma[at])):
                    self.add((P.of(left[at]) - mu[at]) ** 2 * (0.5 / float(sigma[at]) ** 2))
        elif call.function.id in ("rw1", "rw2"):
            d = left[1:] - left[:-1]
            d = d if call.function.id == "rw1" else d[1:] - d[:-1]
            for entry in d:
                self.add(entry**2 * (0.5 / float(args[0]) ** 2))
        elif call.function.id in ("multi_normal_prec", "gmrf"):
            r = left - args[0] if call.function.id == "multi_normal_prec" else left
            m = args[-1]
            for i, j in itertools.product(range(len(r)), repeat=2):
                self.add(P.of(r[i]) * r[j] * (0.5 * float(m[i][j])))
        elif call.function.id in ("ising", "boltzmann"):
            for i, j in itertools.product(range(len(left)), repeat=2):
                self.add(P.of(left[i]) * left[j] * (-0.5 * float(args[0][i][j])))
            for x, h in zip(left, np.broadcast_to(args[1], left.shape)):
                self.add(P.of(x) * -float(h))
        elif call.function.id == "double_well":
            j2, j4 = (np.broadcast_to(a, left.shape) for a in args)
            for at in np.ndindex(*left.shape):
                self.add(P.of(left[at]) ** 2 * float(j2[at]) + P.of(left[at]) ** 4 * float(j4[at]))
        else:
            raise NotImplementedError(call.function.id)

    # --- expressions ---

    def rows(self, iterable: tree.Expr, wanted: int) -> list[tuple[Any, ...]]:
        if isinstance(iterable, tree.Call) and iterable.function.id == "range":
            return [(i,) for i in range(*(int(self.value(a)) for a in iterable.args))]
        values = self.value(iterable)
        return [tuple(row) if wanted > 1 else (row,) for row in values]

    def value(self, e: tree.Expr) -> Any:
        return getattr(self, "on_" + type(e).__name__.lower())(e)

    def on_number(self, e: tree.Number) -> Any:
        return e.value

    def on_boolean(self, e: tree.Boolean) -> Any:
        return e.value

    def on_name(self, e: tree.Name) -> Any:
        return math.inf if e.id == "inf" and "inf" not in self.names else self.names[e.id]

    def on_array(self, e: tree.Array) -> Any:
        values = [self.value(i) for i in e.items]
        kinds = all(not isinstance(v, P) and np.asarray(v).dtype != object for v in values)
        if kinds:
            return np.array(values)
        first = np.asarray(values[0], dtype=object)
        out = np.empty((len(values), *first.shape), dtype=object)
        for k, v in enumerate(values):
            out[k] = v
        return out

    def on_unary(self, e: tree.Unary) -> Any:
        v = self.value(e.operand)
        return (not v) if e.op == "not" else (v * -1 if e.op == "-" else v)

    def on_binary(self, e: tree.Binary) -> Any:
        if e.op == "and":
            return self.value(e.left) and self.value(e.right)
        if e.op == "or":
            return self.value(e.left) or self.value(e.right)
        a, b = self.value(e.left), self.value(e.right)
        if e.op == "@":
            return np.dot(np.asarray(a, dtype=object), np.asarray(b, dtype=object))
        import operator as o

        return {
            "+": o.add, "-": o.sub, "*": o.mul, "/": o.truediv, "**": o.pow, "<": o.lt, "<=": o.le, ">": o.gt,
            ">=": o.ge, "==": o.eq, "!=": o.ne,
        }[e.op](a, b)  # fmt: skip

    def on_ifelse(self, e: tree.IfElse) -> Any:
        return self.value(e.then if self.value(e.condition) else e.otherwise)

    def on_comprehension(self, e: tree.Comprehension) -> Any:
        total: Any = 0
        for row in self.rows(e.iterable, len(e.targets)):
            before = dict(self.names)
            self.names.update(zip(e.targets, row))
            if e.condition is None or self.value(e.condition):
                total = self.value(e.body) + total
            self.names = before
        return total

    def on_index(self, e: tree.Index) -> Any:
        def item(i: Any) -> Any:
            if isinstance(i, tree.Slice):
                return slice(*(None if s is None else int(self.value(s)) for s in (i.start, i.stop, i.step)))
            return None if isinstance(i, tree.NoneLiteral) else self.value(i)

        return self.value(e.value)[tuple(item(i) for i in e.items)]

    def on_attribute(self, e: tree.Attribute) -> Any:
        return self.value(e.value).T

    def on_call(self, e: tree.Call) -> Any:
        name = e.function.id
        args = [self.value(a) for a in e.args]
        axis = {k.name: int(self.value(k.value)) for k in e.keywords}
        if name in self.functions:
            f = self.functions[name]
            before = dict(self.names)
            self.names.update(zip([p.id for p in f.params], args))
            result = self.value(f.body)
            self.names = before
            return result
        if name == "sum":
            a = np.asarray(args[0], dtype=object)
            return a.sum(**axis) if a.size else np.zeros(a.shape).sum(**axis)
        if name == "mean":
            a = np.asarray(args[0], dtype=object)
            return a.sum(**axis) * (1.0 / (a.shape[axis["axis"]] if axis else a.size))
        if name == "concat":
            return np.concatenate([np.atleast_1d(np.asarray(a, dtype=object)) for a in args])
        if name == "dot":
            return np.dot(np.asarray(args[0], dtype=object), np.asarray(args[1], dtype=object))
        if name == "outer":
            return np.multiply.outer(np.asarray(args[0], dtype=object), np.asarray(args[1], dtype=object))
        if name == "cumsum":
            return np.cumsum(np.asarray(args[0], dtype=object))
        if name == "reshape":
            return np.asarray(args[0], dtype=object).reshape([int(n) for n in args[1:]])
        if name == "transpose":
            return np.asarray(args[0], dtype=object).T
        if name == "where":
            c, a, b = np.broadcast_arrays(*(np.asarray(v, dtype=object) for v in args))
            return np.where(c.astype(bool), a, b)
        if name == "diag":
            return np.diag(np.asarray(args[0], dtype=object))
        if name == "stack":
            return np.stack([np.asarray(a, dtype=object) for a in args], **axis)
        if name == "edges":
            return args[0]
        if name == "path":
            return np.array([(i, i + 1) for i in range(args[0] - 1)]).reshape(-1, 2)
        plain = {
            "zeros": np.zeros,
            "ones": np.ones,
            "eye": np.eye,
            "arange": np.arange,
            "abs": np.abs,
            "exp": np.exp,
        }
        return plain[name](*args)


def reduced(p: P, domains: list[str]) -> dict[tuple[int, ...], float]:
    """Powers of spins and bits reduced, zeros left out."""
    out: dict[tuple[int, ...], float] = {}
    for key, c in p.terms.items():
        kept: list[int] = []
        for k, group in itertools.groupby(key):
            n = len(list(group))
            n = n if domains[k] == "real" else n % 2 if domains[k] == "spin" else 1
            kept += [k] * n
        out[tuple(kept)] = out.get(tuple(kept), 0.0) + c
    return out


def monomials(energy: Any) -> dict[tuple[int, ...], float]:
    """An `Energy` as the same kind of dictionary."""
    out: dict[tuple[int, ...], float] = {(): energy.constant}
    for k, c in enumerate(energy.linear):
        out[(k,)] = float(c)
    q = energy.quadratic.toarray()
    for i in range(energy.n):
        for j in range(i, energy.n):
            out[(i, j)] = float(q[i, j]) * (0.5 if i == j else 1.0)
    for terms in energy.higher:
        for row, c in zip(terms.index, terms.coefficient):
            out[tuple(int(k) for k in row)] = out.get(tuple(int(k) for k in row), 0.0) + float(c)
    return out


def interpret(program: tree.Program) -> dict[tuple[int, ...], float]:
    """The energy of a program as monomials."""
    machine = Naive()
    machine.run(program.statements)
    return reduced(machine.energy, machine.domains)
