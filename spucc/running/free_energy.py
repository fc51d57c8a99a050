"""`logz` and `logdet` from draws: free-energy differences along a path of programs.

With P the precision and D its diagonal, every program of the path

    P(λ) = D + λ (P − D),   0 ≤ λ ≤ 1

is compiled to the program's own device and run; P(λ) is positive definite and no harder to realise than P. With
u(x) = ½ xᵀ (P − D) x, the derivative of the energy,

    thermodynamic integration   log Z(1) − log Z(0) = −∫ ⟨u⟩_λ dλ
    Jarzynski's equality        Z(1)/Z(0) = ⟨e^{−W}⟩,  W = Σ_k (λ_{k+1} − λ_k) u(x_k),  x_k drawn at λ_k

(Jarzynski 1997; the work is done in jumps, with equilibrium between). The integral is by Gauss–Legendre after
λ = a − b q^s, which moves the poles of the integrand away: those of 1/(1 + λμ), μ > −1 the eigenvalues of P − D with
P scaled to a unit diagonal.
Both come from the same draws at one set of λ; the first is the answer, the second a check of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray
from spucc.energy import Energy, Query, QueryKind
from spucc.running.results import Answer

# Programs of a path, at least; and more for each power of ten of the condition number.
_NODES, _MORE = 6, 2.0


@dataclass(frozen=True)
class LogDet:
    """log det P by both ways, with one standard error each, and the worst errors that the ledgers of the path state."""

    value: float
    error: float
    jarzynski: float
    jarzynski_error: float
    programs: int
    sd_error: float

    @property
    def agree(self) -> bool:
        """Whether the two ways are within four of their errors together."""
        return (
            abs(self.value - self.jarzynski) <= 4 * float(np.hypot(self.error, self.jarzynski_error)) + 1e-12
        )


Draw = Callable[[Energy, int], tuple[FloatArray, float, float]]
"""(energy, number of the program) → draws [m, n], how many effective draws each is worth, the ledger's worst sd error."""


def logdet(precision: sparse.csr_array, draw: Draw) -> LogDet:
    """log det of a symmetric positive definite matrix [n, n] from draws along the path. Raises what compiling does."""
    import spucc

    d = np.asarray(precision.diagonal())
    rest = sparse.csr_array(precision - sparse.diags_array(d))
    rest.eliminate_zeros()
    start = float(np.log(d).sum())
    if not rest.nnz:
        return LogDet(start, 0.0, start, 0.0, 0, 0.0)
    lowest = _lowest(precision, d)
    count = int(_NODES + np.ceil(_MORE * max(-np.log10(lowest), 0.0)))
    nodes, weights = path(lowest, count)
    # Two ends more: the work begins at λ = 0, which is drawn too.
    lambdas = np.concatenate([[0.0], nodes])
    jumps = np.diff(np.concatenate([lambdas, [1.0]]))
    total, variance, worst = 0.0, 0.0, 0.0
    work: FloatArray | None = None
    worth = 1.0
    for k, (at, jump) in enumerate(zip(lambdas, jumps)):
        bent = sparse.csr_array(sparse.diags_array(d) + at * rest)
        x, share, sd_error = draw(spucc.gaussian(0.0, precision=bent), k)
        u = 0.5 * np.einsum("ki,ki->k", x, np.asarray((rest @ x.T).T))
        if k:
            total += weights[k - 1] * float(u.mean())
            variance += weights[k - 1] ** 2 * float(u.var(ddof=1)) / (u.size * share)
        work = jump * u if work is None else work + jump * u
        worst, worth = max(worst, sd_error), min(worth, share)
    assert work is not None
    low = float(work.min())
    e = np.exp(-(work - low))
    free = -low + float(np.log(e.mean()))
    free_error = float(e.std(ddof=1) / e.mean() / np.sqrt(e.size * worth))
    # log Z = −½ log det + const, so that log det grows by 2 ∫⟨u⟩.
    return LogDet(
        start + 2 * total, 2 * float(np.sqrt(variance)), start - 2 * free, 2 * free_error, lambdas.size, worst
    )


