"""Closest vectors on boards too large for one lattice: tile after tile, each paying for what is already decided.

A tile is some tens of neighbouring cells with the components that no earlier tile has. Its metric comes from the inverse of
the wanted matrix on the tile and the cells about it; what the settings decided so far have done to these cells shifts the
point to be close to (error feedback). Read-out scales of the tile move freely as in `relaxed`, with the same penalty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray
from spucc.passes.quantizing import lattice_reduction
from spucc.passes.quantizing.codebook import Codebook
from spucc.passes.quantizing.fisher import inverse as dense_inverse
from spucc.passes.quantizing.takahashi import Selected, factored, logdet, selected_inverse

_FULL = 1500
"""Cells up to which the whole inverse is kept."""
_REDUCED = 1200
"""Components of one tile up to which its basis is reduced; beyond, nearest planes in the order of stiffness."""


@dataclass(frozen=True, eq=False)
class SparseLaw:
    """A wanted matrix A with the entries of its inverse on the diagonal and at the edges of a book."""

    matrix: sparse.csr_array
    diagonal: FloatArray
    off: FloatArray
    inverse: Selected
    full: FloatArray | None = None
    """All of A⁻¹, where the board is small enough to keep it: then every tile hears of every other."""

    @staticmethod
    def of(book: Codebook, matrix: sparse.csr_array) -> SparseLaw | None:
        e = book.edges
        inverse = selected_inverse(matrix, e)
        if inverse is None:
            return None
        off = np.asarray(matrix[e[:, 0], e[:, 1]]).ravel() if e.size else np.zeros(0)
        full = dense_inverse(matrix.toarray()) if book.n <= _FULL else None
        return SparseLaw(matrix, matrix.diagonal(), off, inverse, full)

    def indices(self, book: Codebook, d: FloatArray) -> FloatArray:
        """Real indices [m] of D A D."""
        e = book.edges
        return book.levels.position(book.solve(self.diagonal * d * d, self.off * d[e[:, 0]] * d[e[:, 1]]))

    def fitted(self, book: Codebook, k: FloatArray, d: FloatArray) -> tuple[float, FloatArray]:
        """Divergence in nats of indices k and the scales d = r [n] that fit them best: Newton on the sparse A∘Σ."""
        value = book.levels.value(k)
        own, off, e = book.diagonal(value), book.off_diagonal(value), book.edges
        own, off = own * self.inverse.diagonal, off * self.inverse.off
        x = 1.0 / d
        for _ in range(30):
            weights = _symmetric(book.n, e, own * x * x, off * x[e[:, 0]] * x[e[:, 1]])
            gradient = np.asarray(weights.sum(axis=1)).ravel() - 1.0
            lu = factored(sparse.csr_array(weights + sparse.eye_array(book.n)))
            if lu is None:
                return math.inf, d
            step = lu.solve(gradient)
            size = math.sqrt(max(float(step @ gradient), 0.0))
            share = min(1.0 / (1.0 + size), 0.5 / max(float(step.max()), 1e-300))
            x = x * (1.0 - share * step)
            if size < 1e-9:
                break
        quadratic = float(own @ (x * x)) + 2.0 * float(off @ (x[e[:, 0]] * x[e[:, 1]]))
        kl = 0.5 * (quadratic - book.n - logdet(book.sparse(value)) + self.inverse.logdet) - float(
            np.log(x).sum()
        )
        return (kl if math.isfinite(kl) else math.inf), 1.0 / x


def _symmetric(n: int, e: IntArray, own: FloatArray, off: FloatArray) -> sparse.csr_array:
    d = np.arange(n)
    rows, cols = np.concatenate([e[:, 0], e[:, 1], d]), np.concatenate([e[:, 1], e[:, 0], d])
    return sparse.csr_array((np.concatenate([off, off, own]), (rows, cols)), shape=(n, n))


def partition(adjacency: sparse.csr_array, size: int) -> list[IntArray]:
    """Connected tiles of about `size` cells, grown breadth first along the reverse Cuthill–McKee order."""
    n = adjacency.shape[0]
    order = sparse.csgraph.reverse_cuthill_mckee(sparse.csr_matrix(adjacency), symmetric_mode=True)
    indptr, indices = adjacency.indptr, adjacency.indices
    taken = np.zeros(n, dtype=bool)
    tiles: list[IntArray] = []
    for seed in order:
        if taken[seed]:
            continue
        tile, at = [int(seed)], 0
        taken[seed] = True
        while at < len(tile) and len(tile) < size:
            for other in indices[indptr[tile[at]] : indptr[tile[at] + 1]]:
                if not taken[other] and len(tile) < size:
                    taken[other] = True
                    tile.append(int(other))
            at += 1
        tiles.append(np.array(tile))
    return tiles


def surroundings(adjacency: sparse.csr_array, tile: IntArray, limit: int) -> IntArray:
    """The tile's cells first, then whole shells of neighbours up to about `limit` cells."""
    known = set(tile.tolist())
    region, shell = list(tile.tolist()), list(tile.tolist())
    while shell and len(region) < limit:
        found: list[int] = []
        for cell in shell:
            for other in adjacency.indices[adjacency.indptr[cell] : adjacency.indptr[cell + 1]].tolist():
                if other not in known:
                    known.add(other)
                    found.append(other)
        region += found
        shell = found
    return np.array(region)


