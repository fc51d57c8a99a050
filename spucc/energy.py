"""`Energy`: the model as mathematics, p(x) ∝ exp(−E(x)/T), and nothing of any hardware.

    E(x) = constant + linear·x + ½ xᵀ Q x + Σ_t coefficient_t · Π_k x[index_tk]        (degree ≥ 3)

x runs over *coordinates*: the entries of the variables one after the other in the order of the source, row-major.
Everything is sparse where the model is; dense blocks given by the user stay dense blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, canonical, frozen
from spucc.diagnostics import Span


class Domain(StrEnum):
    """The values that an entry of a variable can take."""

    REAL = "real"
    SPIN = "spin"
    BIT = "bit"


@dataclass(frozen=True, slots=True)
class Variable:
    """A named random array. Its entries are the coordinates `start … start + size − 1`.

    `entries`, when it is given, lists the entries (flat, sorted) that are still there: conditioning and marginalising
    take entries out, and those that stay keep their names. `stands_for` names the matrix query whose own Gaussian this
    variable carries (`inverse`, `solve`); it is empty for a variable of the user's model.
    """

    name: str
    shape: tuple[int, ...]
    domain: Domain
    start: int
    span: Span | None = None
    stands_for: str = ""
    entries: IntArray | None = field(default=None, compare=False)

    @property
    def size(self) -> int:
        if self.entries is not None:
            return int(self.entries.size)
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def stop(self) -> int:
        return self.start + self.size

    def label(self, k: int) -> str:
        """The user's name of entry `k` (counted from 0 within the variable): `x[3]`, `W[1, 2]`, `mu`."""
        if not self.shape:
            return self.name
        if self.entries is not None:
            k = int(self.entries[k])
        return f"{self.name}[{', '.join(str(int(i)) for i in np.unravel_index(k, self.shape))}]"


@dataclass(frozen=True, eq=False)
class Block:
    """A dense block of Q. Either `rows is cols` in content and `matrix` is symmetric, or rows and cols are disjoint and
    `matrix` stands at (rows, cols) and its transpose at (cols, rows)."""

    rows: IntArray
    cols: IntArray
    matrix: FloatArray

    @cached_property
    def diagonal_block(self) -> bool:
        return self.rows.shape == self.cols.shape and bool(np.array_equal(self.rows, self.cols))


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The symmetric matrix Q (n × n): a sparse part, stored in full, plus dense blocks, which may overlap it."""

    sparse: sparse.csr_array
    blocks: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sparse", canonical(self.sparse))

    @staticmethod
    def zero(n: int) -> Quadratic:
        return Quadratic(sparse.csr_array((n, n), dtype=np.float64))

    @property
    def n(self) -> int:
        return int(self.sparse.shape[0])

    def tocsr(self) -> sparse.csr_array:
        """Q as one sparse matrix with sorted indices, without stored zeros outside the diagonal's need."""
        return self._csr

    @cached_property
    def _csr(self) -> sparse.csr_array:
        total = self.sparse if self.blocks else self.sparse.copy()
        for block in self.blocks:
            r, c = block.matrix.shape
            ij = (np.repeat(block.rows, c), np.tile(block.cols, r))
            part = sparse.csr_array(sparse.coo_array((block.matrix.ravel(), ij), shape=(self.n, self.n)))
            total = total + part if block.diagonal_block else total + part + part.T
        # A copy: the sparse part may be read-only, and what follows works in place.
        total = sparse.csr_array(total, copy=True)
        total.sum_duplicates()
        total.eliminate_zeros()
        total.sort_indices()
        return total

    def toarray(self) -> FloatArray:
        """Q as a dense matrix; a single block that covers everything is handed out without a copy."""
        if self.sparse.nnz == 0 and len(self.blocks) == 1:
            block = self.blocks[0]
            if block.matrix.shape == (self.n, self.n) and np.array_equal(block.rows, np.arange(self.n)):
                return block.matrix
        dense = np.asarray(self.sparse.toarray())
        for block in self.blocks:
            dense[np.ix_(block.rows, block.cols)] += block.matrix
            if not block.diagonal_block:
                dense[np.ix_(block.cols, block.rows)] += block.matrix.T
        return dense

    def diagonal(self) -> FloatArray:
        d = np.asarray(self.sparse.diagonal(), dtype=np.float64).copy()
        for block in self.blocks:
            if block.diagonal_block:
                d[block.rows] += np.diagonal(block.matrix)
        return d

    def __matmul__(self, x: FloatArray) -> FloatArray:
        """Q @ x for x of shape [n] or [n, m]."""
        y = self.sparse @ x
        for block in self.blocks:
            y[block.rows] += block.matrix @ x[block.cols]
            if not block.diagonal_block:
                y[block.cols] += block.matrix.T @ x[block.rows]
        return np.asarray(y)

    def restrict(self, keep: IntArray) -> Quadratic:
        """Q[keep][:, keep] for sorted, distinct `keep`."""
        position = np.full(self.n, -1, dtype=np.int64)
        position[keep] = np.arange(keep.size)
        blocks = []
        for block in self.blocks:
            r, c = position[block.rows], position[block.cols]
            if (r >= 0).any() and (c >= 0).any():
                whole = (r >= 0).all() and (c >= 0).all()
                matrix = block.matrix if whole else block.matrix[np.ix_(r >= 0, c >= 0)]
                blocks.append(Block(frozen(r[r >= 0], np.int64), frozen(c[c >= 0], np.int64), frozen(matrix)))
        part = self.sparse if keep.size == self.n else sparse.csr_array(self.sparse[keep][:, keep])
        return Quadratic(part, tuple(blocks))

    def scaled(self, factor: float) -> Quadratic:
        """factor · Q"""
        if factor == 1.0:
            return self
        blocks = tuple(replace(b, matrix=frozen(b.matrix * factor)) for b in self.blocks)
        return Quadratic(sparse.csr_array(self.sparse * factor), blocks)

    def pattern(self) -> sparse.csr_array:
        """A sparse matrix whose connected components are those of Q; a dense block costs one star, not its square."""
        stars = []
        for block in self.blocks:
            nodes = np.union1d(block.rows, block.cols)
            stars.append(np.stack([np.full(nodes.size, nodes[0]), nodes]))
        if not stars:
            return self.sparse
        i, j = np.concatenate(stars, axis=1)
        star = sparse.coo_array((np.ones(i.size), (i, j)), shape=(self.n, self.n))
        return sparse.csr_array(abs(self.sparse) + star)


