"""`encode`: bits and products of many spins as spins with fields and pair couplings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen
from spucc.device import Device
from spucc.energy import Domain, Energy, Observed, Quadratic, Variable
from spucc.fidelity.spin_law import InSpins
from spucc.passes.spins.spin_terms import Terms
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Job, Stage

AUXILIARY = "auxiliary"
"""Name of the variable whose entries are the auxiliary spins."""


@dataclass(frozen=True)
class Encode(JobPass):
    """Bits b become spins (b = (1 + s)/2), products of three and more spins get auxiliary spins, exactly at
    the model's temperature (`spucc.passes.spins.spin_terms`). Models without spins and bits pass unchanged."""

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

    Coordinates keep their order; auxiliary spins follow. The constant keeps −T log Σ e^{−E/T} the same. Products of four
    and more bits have two exact encodings, as spins or as bits (`spucc.passes.spins.spin_terms`): the one with fewer auxiliary
    spins is taken.
    """
    n, t = energy.n, energy.temperature
    found = InSpins.of(energy)
    terms = _products(energy)
    total = terms.n
    constant = found.constant - t * terms.constant
    linear = np.concatenate([found.linear, np.zeros(total - n)]) - t * terms.fields()
    i, j, value = terms.pairs()
    own = sparse.csr_array(found.quadratic)
    own.resize((total, total))
    added = sparse.coo_array(
        (np.tile(-t * value, 2), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(total, total)
    )
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


def _products(energy: Energy) -> Terms:
    """The terms of degree ≥ 3 as log-weights, in the smaller of the two encodings."""
    is_bit = np.zeros(energy.n, dtype=bool)
    is_bit[energy.domains[2]] = True
    found = _distinct(energy, is_bit)
    best: Terms | None = None
    for least in {99, 4} if any(index.shape[1] >= 4 and kind.all() for kind, index, _ in found) else {99}:
        terms = Terms(energy.n)
        for index, c in _in_spins([f for f in found if not (f[0].all() and f[0].size >= least)]):
            terms.product(index, c)
        for kind, index, c in found:
            if kind.all() and kind.size >= least:
                terms.bits(index, np.ones(index.shape), c)
        if best is None or terms.n < best.n:
            best = terms
    assert best is not None
    return best


Group = tuple[BoolArray, IntArray, FloatArray]
"""Which columns are bits, distinct factors [m, d], log-weights [m]."""


def _distinct(energy: Energy, is_bit: BoolArray) -> list[Group]:
    """The products without repeated factors (b² = b, s² = 1), equal ones merged, in groups of one pattern of bits and spins."""
    groups: dict[tuple[bool, ...], list[tuple[IntArray, FloatArray]]] = {}
    for terms in energy.higher:
        index = np.asarray(terms.index)
        same = np.zeros(index.shape, dtype=bool)
        same[:, 1:] = index[:, 1:] == index[:, :-1]
        bit = is_bit[index]
        keys, which = np.unique(np.concatenate([same, bit], axis=1), axis=0, return_inverse=True)
        for k, key in enumerate(keys):
            at = np.flatnonzero(which.reshape(-1) == k)
            repeated, bits = np.split(key, 2)
            first = np.flatnonzero(~repeated)
            count = np.diff(np.append(first, repeated.size))
            kept = first[bits[first] | (count % 2 == 1)]
            groups.setdefault(tuple(bits[kept].tolist()), []).append(
                (index[at][:, kept], -terms.coefficient[at] / energy.temperature)
            )
    out = []
    for pattern, parts in sorted(groups.items()):
        index, c = _merged(parts)
        out.append((np.array(pattern, dtype=bool), index, c))
    return out


def _in_spins(groups: list[Group]) -> list[tuple[IntArray, FloatArray]]:
    """Products of spins, by rising degree: bits expanded as (1 + s)/2, equals merged."""
    found: dict[int, list[tuple[IntArray, FloatArray]]] = {}
    for kind, index, c in groups:
        bits = np.flatnonzero(kind)
        for code in range(2**bits.size):
            gone = bits[(code >> np.arange(bits.size)) & 1 == 1]
            left = np.delete(index, gone, axis=1)
            found.setdefault(left.shape[1], []).append((left, c / 2**bits.size))
    return [_merged(parts) for _, parts in sorted(found.items())]


def _merged(parts: list[tuple[IntArray, FloatArray]]) -> tuple[IntArray, FloatArray]:
    index, c = (np.concatenate(part) for part in zip(*parts))
    if index.shape[1] == 0:
        return index[:1], np.array([c.sum()])
    rows, back = np.unique(index, axis=0, return_inverse=True)
    total: FloatArray = np.zeros(rows.shape[0])
    np.add.at(total, back.reshape(-1), c)
    return rows, total
