"""`argmin` and `logz` of models over spins and bits, from the model's energy itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray
from spucc.diagnostics import fail
from spucc.energy import Energy
from spucc.fidelity import spin_law
from spucc.stages import edge_list
from spucc.targets.spins.annealing import anneal
from spucc.targets.spins.free_energy import annealed_log_z
from spucc.targets.spins.model import SpinModel, spin_model
from spucc.targets.spins.products import Products

_TABLE = 2**20


@dataclass(frozen=True, eq=False)
class Best:
    """The best state found [n] in the variables' own values, its energy, a proved lower bound of every
    energy, and how that was proved (`exact`: the state is a ground state)."""

    state: FloatArray
    energy: float
    bound: float
    proof: str

    @property
    def gap(self) -> float:
        """How far the state may be above the ground state at most."""
        return self.energy - self.bound


@dataclass(frozen=True)
class LogPartition:
    """log Σ e^{−E/T}, its standard error (0 where exact), and the method."""

    value: float
    error: float
    method: str


def best_state(
    energy: Energy, seed: int = 0, *, chains: int | None = None, sweeps: int = 1000, threads: int = 1
) -> Best:
    """Annealing, recombination and tabu search (products of more than two variables: annealing alone); the bound
    by exact elimination where the graph is narrow, else from eigenvalues, and of higher products one by one.
    Raises E0552 for real variables and E0553 for a temperature that is not above 0."""
    if energy.higher:
        return _best_of_products(energy, seed)
    model, constant, own = _model(energy)
    found = anneal(model, (abs(seed), int(seed < 0), 0xA76), chains=chains, sweeps=sweeps, threads=threads)
    spins = found.spins.astype(np.float64)
    t = energy.temperature
    exact = _eliminated(model, np.maximum)
    if exact is not None:
        bound, proof = -exact, "exact"
        if found.energy > bound + 1e-9 * max(1.0, abs(bound)):
            proof = "elimination"
    else:
        bound, proof = lower_bound(model)
    state = np.where(own, (1 + spins) / 2, spins)
    value = float(energy.at(state))
    return Best(state, value, value if proof == "exact" else min(t * bound + constant, value), proof)


def log_partition(
    energy: Energy, seed: int = 0, *, chains: int = 256, steps: int = 1000, threads: int = 1
) -> LogPartition:
    """Exact by eliminating one spin after another where the graph is narrow (any model of 20 spins is), else
    annealed importance sampling with its error. Raises as `best_state`."""
    model, constant, _ = _model(energy)
    shift = -constant / energy.temperature
    exact = _eliminated(model, np.logaddexp)
    if exact is not None:
        return LogPartition(exact + shift, 0.0, "elimination")
    got = annealed_log_z(
        model, (abs(seed), int(seed < 0), 0x106), chains=chains, steps=steps, threads=threads
    )
    return LogPartition(got.value + shift, got.error, "annealed importance sampling")


def _best_of_products(energy: Energy, seed: int) -> Best:
    """As `best_state`, of an energy with higher products."""
    model, constant, _ = _model(replace(energy, higher=()))
    products = Products.of(energy)
    state = products.search(seed)
    value = float(energy.at(state))
    exact, t = _table_of(products, energy.temperature), energy.temperature
    if exact is not None:
        bound = energy.constant - t * exact
        near = value <= bound + 1e-9 * max(1.0, abs(bound))
        return Best(state, value, value if near else bound, "exact" if near else "elimination")
    below, proof = lower_bound(model)
    higher = slice(products.coefficient.size - sum(h.coefficient.size for h in energy.higher), None)
    bound = constant + t * below + products.least(higher)
    return Best(state, value, min(bound, value), f"{proof}, and each higher product at its least")


def _table_of(products: Products, temperature: float) -> float | None:
    """The largest log-weight by elimination, as `_eliminated`."""
    n = products.low.size
    if n > 400 or (products.coefficient.size > 6 * n and n > spin_law.EXACT_LIMIT):
        return None
    table = spin_law.eliminate(products.factors(temperature), (), _TABLE, np.maximum)
    return None if table is None else float(table)


def _model(energy: Energy) -> tuple[SpinModel, float, FloatArray]:
    """The spin system of E/T, the constant of E in spins, and which entries are bits."""
    real, _, _ = energy.domains
    if real.size:
        fail("E0552", f"`{energy.label(int(real[0]))}` is real, and only spins and bits can be searched")
    if energy.higher:
        fail(
            "E0558",
            "the energy has products of more than two variables",
            help="run the pass `encode` first; it turns them into pair couplings with auxiliary spins",
        )
    if not 0 < energy.temperature < np.inf:
        fail("E0553", f"spins cannot be at the temperature {energy.temperature:g}", help="give one above 0")
    found, t = spin_law.InSpins.of(energy), energy.temperature
    model = spin_model(sparse.csr_array(-found.quadratic / t), -found.linear / t)
    return model, found.constant, np.asarray(found.offset > 0)


def _eliminated(model: SpinModel, combine: object) -> float | None:
    """log Z, or the largest log-weight, by elimination; None where the graph is too wide for it to be
    quick."""
    if model.n > 400 or (model.couplings.nnz > 6 * model.n and model.n > spin_law.EXACT_LIMIT):
        return None
    pairs, values = edge_list(model.couplings)
    factors = spin_law.factors_of(pairs, values, model.field)
    table = spin_law.eliminate(factors, (), _TABLE, combine)  # type: ignore[arg-type]
    return None if table is None else float(table)


def lower_bound(model: SpinModel, rounds: int = 60) -> tuple[float, str]:
    """A number below −½ sᵀJs − h·s for every s, and where it comes from.

    Either −Σ|J_ij| − Σ|h_i|, or the eigenvalue bound: with h as couplings to one more spin, −½ sᵀJs = sᵀ(M +
    diag u)s − Σu ≥ (n + 1) λ_min(M + diag u) − Σu for every u (Delorme and Poljak 1993), u improved by
    subgradients.
    """
    simple = -0.5 * float(np.abs(model.couplings.data).sum()) - float(np.abs(model.field).sum())
    if model.n > 3000 or model.n == 0:
        return simple, "sum of sizes"
    h = sparse.csr_array(model.field[:, None])
    m = sparse.csr_array(-0.5 * sparse.block_array([[model.couplings, h], [h.T, None]]))
    best = max(simple, _spectral(m, rounds))
    return best, "eigenvalues" if best > simple else "sum of sizes"


def _spectral(m: sparse.csr_array, rounds: int) -> float:
    n = int(m.shape[0])
    u, best = np.zeros(n), -np.inf
    size = float(np.abs(m.data).max(initial=0.0)) or 1.0
    start: FloatArray = np.ones(n)
    for k in range(rounds):
        value, vector, slack = _least_eigenvalue(sparse.csr_array(m + sparse.diags_array(u)), start)
        best = max(best, n * (value - slack) - float(u.sum()))
        slope = n * vector**2 - 1
        start = vector
        u = u + size * slope / (np.abs(slope).max() + 1e-12) / (1 + k) ** 0.75
    return best


def _least_eigenvalue(m: sparse.csr_array, start: FloatArray) -> tuple[float, FloatArray, float]:
    """(value, vector, bound of the error). Dense up to 600; beyond, Lanczos with the residual as the
    error."""
    if m.shape[0] <= 600:
        values, vectors = np.linalg.eigh(m.toarray())
        return float(values[0]), vectors[:, 0], 1e-12 * float(np.abs(values).max())
    from scipy.sparse.linalg import eigsh

    values, vectors = eigsh(m, k=1, which="SA", v0=start, tol=1e-5)
    vector = vectors[:, 0]
    residual = float(np.linalg.norm(m @ vector - values[0] * vector))
    return float(values[0]), vector, residual