def path(lowest: float, count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of ∫₀¹ f dλ for f with a pole at λ = 1/(1 − lowest), 0 < lowest ≤ 1: Gauss–Legendre in s with
    1 + δ − λ = δ^s (1 + δ)^{1−s}, δ the distance of the pole from 1."""
    t, w = np.polynomial.legendre.leggauss(count)
    s, w = 0.5 * (t + 1), 0.5 * w
    delta = lowest / max(1 - lowest, 1e-300)
    if delta > 1:
        return s, w
    ratio = np.log((1 + delta) / delta)
    gap = delta**s * (1 + delta) ** (1 - s)
    return 1 + delta - gap, w * gap * ratio


def _lowest(precision: sparse.csr_array, d: FloatArray) -> float:
    """The least eigenvalue of the matrix with unit diagonal; sets how the path is cut, not the answer."""
    scale = sparse.diags_array(1 / np.sqrt(d))
    unit = sparse.csr_array(scale @ precision @ scale)
    n = int(d.size)
    if n <= 500:
        low = float(np.linalg.eigvalsh(unit.toarray())[0])
    else:
        low = float(
            sparse_linalg.eigsh(
                sparse.csc_array(unit), k=1, sigma=0.0, which="LM", v0=np.ones(n), return_eigenvectors=False
            )[0]
        )
    return min(max(low, 1e-12), 1.0)


def answer(query: Query, model: Energy, draw: Draw) -> Answer:
    """The answer to a `logdet` or `logz` query.

    log Z = −c/T + ½ n log 2π − ½ log det P + ½ hᵀ⟨x⟩ with P = Q/T, h = −linear/T, over the model's own variables; ⟨x⟩ is
    from draws too.
    """
    if query.kind is QueryKind.LOGDET:
        assert query.matrix is not None
        found = logdet(sparse.csr_array(query.matrix), draw)
        return Answer(
            query.name, query.kind, np.array(found.value), np.array(found.error), note=_note(found, 1.0, 0.0)
        )
    own = np.concatenate(
        [np.arange(v.start, v.stop) for v in model.variables if not v.stands_for] or [np.zeros(0, int)]
    )
    own = own.astype(np.int64)
    t = model.temperature
    precision = sparse.csr_array(model.quadratic.tocsr()[own][:, own] / t)
    h = -np.asarray(model.linear)[own] / t
    found = logdet(precision, draw)
    lift, lift_variance = 0.0, 0.0
    if h.any():
        import spucc

        mean = np.asarray(sparse_linalg.spsolve(sparse.csc_array(precision), h)).reshape(-1)
        x, share, _ = draw(spucc.gaussian(mean, precision=precision), found.programs)
        along = x @ h
        lift, lift_variance = (
            0.5 * float(along.mean()),
            0.25 * float(along.var(ddof=1)) / (along.size * share),
        )
    rest = -model.constant / t + 0.5 * own.size * float(np.log(2 * np.pi)) + lift
    value = rest - 0.5 * found.value
    error = float(np.sqrt(0.25 * found.error**2 + lift_variance))
    return Answer(query.name, query.kind, np.array(value), np.array(error), note=_note(found, -0.5, rest))


def spin_answer(query: Query, model: Energy, seed: int) -> Answer:
    """The answer to `logz` of a model of spins and bits: log Σ e^{−E/T}, exact where the graph is narrow (any 20 spins are),
    else by annealed importance sampling. Products of many spins are first made pairs, which keeps the sum the same."""
    from spucc.passes.spins.spin_encode import encode
    from spucc.targets.spins.queries import log_partition

    found = log_partition(encode(model) if model.higher else model, seed)
    how = "exact, by elimination" if found.error == 0 else found.method
    return Answer(
        query.name,
        query.kind,
        np.array(found.value),
        np.array(found.error),
        note=f"of the model as written, {how}",
    )


def _note(found: LogDet, factor: float, shift: float) -> str:
    other = factor * found.jarzynski + shift
    verdict = "agrees" if found.agree else "DISAGREES: take more draws"
    return (
        f"{found.programs} programs from uncoupled to coupled, sd within {found.sd_error:.2g} by their ledgers; "
        f"Jarzynski's equality gives {other:.6g} ± {abs(factor) * found.jarzynski_error:.2g}, which {verdict}"
    )