def _gram(s: FloatArray, x: tuple[FloatArray, ...], y: tuple[FloatArray, ...]) -> FloatArray:
    """tr(B_e S B_f S) for components e of x and f of y, each given by (i, j, a, b, c) with b, c = 0 for a ground."""
    i, j, a, b, c = x
    p, q, aa, bb, cc = y
    ip, iq, jp, jq = s[np.ix_(i, p)], s[np.ix_(i, q)], s[np.ix_(j, p)], s[np.ix_(j, q)]
    a, b, c = a[:, None], b[:, None], c[:, None]
    total = aa * (a * ip * ip + c * jp * jp + 2 * b * ip * jp)
    total += cc * (a * iq * iq + c * jq * jq + 2 * b * iq * jq)
    total += 2 * bb * (a * ip * iq + c * jp * jq + b * (ip * jq + iq * jp))
    return np.asarray(total)


def sweep(
    book: Codebook,
    law: SparseLaw,
    d: FloatArray,
    k: FloatArray | None,
    mu: float,
    tiles: list[IntArray],
    adjacency: sparse.csr_array,
    halo: int,
    stop: Callable[[], bool],
    batch: int = 12,
) -> FloatArray:
    """Indices [m] from one pass over all tiles about the scales d; k is the setting to improve (None: none yet)."""
    wanted = law.indices(book, d)
    offset = np.zeros(book.size) if k is None else k - wanted
    shift = np.zeros(book.n)
    chosen = book.levels.legal(wanted) if k is None else k.copy()
    decided = np.full(book.size, k is not None)
    incident = _incidence(book)
    rng = np.random.Generator(np.random.Philox(1))
    for tile in tiles:
        if stop():
            break
        # With the whole inverse at hand the ends of the tile's couplers are surroundings enough.
        region = surroundings(adjacency, tile, halo if law.full is None else tile.size + 1)
        block = _Tile(book, law, d, region, tile.size, incident)
        mine = block.own if k is not None else block.own[~decided[block.own]]
        others = np.setdiff1d(block.touching[decided[block.touching]], mine)
        load = (
            block.far_load(mine, offset, shift)
            if law.full is not None
            else block.load(mine, others, offset, shift)
        )
        found, eta = block.decode(mine, load, wanted, mu, rng, batch)
        chosen[mine], offset[mine] = found, found - wanted[mine]
        shift[tile] = eta
        decided[mine] = True
    return chosen


def _incidence(book: Codebook) -> sparse.csr_array:
    """Rows: cells; columns: the components at them."""
    f = np.arange(book.size)
    pairs = slice(book.n, None)
    rows, cols = np.concatenate([book.i, book.j[pairs]]), np.concatenate([f, f[pairs]])
    return sparse.csr_array((np.ones(rows.size), (rows, cols)), shape=(book.n, book.size))


