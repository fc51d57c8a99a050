"""Gaussians on capacitors: the ways of physics §2, cheapest first, each with what it costs the host.

All ways but `split` are linear read-outs x = T y + μ of cells y of precision K = TᵀPT, where K is a network of
capacitors: rows dominant after scaling, off-diagonals ≤ 0 (of either sign on boards with negative couplers).
They differ in what T costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg, sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Device
from spucc.diagnostics import Diagnostic, SpuccError
from spucc.energy import Domain, Energy
from spucc.fidelity.ledger import gaussian_divergence, realised_law
from spucc.oracle import gaussian
from spucc.passes.place import Place, chain_lengths
from spucc.passes.realise import Realise
from spucc.passes.realising import forecast, moments
from spucc.passes.realising.boards import component_limit, could_embed, could_hold, larger, live_cells
from spucc.passes.realising.comparison import (
    Verdict,
    comparison,
    congruence,
    dominant_scaling,
    jacobi,
    judge,
    positive_scaling,
    two_colouring,
)
from spucc.passes.realising.readout import COLUMNS, cholesky_cost, minimum_degree, search
from spucc.pipeline import Context, Outcome
from spucc.readback import Affine, HostLoop, ReadBack
from spucc.stages import Couplings, Job, Role, Step

READOUT_LIMIT = 1000
"""Up to so many variables a read-out is looked for."""


SEARCHED = 300
"""Up to so many cells a way is known to have a place before it is taken."""

TRIED = 160
"""Up to so many cells chains are tried out before a way with chains is taken."""

ROUNDING_ROOM = 0.02
"""How far the matrix of a split is lifted above what it needs, so that rounding does not bring it below P."""


@dataclass(frozen=True, eq=False)
class Way:
    """A way to go: cells of precision K read out by `back`. `multiplications` counts what the host does for one
    draw beyond one scale factor a variable, `error` the forecast of `forecast.sd_error`, `loss` the KL per
    variable that the way gives up, `chained` the cells in chains that are read for a draw."""

    name: str
    k: sparse.csr_array
    back: ReadBack
    coordinate: IntArray
    role: IntArray
    multiplications: int
    error: float
    note: str
    loss: float = 0.0
    chained: int = 0

    def better(self, other: Way, bound: float) -> bool:
        """Whether this way is to be preferred: the one within `bound` of error, the cheaper of two, the more accurate of none."""
        if max(self.error, other.error) <= bound:
            return self.multiplications + self.chained < other.multiplications + other.chained
        return self.error <= bound or (other.error > bound and self.error < other.error * 0.9)


def capacitive(energy: Energy, device: Device, options: Realise, context: Context) -> Outcome:
    """The cheapest allowed way that has a place on the board and is held within `sd_error`; if rounding spoils all, the least
    spoilt.

    Raises E0512 when no allowed way serves, with the certificate; E0513 when those that do need more
    multiplications than allowed.
    """
    p = moments.precision(energy)
    moments.check(energy, p)
    mean = moments.mean(energy, p)
    p = moments.precision(energy)
    verdict = judge(p)
    best: Way | None = None
    dear: Way | None = None
    for way in ways(p, mean, energy, verdict, device, options, context):
        if options.host_multiplications is not None and way.multiplications > options.host_multiplications:
            dear = way if dear is None or way.multiplications < dear.multiplications else dear
            continue
        way = placed(way, energy, device, context)
        if best is None or way.better(best, options.sd_error):
            best = way
        if best.error <= options.sd_error and (not best.chained or context.stop.is_set()):
            break
    if best is None:
        raise _unrealisable(p, energy, verdict, device, options, dear)
    value = _couplings(best, device)
    notes = [f"way: {best.name}; {best.note}", *_verdict_note(p, energy, verdict)]
    if best.error > options.sd_error and np.isfinite(best.error):
        notes.append(f"plain rounding is predicted to put a standard deviation off by {best.error:.1%}")
    return Outcome(value, best.back, tuple(notes))


def placed(way: Way, energy: Energy, device: Device, context: Context) -> Way:
    """The way with what its chains of cells cost: one multiplication a cell, and what strays and finite strength do to the
    law, tried out where that is quick. Without a place its error is infinite: then it stands behind all others, and if
    none has one, `place` says why."""
    n = int(way.k.shape[0])
    if not np.isfinite(way.error) or n > SEARCHED or could_hold(way.k, device):
        return way
    cells = chain_lengths(way.k, device, context)
    if cells is None:
        return replace(way, error=np.inf)
    if (cells == 1).all() or not isinstance(way.back, Affine):
        return way
    error = 0.0 if n > forecast.LIMIT else forecast.sd_error(way.k, way.back.matrix.toarray(), device, cells)
    if np.isfinite(error) and cells.sum() <= TRIED and not context.stop.is_set():
        # The forecast errs on the safe side by a factor of a few, since rounding will be searched; what is left here stays.
        error = max(error, 5 * _tried(way, energy, device, context))
    return replace(way, error=max(way.error, error), chained=int(cells[cells > 1].sum()))


def _tried(way: Way, energy: Energy, device: Device, context: Context) -> float:
    """The worst relative error of a standard deviation once the way stands on chains of cells within their ranges."""
    from spucc.passes.embed import Embed
    from spucc.passes.fit import Fit

    everything = np.arange(energy.n)
    job = Job("", energy, everything, _couplings(way, device), (Step("", way.back),))
    try:
        for step in (Place(), Embed(), Fit()):
            done = step.apply(job, device, replace(context, optimize=0))
            job = replace(job, value=done.value, steps=(*job.steps, Step("", done.readback)))
        law, (mean, cov) = gaussian(energy), realised_law(job, device)
    except (SpuccError, linalg.LinAlgError):
        return np.inf
    return gaussian_divergence(law.mean, law.covariance(), mean, cov).sd_error


def _couplings(way: Way, device: Device) -> Couplings:
    zeros = frozen(np.zeros(way.k.shape[0]))
    return Couplings(device.family, Domain.REAL, way.k, zeros, way.coordinate, way.role)


def ways(
    p: sparse.csr_array,
    mean: FloatArray,
    energy: Energy,
    verdict: Verdict,
    device: Device,
    options: Realise,
    context: Context,
) -> Iterator[Way]:
    """The ways that the mathematics and the user allow, in the order of cost; each is worked out when it is
    asked for."""
    n, signed = int(p.shape[0]), device.spec.coupling.signed
    if n > live_cells(device):
        return
    if verdict.h_matrix and verdict.balanced:
        name = "gauge" if (verdict.gauge < 0).any() else "scale"
        if options.allows(name) or (name == "gauge" and signed and options.allows("signed")):
            yield scaled(p, mean, verdict.gauge, device, name)
    elif verdict.h_matrix:
        if signed and options.allows("signed"):
            yield scaled(p, mean, verdict.gauge, device, "signed")
        if not signed and options.allows("double-cover") and 2 * n <= live_cells(device):
            yield double_cover(p, mean, device)
    if n <= READOUT_LIMIT:
        found: list[Way | None] = []
        if options.allows("readout"):
            found.append(readout(p, mean, device, options.sd_error))
        if options.allows("charge"):
            found.append(charge(p, mean, device, signed))
        yield from sorted((w for w in found if w is not None), key=lambda w: (w.multiplications, -w.k.nnz))
    if n <= 2000 and options.allows("split"):
        way = split(p, energy, device, options)
        if way is not None:
            yield way
    if n <= 300 and options.allows("nearest") and ("nearest" in options.ways or not verdict.h_matrix):
        yield nearest(p, mean, device, context)


def scaled(p: sparse.csr_array, mean: FloatArray, gauge: FloatArray, device: Device, name: str) -> Way:
    """x_i = s_i d_i y_i: signs flipped by a gauge s, scaled to dominance by d > 0. Exact, and costs the host
    nothing."""
    n = int(p.shape[0])
    d = gauge * dominant_scaling(comparison(p))
    flipped = int((gauge < 0).sum())
    k = congruence(p, d)
    note = f"all {(k.nnz - n) // 2} couplings are on the board"
    if flipped:
        note += f", {flipped} variables have their sign flipped"
    return _way(name, k, Affine.diagonal(d, mean), 0, note, device)


def double_cover(p: sparse.csr_array, mean: FloatArray, device: Device) -> Way:
    """x = (y⁺ − y⁻)/√2 of 2n cells of precision [[D−A, −B], [−B, D−A]], P = D − A + B with A, B ≥ 0 (physics §2)."""
    n = int(p.shape[0])
    d = dominant_scaling(comparison(p))
    scaled_p = congruence(p, d)
    coo = sparse.coo_array(scaled_p)
    repulsive = (coo.row != coo.col) & (coo.data > 0)
    minus_b = sparse.csr_array(
        sparse.coo_array((-coo.data[repulsive], (coo.row[repulsive], coo.col[repulsive])), shape=(n, n))
    )
    rest = sparse.csr_array(
        sparse.coo_array((coo.data[~repulsive], (coo.row[~repulsive], coo.col[~repulsive])), shape=(n, n))
    )
    k = sparse.csr_array(sparse.block_array([[rest, minus_b], [minus_b, rest]]))
    k.sort_indices()
    half = sparse.diags_array(d / np.sqrt(2))
    t = sparse.csr_array(sparse.block_array([[half, -half]]))
    t.sort_indices()
    note = f"{2 * n} cells stand for {n} variables, since its repulsive couplings close odd cycles; one subtraction a variable"
    way = _way("double-cover", k, Affine(t, mean), 0, note, device)
    roles = np.repeat([Role.PLUS, Role.MINUS], n)
    return _replace_cells(way, np.tile(np.arange(n), 2), roles)


def readout(p: sparse.csr_array, mean: FloatArray, device: Device, bound: float) -> Way:
    """x = T y with the fewest multiplications for which TᵀPT is a network that the board can hold (`readout.search`).

    The dominance that is asked of the network grows until the forecast of its rounding error is within `bound`.
    """
    signed = device.spec.coupling.signed
    a = 1.0 / np.sqrt(p.diagonal())
    dense = p.toarray() * np.outer(a, a)
    least = _cholesky_cost(dense)
    best: Way | None = None
    for margin in (0.03, 0.08, 0.2, 0.5, 1.0) if len(p.indptr) <= COLUMNS + 1 else (0.05, 1.0):

        def accept(k: FloatArray, margin: float = margin) -> bool:
            return _holds(k, margin, signed, device)

        found = search(dense, accept, component_limit(device, dense.shape[0]))
        part = sparse.csr_array(found.k)
        gauge = two_colouring(part)[1]
        d = gauge * dominant_scaling(comparison(part))
        t = sparse.csr_array(found.t * a[:, None] * d)
        t.sort_indices()
        note = f"{found.multiplications} multiplications a draw, {found.kept} couplings on the board"
        if found.kept:
            note += f" ({least} multiplications without any)"
        way = _way("readout", congruence(part, d), Affine(t, mean), found.multiplications, note, device)
        if best is None or way.error < best.error:
            best = way
        if way.error <= bound or found.kept == 0:
            break
    assert best is not None
    return best


def _holds(k: FloatArray, margin: float, signed: bool, device: Device) -> bool:
    """Whether capacitors can be K with a relative dominance of `margin`, by its pattern, its signs and its sizes."""
    if margin >= 1.0 or not np.isfinite(k).all():
        return not np.count_nonzero(k - np.diag(np.diagonal(k)))
    diagonal = np.diagonal(k)
    if not (diagonal > 0).all():
        return False
    a = 1.0 / np.sqrt(diagonal)
    m = -np.abs(k * np.outer(a, a))
    np.fill_diagonal(m, 1.0 - margin)
    try:
        linalg.cholesky(m, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return False
    part = sparse.csr_array(k)
    return could_hold(part, device) and (signed or two_colouring(part)[0])


def charge(p: sparse.csr_array, mean: FloatArray, device: Device, signed: bool) -> Way | None:
    """x = S D⁻¹ K y with K = D S Σ S D: what the charges q = C v of a network show when the covariance Σ is a
    network (physics §2)."""
    try:
        sigma = moments.covariance(p)
    except linalg.LinAlgError:
        return None
    root = np.sqrt(np.diagonal(sigma))
    sigma[np.abs(sigma) < 1e-13 * np.outer(root, root)] = 0.0
    covariance = sparse.csr_array(sigma)
    verdict = judge(covariance)
    if not verdict.h_matrix or not (signed or verdict.balanced):
        return None
    d = verdict.gauge * dominant_scaling(comparison(covariance))
    k = congruence(covariance, d)
    t = sparse.csr_array(sparse.diags_array(1 / d) @ k)
    cost = int(t.nnz) - int(p.shape[0])
    note = f"the cells' charges stand for the variables, {cost} multiplications a draw; {cost // 2} couplings on the board"
    return _way("charge", k, Affine(t, mean), cost, note, device)


def split(p: sparse.csr_array, energy: Energy, device: Device, options: Realise) -> Way | None:
    """M ⪰ P on the board and the host's noise for the rest: exact, at the price of sweeps (`splitting`)."""
    from spucc.passes.realising.splitting import split as best_split

    found = best_split(p, device.spec.coupling.signed, ROUNDING_ROOM)
    if found.sweeps > options.max_sweeps:
        return None
    potential = frozen(-np.asarray(energy.linear) / energy.temperature)
    cost = found.sweeps * int(p.nnz + found.m.nnz)
    note = f"{found.sweeps} sweeps with host noise between draws (each shrinks errors by {found.radius:.3g})"
    back = HostLoop(p, potential, found.sweeps, found.radius)
    # The loop undoes what rounding does to M as long as M ⪰ P: rounding costs sweeps and no accuracy.
    return Way(**{**vars(_way("split", found.m, back, cost, note, device)), "error": 0.0})