@dataclass(frozen=True, eq=False)
class Monomials:
    """Terms of one degree d ≥ 3: `coefficient[t] · Π_k x[index[t, k]]`; each row of `index` is sorted, rows are
    distinct and in lexicographic order."""

    index: IntArray
    coefficient: FloatArray

    @property
    def degree(self) -> int:
        return int(self.index.shape[1])


@dataclass(frozen=True, eq=False)
class Form:
    """An affine form of the coordinates, `matrix @ x + offset`, with the shape that the user gave it."""

    matrix: sparse.csr_array
    offset: FloatArray
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(self.matrix.shape[0])

    def at(self, x: FloatArray) -> FloatArray:
        """The form's value at x [..., n]: shape [..., *shape]."""
        flat = x.reshape(-1, x.shape[-1])
        value = np.asarray((self.matrix @ flat.T).T) + self.offset
        return np.asarray(value.reshape(*x.shape[:-1], *self.shape))


class QueryKind(StrEnum):
    """What can be asked. `language.md`, section Queries."""

    SAMPLE = "sample"
    MEAN = "mean"
    COV = "cov"
    STD = "std"
    VAR = "var"
    CORR = "corr"
    QUANTILE = "quantile"
    EXPECTATION = "expectation"
    ARGMIN = "argmin"
    LOGZ = "logz"
    INVERSE = "inverse"
    SOLVE = "solve"
    LOGDET = "logdet"
    TRAJECTORY = "trajectory"


@dataclass(frozen=True, eq=False)
class Product:
    """Second-degree terms: `gather @ (left(x) * right(x))`, an array of the entries of the asked expression."""

    left: Form
    right: Form
    gather: sparse.csr_array


@dataclass(frozen=True, eq=False)
class Query:
    """One question, by the name that the user gave its answer.

    `form` is the linear expression asked about (for `expectation` its part of degree ≤ 1, to which `products` add; for
    `inverse` and `solve` the variable that stands for the query). `levels` and `level_shape`: the probabilities of
    `quantile`. `matrix` and `rhs`: A and b of `inverse`, `solve`, `logdet`. `start` (all coordinates) and `duration` (in
    units of the device's time) of `trajectory`. `implicit` marks the `sample` of every unobserved variable that a program
    without queries gets.
    """

    name: str
    kind: QueryKind
    form: Form | None = None
    products: tuple[Product, ...] = ()
    levels: FloatArray | None = None
    matrix: sparse.csr_array | FloatArray | None = None
    rhs: FloatArray | None = None
    duration: float | None = None
    start: FloatArray | None = None
    span: Span | None = None
    implicit: bool = False

    def forms(self) -> tuple[Form, ...]:
        """Every affine form whose draws the answer needs."""
        parts = () if self.form is None else (self.form,)
        return parts + tuple(f for p in self.products for f in (p.left, p.right))


@dataclass(frozen=True, eq=False)
class Observed:
    """Exact conditioning: coordinate `index[k]` has the value `value[k]`; `index` is sorted and distinct."""

    index: IntArray
    value: FloatArray

    @staticmethod
    def none() -> Observed:
        return Observed(frozen([], np.int64), frozen([]))