class _Tile:
    """The metric of one tile and its surroundings, in local numbers: the tile's cells are 0 … count − 1."""

    def __init__(
        self,
        book: Codebook,
        law: SparseLaw,
        d: FloatArray,
        region: IntArray,
        count: int,
        incident: sparse.csr_array,
    ) -> None:
        self.book, self.region, self.count = book, region, count
        scale = d[region]
        self.law, self.d = law, d
        self.a = law.matrix[region][:, region].toarray() * np.outer(scale, scale)
        if law.full is None:
            self.s = np.asarray(linalg.inv(self.a, check_finite=False))
        else:
            self.s = law.full[np.ix_(region, region)] / np.outer(scale, scale)
        self.local = np.full(book.n, -1)
        self.local[region] = np.arange(region.size)
        self.own = np.unique(incident[region[:count]].indices)
        every = np.unique(incident[region].indices)
        inside = (self.local[book.i[every]] >= 0) & (self.local[book.j[every]] >= 0)
        self.touching = every[inside]

    def parts(self, which: IntArray) -> tuple[FloatArray, ...]:
        """(i, j, a, b, c) of components, in local numbers and per step."""
        book = self.book
        step = book.levels.step[which]
        pair = which >= book.n
        return (
            self.local[book.i[which]],
            self.local[book.j[which]],
            book.a[which] * step,
            np.where(pair, book.b[which] * step, 0.0),
            np.where(pair, book.c[which] * step, 0.0),
        )

    def cross(self, cells: IntArray, x: tuple[FloatArray, ...]) -> FloatArray:
        """½⟨M_p, F_f⟩ = (B_f S)_pp for cells p and components f."""
        i, j, a, b, c = x
        s = self.s
        first = a * s[i, i] + b * s[i, j]
        second = np.where(i == j, 0.0, b * s[i, j] + c * s[j, j])
        return np.asarray((cells[:, None] == i) * first + (cells[:, None] == j) * second)

    def load(self, mine: IntArray, others: IntArray, offset: FloatArray, shift: FloatArray) -> FloatArray:
        """What the decided components `others` and scales of the surroundings press with on the scales of the tile's cells
        and on the components `mine`: the linear term of the tile's problem."""
        cells, halo = np.arange(self.count), np.arange(self.count, self.region.size)
        x, y = self.parts(mine), self.parts(others)
        known = offset[others]
        far = shift[self.region[self.count :]]
        both = 2.0 * self.a * self.s
        return np.concatenate([
            2.0 * self.cross(cells, y) @ known + both[: self.count, self.count :] @ far,
            _gram(self.s, x, y) @ known + 2.0 * self.cross(halo, x).T @ far,
        ])  # fmt: skip

    def far_load(self, mine: IntArray, offset: FloatArray, shift: FloatArray) -> FloatArray:
        """The same of everything decided on the whole board: with the error E = Σ δ_e B_e + diag(η)A + A diag(η) it is
        2(ES)_pp for the tile's scales and tr(B_f S E S) for its components."""
        book, d, full = self.book, self.d, self.law.full
        assert full is not None
        error = offset * book.levels.step
        error[mine] = 0.0
        eta = shift.copy()
        eta[self.region[: self.count]] = 0.0
        moved = sparse.diags_array(eta * d) @ self.law.matrix @ sparse.diags_array(d)
        base = book.sparse(error) if book.base is None else sparse.csr_array(book.sparse(error) - book.base)
        nearby = full[:, self.region] / np.outer(d, d[self.region])
        half = (base + moved + moved.T) @ nearby
        response = nearby.T @ half
        i, j, a, b, c = self.parts(mine)
        on_parts = a * response[i, i] + np.where(i == j, 0.0, 2 * b * response[i, j] + c * response[j, j])
        rows = self.region[: self.count]
        return np.concatenate([2.0 * half[rows, np.arange(self.count)], on_parts])

    def decode(
        self,
        mine: IntArray,
        load: FloatArray,
        wanted: FloatArray,
        mu: float,
        rng: np.random.Generator,
        batch: int,
    ) -> tuple[FloatArray, FloatArray]:
        """Indices of the components `mine` and the shifts of log d of the tile's cells."""
        levels = self.book.levels.subset(mine)
        cells = np.arange(self.count)
        if mine.size == 0:
            both = 2.0 * (self.a * self.s + np.eye(self.region.size))[: self.count, : self.count]
            return np.zeros(0), -linalg.cho_solve((_root(both * (1.0 + mu)), False), load, check_finite=False)
        x = self.parts(mine)
        cross = 2.0 * self.cross(cells, x)
        both = 2.0 * (self.a * self.s + np.eye(self.region.size))
        metric = np.block(
            [[both[: self.count, : self.count] * (1.0 + mu), cross], [cross.T, _gram(self.s, x, x)]]
        )
        root = _root(metric)
        best = -linalg.cho_solve((root, False), load, check_finite=False)
        n = self.count
        target = wanted[mine] + best[n:]
        triangle, basis = root[n:, n:], np.eye(mine.size)
        order = np.argsort(np.einsum("ij,ij->j", triangle, triangle), kind="stable")
        basis = basis[:, order]
        reduced = lattice_reduction.triangle_of(triangle[:, order])
        if mine.size <= _REDUCED:
            reduced, change = lattice_reduction.reduce(reduced, compiled=True)
            basis = basis @ change
        # Other starts along the flat directions: the scales of the cells, moved by some steps.
        span = 2.0 / max(float(np.median(levels.last - levels.first)), 1.0)
        moves = rng.uniform(-span, span, (batch, n))
        moves[0] = 0.0
        flat = -linalg.cho_solve((_root(metric[n:, n:]), False), cross.T @ moves.T, check_finite=False).T
        points = lattice_reduction.nearest_points(reduced, basis, target + flat, 1)[:, 0]
        legal = np.clip(points, levels.first, levels.last)
        cost = np.einsum("ij,kj->ki", triangle, legal - target)
        found = legal[int(np.argmin(np.einsum("ki,ki->k", cost, cost)))]
        rest = load[:n] + cross @ (found - wanted[mine])
        return found, -linalg.cho_solve((_root(metric[:n, :n]), False), rest, check_finite=False)