def nearest(p: sparse.csr_array, mean: FloatArray, device: Device, context: Context) -> Way:
    """The network nearest in KL: nothing for the host to do, at the price of the divergence that is reported."""
    from spucc.passes.realising.nearest import nearest as nearest_network

    conic = context.optimize > 1 or p.shape[0] <= 12
    b, gauge, loss = nearest_network(p, device.spec.coupling.signed, conic, context.stop.is_set)
    part = sparse.csr_array(b)
    d = gauge * dominant_scaling(_lifted(comparison(part)))
    way = _way(
        "nearest",
        congruence(part, d),
        Affine.diagonal(d, mean),
        0,
        f"KL {loss:.3g} a variable from the model",
        device,
    )
    return Way(**{**vars(way), "loss": loss, "error": max(way.error, float(np.sqrt(2 * loss)))})


def _lifted(m: sparse.csr_array) -> sparse.csr_array:
    """M with its diagonal raised until it is definite: a network at the edge of the cone is only just not."""
    lift = 0.0
    while positive_scaling(m + sparse.diags_array(lift * m.diagonal())) is None:
        lift = max(2 * lift, 1e-12)
    return sparse.csr_array(m + sparse.diags_array(lift * m.diagonal()))


def _way(name: str, k: sparse.csr_array, back: ReadBack, cost: int, note: str, device: Device) -> Way:
    n = int(k.shape[0])
    if not could_embed(k, device):
        error = np.inf
    elif n > forecast.LIMIT:
        error = 0.0
    else:
        t = back.matrix.toarray() if isinstance(back, Affine) else np.eye(n)
        error = forecast.sd_error(k, t, device)
    cells = frozen(np.arange(n), np.int64)
    return Way(name, k, back, cells, frozen(np.full(n, Role.PLAIN), np.int64), cost, error, note)


