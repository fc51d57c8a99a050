"""`encode`: bits and products of many spins as spins with fields and pair couplings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.device import Device
from spucc.energy import Domain, Energy, Observed, Quadratic, Variable
from spucc.passes.spin_terms import Terms
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Stage

AUXILIARY = "auxiliary"
"""Name of the variable whose entries are the auxiliary spins."""


@dataclass(frozen=True)
class Encode(JobPass):
    """Bits b become spins (b = (1 + s)/2), products of three and more spins get auxiliary spins, exactly at
    the model's temperature (`spucc.passes.spin_terms`). Models without spins and bits pass unchanged."""

    name: ClassVar[str] = "encode"
    takes: ClassVar[Stage] = Stage.JOBS
    gives: ClassVar[Stage] = Stage.JOBS
    why: ClassVar[str] = "p-bits have fields and pair couplings only"

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        energy = job.value
        assert isinstance(energy, Energy)
        real, _, bit = energy.domains
        if real.size or (not bit.size and not energy.higher):
            return Outcome(energy)
        encoded = encode(energy)
        extra = encoded.n - energy.n
        scale, offset = np.ones(energy.n), np.zeros(energy.n)
        scale[bit], offset[bit] = 0.5, 0.5
        n = energy.n
        matrix = sparse.csr_array((scale, np.arange(n), np.arange(n + 1)), shape=(n, encoded.n))
        found = f"{bit.size} bits became spins" if bit.size else ""
        found += f"{', ' if found and extra else ''}{extra} auxiliary spins carry products" if extra else ""
        return Outcome(encoded, Affine(matrix, frozen(offset)), (found,))


def encode(energy: Energy) -> Energy:
    """An energy over spins with fields and pair couplings whose marginal over the first `energy.n` spins is
    `energy`'s law.

    Coordinates keep their order; auxiliary spins follow. The constant keeps −T log Σ e^{−E/T} the same.
    """
    n, t = energy.n, energy.temperature
    bits = energy.domains[2]
    scale, offset = np.ones(n), np.zeros(n)
    scale[bits], offset[bits] = 0.5, 0.5
    q = energy.quadratic.tocsr()
    d = sparse.diags_array(scale)
    own = sparse.csr_array(d @ q @ d)
    linear = scale * (energy.linear + q @ offset)
    constant = (
        energy.constant + energy.linear @ offset + 0.5 * offset @ (q @ offset) + 0.5 * own.diagonal().sum()
    )
    own = sparse.csr_array(own - sparse.diags_array(own.diagonal()))
    products = _spin_products(energy, scale, offset)
    terms = Terms(n)
    constant += products.pop((), 0.0)
    exact_before = 0.0
    for spins, coefficient in sorted(products.items()):
        before = terms.n
        terms.product(spins, -coefficient / t)
        if terms.n > before:
            exact_before += _shift(len(spins), -coefficient / t)
    constant += t * exact_before
    total = terms.n
    linear = np.concatenate([linear, np.zeros(total - n)])
    for i, value in terms.fields.items():
        linear[i] -= t * value
    if terms.pairs:
        i, j = np.array(list(terms.pairs)).T
        data = -t * np.array(list(terms.pairs.values()))
        added = sparse.coo_array(
            (np.tile(data, 2), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(total, total)
        )
        own = sparse.csr_array(own)
        own.resize((total, total))
        own = sparse.csr_array(own + added)
    variables = tuple(replace(v, domain=Domain.SPIN) for v in energy.variables)
    if total > n:
        variables = (*variables, Variable(AUXILIARY, (total - n,), Domain.SPIN, n))
    own.eliminate_zeros()
    own.sort_indices()
    return replace(
        energy,
        variables=variables,
        linear=frozen(linear),
        quadratic=Quadratic(sparse.csr_array(own)),
        constant=float(constant),
        higher=(),
        observed=Observed.none(),
        queries=(),
    )


def _spin_products(energy: Energy, scale: FloatArray, offset: FloatArray) -> dict[tuple[int, ...], float]:
    """Terms of degree ≥ 3 as Σ coefficient Π s over sets of distinct spins: bits expanded, squares gone,
    equals merged."""
    is_bit = offset > 0
    found: dict[tuple[int, ...], float] = {}
    for terms in energy.higher:
        for row, coefficient in zip(terms.index.tolist(), terms.coefficient.tolist()):
            # b² = b, s² = 1
            spins = {k for k in set(row) if not is_bit[k] and row.count(k) % 2}
            sums: dict[frozenset[int], float] = {frozenset(spins): coefficient}
            for k in sorted({k for k in row if is_bit[k]}):
                grown: dict[frozenset[int], float] = {}
                for key, value in sums.items():
                    grown[key] = grown.get(key, 0.0) + offset[k] * value
                    with_k = key | {k}
                    grown[with_k] = grown.get(with_k, 0.0) + scale[k] * value
                sums = grown
            for key, value in sums.items():
                name = tuple(sorted(key))
                found[name] = found.get(name, 0.0) + value
    return {key: value for key, value in found.items() if value != 0.0}


@lru_cache(maxsize=4096)
def _shift(degree: int, c: float) -> float:
    """log of the factor by which summing over the auxiliaries of one product multiplies every weight."""
    fresh = Terms(degree)
    fresh.product(tuple(range(degree)), c)
    s = np.ones(fresh.n)
    auxiliary = fresh.n - degree
    total = -np.inf
    for code in range(2**auxiliary):
        s[degree:] = 2.0 * ((code >> np.arange(auxiliary)) & 1) - 1
        weight = sum(v * s[i] for i, v in fresh.fields.items()) + sum(
            v * s[i] * s[j] for (i, j), v in fresh.pairs.items()
        )
        total = float(np.logaddexp(total, weight))
    return total - c