def _root(metric: FloatArray) -> FloatArray:
    """Upper triangular R with RᵀR = metric, scaled to a unit diagonal first; what is numerically singular gets a ridge."""
    diagonal = np.diagonal(metric)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    unit = metric / np.outer(scale, scale)
    ridge = 1e-14
    while True:
        try:
            root = linalg.cholesky(unit + ridge * np.eye(scale.size), check_finite=False)
        except linalg.LinAlgError:
            ridge *= 100.0
            continue
        return np.asarray(root * scale)


def settle(
    book: Codebook,
    law: SparseLaw,
    d: FloatArray,
    *,
    effort: int,
    stop: Callable[[], bool],
    whole: bool = False,
) -> Iterator[tuple[float, FloatArray, FloatArray]]:
    """Ever better (divergence, indices, scales) by sweeps of tiles about scales d; `whole` makes the board one tile."""
    adjacency = _symmetric(book.n, book.edges, np.zeros(book.n), np.ones(book.edges.shape[0]))
    tiles = [np.arange(book.n)] if whole else partition(adjacency, 64 if effort > 1 else 32)
    halo = 5 * len(tiles[0]) if effort < 2 else 220
    expected = _expected(book, law, d)
    k: FloatArray | None = None
    kl, r, penalty = math.inf, d, 1.0
    for _ in range(3 if effort < 2 else 10):
        if stop():
            return
        trial = sweep(book, law, r, k, penalty * math.sqrt(expected / book.n), tiles, adjacency, halo, stop)
        value, scales = law.fitted(book, trial, r)
        better = value < kl
        penalty *= 0.7 if better else 3.0
        if better:
            kl, k, r = value, trial, scales
            yield kl, k, r


def _expected(book: Codebook, law: SparseLaw, d: FloatArray) -> float:
    """The divergence of rounding in nats, (1/4)Σ step²/12 · G_ee."""
    step, n = book.levels.step, book.n
    diagonal = law.inverse.diagonal / d**2
    i, j = book.i, book.j
    off = np.zeros(book.size)
    off[n:] = law.inverse.off / (d[i[n:]] * d[j[n:]])
    pair = np.arange(book.size) >= n
    loss = (book.a * diagonal[i]) ** 2
    b, c = book.b, book.c
    loss = loss + np.where(
        pair,
        (c * diagonal[j]) ** 2
        + 2 * book.a * c * off**2
        + 2 * b * b * (diagonal[i] * diagonal[j] + off**2)
        + 4 * b * off * (book.a * diagonal[i] + c * diagonal[j]),
        0.0,
    )
    return float(np.sum(step**2 / 48.0 * loss))