def _replace_cells(way: Way, coordinate: IntArray, role: IntArray) -> Way:
    return Way(**{**vars(way), "coordinate": frozen(coordinate, np.int64), "role": frozen(role, np.int64)})


def _cholesky_cost(p: FloatArray) -> int:
    n = p.shape[0]
    return min(cholesky_cost(p, order) for order in (np.arange(n), np.arange(n)[::-1], minimum_degree(p)))


def _verdict_note(p: sparse.csr_array, energy: Energy, verdict: Verdict) -> list[str]:
    """The certificate in the user's words, for models that capacitors cannot hold directly."""
    if verdict.h_matrix:
        return []
    names = heavy(energy, verdict.vector)
    return [
        f"no scaling makes the model diagonally dominant: the spectral radius of its couplings is {verdict.radius:.3g}, not "
        f"below 1, with most weight on {names}"
    ]


def heavy(energy: Energy, vector: FloatArray, count: int = 4) -> str:
    """The variables that carry most of a certificate, by name."""
    size = np.abs(vector) / np.abs(vector).max()
    top = np.argsort(-np.round(size, 9), kind="stable")[: min(count, vector.size)]
    return ", ".join(f"`{energy.label(int(k))}`" for k in top)


def odd_pair(p: sparse.csr_array, energy: Energy) -> str:
    """The strongest repulsive coupling, by the names of its two variables."""
    _, scaled_p = jacobi(p)
    coo = sparse.coo_array(p)
    repulsive = (coo.row < coo.col) & (coo.data > 0)
    if not repulsive.any():
        return ""
    size = np.asarray(scaled_p[coo.row[repulsive], coo.col[repulsive]]).ravel()
    k = int(np.argmax(size))
    i, j = int(coo.row[repulsive][k]), int(coo.col[repulsive][k])
    return f"`{energy.label(i)}` and `{energy.label(j)}`"