@dataclass(frozen=True, eq=False)
class Origin:
    """A statement of the model and the coordinates that it couples: what an error about a coupler points at."""

    span: Span
    coordinates: IntArray


@dataclass(frozen=True, eq=False)
class Energy:
    """A model: see the module's docstring for the formula. Invariants: finite, symmetric, coordinates in order."""

    variables: tuple[Variable, ...]
    linear: FloatArray
    quadratic: Quadratic
    constant: float = 0.0
    higher: tuple[Monomials, ...] = ()
    temperature: float = 1.0
    observed: Observed = field(default_factory=Observed.none)
    queries: tuple[Query, ...] = ()
    origins: tuple[Origin, ...] = ()

    @property
    def n(self) -> int:
        """The number of coordinates."""
        return int(self.linear.size)

    @cached_property
    def _starts(self) -> IntArray:
        return np.array([v.start for v in self.variables], dtype=np.int64)

    def variable_of(self, coordinate: int) -> Variable:
        """The variable that a coordinate belongs to. Entries of empty variables do not exist."""
        position = int(np.searchsorted(self._starts, coordinate, side="right")) - 1
        while self.variables[position].size == 0:
            position -= 1
        return self.variables[position]

    def label(self, coordinate: int) -> str:
        """The user's name of a coordinate: `x[3]`."""
        variable = self.variable_of(coordinate)
        return variable.label(int(coordinate) - variable.start)

    def labels(self, limit: int | None = None) -> Iterator[str]:
        """The names of all coordinates in order."""
        for coordinate in range(self.n if limit is None else min(limit, self.n)):
            yield self.label(coordinate)

    @cached_property
    def domains(self) -> tuple[IntArray, IntArray, IntArray]:
        """Coordinates that are real, spin, bit."""
        found: dict[Domain, list[IntArray]] = {d: [frozen([], np.int64)] for d in Domain}
        for v in self.variables:
            found[v.domain].append(np.arange(v.start, v.stop, dtype=np.int64))
        real, spin, bit = (frozen(np.concatenate(found[d]), np.int64) for d in Domain)
        return real, spin, bit

    @property
    def is_gaussian(self) -> bool:
        """Real variables only and no term above degree 2."""
        return not self.higher and all(v.domain is Domain.REAL for v in self.variables)

    def at(self, x: FloatArray) -> FloatArray:
        """E(x) for x of shape [n] or [m, n] (not divided by T)."""
        x = np.asarray(x, dtype=np.float64)
        rows = x.reshape(-1, self.n)
        value = (
            self.constant + rows @ self.linear + 0.5 * np.einsum("ki,ik->k", rows, self.quadratic @ rows.T)
        )
        for terms in self.higher:
            for row in range(rows.shape[0]):
                value[row] += terms.coefficient @ np.prod(rows[row][terms.index], axis=1)
        return np.asarray(value.reshape(x.shape[:-1]))

    def origin_of(self, i: int, j: int) -> Origin | None:
        """The narrowest statement that couples coordinates i and j."""
        best: Origin | None = None
        for origin in self.origins:
            at = np.searchsorted(origin.coordinates, [i, j])
            inside = at < origin.coordinates.size
            if not inside.all() or (origin.coordinates[at] != [i, j]).any():
                continue
            if best is None or origin.coordinates.size < best.coordinates.size:
                best = origin
        return best


def restrict_variables(variables: Sequence[Variable], keep: IntArray) -> tuple[Variable, ...]:
    """The variables that are left when only the coordinates `keep` (sorted) stay; those left with nothing are gone."""
    kept = []
    start = 0
    for v in variables:
        low, high = np.searchsorted(keep, [v.start, v.stop])
        inside = keep[low:high] - v.start
        if inside.size == 0:
            continue
        entries = inside if v.entries is None else v.entries[inside]
        whole = v.entries is None and inside.size == v.size
        kept.append(replace(v, start=start, entries=None if whole else frozen(entries, np.int64)))
        start += inside.size
    return tuple(kept)


def identity_form(variable: Variable, n: int) -> Form:
    """The form that reads a whole variable out of n coordinates."""
    rows = np.arange(variable.size)
    matrix = sparse.csr_array(
        (np.ones(variable.size), (rows, variable.start + rows)), shape=(variable.size, n), dtype=np.float64
    )
    return Form(matrix, frozen(np.zeros(variable.size)), variable.shape)


def layout(declared: Sequence[tuple[str, tuple[int, ...], Domain, Span | None]]) -> tuple[Variable, ...]:
    """Variables one after the other, in the order given."""
    variables: list[Variable] = []
    start = 0
    for name, shape, domain, span in declared:
        variable = Variable(name, shape, domain, start, span)
        variables.append(variable)
        start = variable.stop
    return tuple(variables)
