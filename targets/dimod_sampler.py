"""dimod on both sides (extra `dimod`): binary quadratic models in and out, spucc's annealer as a `dimod.Sampler`, and any
`dimod.Sampler` as a backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dimod
import numpy as np
from scipy import sparse

from spucc.arrays import frozen
from spucc.backend import Chunk, Progress, Request, members_of, silent
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain, Energy, Quadratic
from spucc.exchange.spin_files import named
from spucc.stages import Job, edge_list
from spucc.targets.pbit import cells, configuration_of, seed_of, through
from spucc.targets.spins.annealing import cooling
from spucc.targets.spins.chains import Chains
from spucc.targets.spins.model import SpinModel, spin_model


def from_bqm(bqm: Any, temperature: float = 1.0) -> Energy:
    """A `dimod.BinaryQuadraticModel` as an energy over spins or bits, its variables in the model's order, by their labels
    where these are names, else `x[n]`; offset included. Raises E0550 for coefficients that are not finite."""
    n = bqm.num_variables
    linear, (i, j, values), offset = bqm.to_numpy_vectors(variable_order=list(bqm.variables))[:3]
    if not (np.isfinite(linear).all() and np.isfinite(values).all()):
        fail("E0550", "a coefficient of the model is infinite or undefined", help="give finite ones")
    rows, cols = np.concatenate([i, j]), np.concatenate([j, i])
    q = sparse.csr_array(sparse.coo_array((np.tile(values, 2), (rows, cols)), shape=(n, n), dtype=np.float64))
    domain = Domain.SPIN if bqm.vartype is dimod.SPIN else Domain.BIT
    return Energy(
        named(list(bqm.variables), domain),
        frozen(linear),
        Quadratic(q),
        float(offset),
        temperature=temperature,
    )


def to_bqm(energy: Energy) -> Any:
    """An energy over spins or over bits as a `dimod.BinaryQuadraticModel`; the variables go by the user's
    names. Raises E0622 for anything else."""
    real, spin, bit = energy.domains
    if real.size or energy.higher or (spin.size and bit.size):
        fail(
            "E0622",
            "a binary quadratic model has spins only or bits only, in pairs at most",
            help="run `encode` first",
        )
    vartype = dimod.BINARY if bit.size else dimod.SPIN
    names = list(energy.labels())
    q = energy.quadratic.tocsr()
    upper = sparse.coo_array(sparse.triu(q, k=1))
    linear, offset, half = np.asarray(energy.linear).copy(), energy.constant, 0.5 * q.diagonal()
    if bit.size:
        linear += half
    else:
        offset += float(half.sum())
    pairs = {
        (names[i], names[j]): v
        for i, j, v in zip(upper.row.tolist(), upper.col.tolist(), upper.data.tolist())
    }
    # linear terms first, so that dimod keeps the order of the variables
    bqm = dimod.BinaryQuadraticModel(dict(zip(names, linear.tolist())), {}, offset, vartype)
    bqm.add_quadratic_from(pairs)
    return bqm


class SpuccSampler(dimod.Sampler):  # type: ignore[misc]
    """Simulated annealing in compiled lanes. `sample(bqm, num_reads, num_sweeps, beta_range, seed)`."""

    parameters: ClassVar[dict[str, Any]] = {"num_reads": [], "num_sweeps": [], "beta_range": [], "seed": []}
    properties: ClassVar[dict[str, Any]] = {}

    def sample(
        self,
        bqm: Any,
        num_reads: int = 64,
        num_sweeps: int = 1000,
        beta_range: tuple[float, float] | None = None,
        seed: int = 0,
        **unknown: Any,
    ) -> Any:
        """A `dimod.SampleSet` of `num_reads` annealed states. With `beta_range` the inverse temperature goes
        geometrically from its first to its second number; two equal numbers sample at that temperature."""
        self.remove_unknown_kwargs(**unknown)
        if num_reads < 1 or num_sweeps < 1:
            raise ValueError("`num_reads` and `num_sweeps` are at least 1")
        names = list(bqm.variables)
        spins = bqm.change_vartype(dimod.SPIN, inplace=False)
        model = self._model(spins)
        betas = cooling(model, num_sweeps) if beta_range is None else np.geomspace(*beta_range, num_sweeps)
        chains = Chains(
            model,
            num_reads,
            (abs(seed), int(seed < 0)),
            method="metropolis" if beta_range is None else "heat-bath",
        )
        for beta in betas:
            chains.beta = float(beta)
            chains.sweep(1)
        if beta_range is None:
            chains.descend()
        found = dimod.SampleSet.from_samples_bqm((chains.spins(), names), spins)
        return found.change_vartype(bqm.vartype, inplace=False)

    def _model(self, bqm: Any) -> SpinModel:
        energy = from_bqm(bqm)
        return spin_model(sparse.csr_array(-energy.quadratic.tocsr()), -np.asarray(energy.linear))


@dataclass(frozen=True)
class SamplerBackend:
    """Programs of p-bits on any `dimod.Sampler`: each member's cells are a model with E/T as its energy, so that a sampler
    at inverse temperature 1 draws the program's law. `options` go to `sampler.sample`, and `num_reads` beside them."""

    sampler: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = "dimod"

    def independent(self, job: Job, device: Device) -> bool:
        """Nothing is known of it."""
        return False

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """All draws in one chunk; the seed goes to samplers that take a `seed`. Raises E0726 and E0728 for jobs that are
        not of spins, and E0728 for a sampler that does not give as many reads as it was asked for."""
        configuration = configuration_of(job, Domain.SPIN)
        codes, total = configuration.codes, request.first + request.draws
        who = members_of(codes.weight, 0, total)
        out: Any = np.empty((request.chains, total, codes.readback[0].n_out))
        for m in range(codes.members):
            at = np.flatnonzero(who == m)
            reads = request.chains * at.size
            y = self._reads(cells(codes, m, device), reads, (*seed_of(request.seed, job.name), m))
            out[:, at] = codes.readback[m].draws(y).reshape(request.chains, at.size, -1)
        out = through(configuration, out)[:, request.first :]
        progress(job.name, 1.0)
        yield Chunk(request.first, out.astype(request.dtype, copy=False))

    def _reads(self, model: SpinModel, reads: int, seed: tuple[int, ...]) -> Any:
        """Draws [reads, n], ±1."""
        pairs, values = edge_list(model.couplings)
        bqm = dimod.BinaryQuadraticModel(dict(enumerate((-model.field).tolist())), {}, 0.0, dimod.SPIN)
        bqm.add_quadratic_from((i, j, -v) for (i, j), v in zip(pairs.tolist(), values.tolist()))
        options = {"num_reads": reads, **self.options}
        if "seed" in self.sampler.parameters and "seed" not in options:
            options["seed"] = int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1)
        found = self.sampler.sample(bqm, **options).change_vartype(dimod.SPIN, inplace=False)
        order = [found.variables.index(k) for k in range(model.n)]
        states = np.repeat(found.record.sample[:, order], found.record.num_occurrences, axis=0)
        if states.shape[0] != reads:
            fail(
                "E0728",
                f"the sampler gave {states.shape[0]} states where {reads} were asked for",
                help="choose a sampler that takes `num_reads`; one that lists states does not draw them",
            )
        return states.astype(np.float64)