def _unrealisable(
    p: sparse.csr_array, energy: Energy, verdict: Verdict, device: Device, options: Realise, dear: Way | None
) -> SpuccError:
    if dear is not None:
        return SpuccError(
            Diagnostic(
                "E0513",
                f"on `{device.name}` the model takes {dear.multiplications} multiplications of the host for a draw, "
                f"more than the {options.host_multiplications} allowed",
                notes=(f"by the way `{dear.name}`: {dear.note}",),
                help="allow more with `realise{host-multiplications=…}`, or compile for `resistive-64`",
            )
        )
    if live_cells(device) == 0:
        return SpuccError(
            Diagnostic(
                "E0542",
                f"`{device.name}` has no working cell",
                help="remove cells from `dead`, or choose another target",
            )
        )
    if int(p.shape[0]) > live_cells(device):
        return SpuccError(
            Diagnostic(
                "E0512",
                f"`{device.name}` has {live_cells(device)} working cells, and the model's {p.shape[0]} variables need one each",
                help=f"{larger(int(p.shape[0]), device)}, or condition on some variables",
            )
        )
    if not verdict.h_matrix:
        why = (
            f"no scaling makes it diagonally dominant (spectral radius {verdict.radius:.3g}), because of "
            f"{heavy(energy, verdict.vector)}"
        )
    elif not verdict.balanced:
        why = f"repulsive couplings close odd cycles, the strongest between {odd_pair(p, energy)}"
    else:
        why = "the ways that would serve are not allowed"
    return SpuccError(
        Diagnostic(
            "E0512",
            f"the capacitors of `{device.name}` cannot hold this model by an allowed way: {why}",
            help="allow `readout` or `split`, let the model be approximated with `realise{ways=nearest}`, or use `resistive-64`",
        )
    )
