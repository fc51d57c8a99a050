"""thrml on the other side (extra `thrml`): compiled spins as its programs, and thrml as a backend.

thrml's `IsingEBM` has the energy −β(Σ b s + Σ J s s), each pair once (thrml.models.ising): b = h, J as it is, β = 1. A
block is a colour of the cells' graph, so that a sweep of blocks is the sweep of a p-bit array (physics §3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spucc.backend import Chunk, Progress, Request, silent
from spucc.device import Device
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.stages import Job, Program, edge_list
from spucc.targets.pbit import cells, configuration_of, read, seed_of
from spucc.targets.spins.model import SpinModel


@dataclass(frozen=True, eq=False)
class ThrmlProgram:
    """A spin system in thrml: `nodes[k]` is spin k, `free` the blocks that are swept in turn and `held` those that keep
    their values, `ebm` an `IsingEBM` and `program` an `IsingSamplingProgram`; `order` [n] lists the spins block by block.
    """

    nodes: tuple[Any, ...]
    ebm: Any
    free: tuple[Any, ...]
    held: tuple[Any, ...]
    order: NDArray[np.int64]
    program: Any


def thrml_program(model: SpinModel) -> ThrmlProgram:
    """A spin system of at least one spin as a thrml program. Raises E0729 without thrml."""
    try:
        import jax.numpy as jnp
        from thrml.block_management import Block
        from thrml.models.ising import IsingEBM, IsingSamplingProgram
        from thrml.pgm import SpinNode
    except ImportError:
        fail("E0729", "the backend `thrml` needs the package thrml", help='pip install "spucc[thrml]"')
    nodes = tuple(SpinNode() for _ in range(model.n))
    pairs, values = edge_list(model.couplings)
    if not pairs.size:
        # thrml takes no model without couplings: one of strength 0
        pairs, values = np.array([[0, model.n - 1]]), np.zeros(1)
    ebm = IsingEBM(
        list(nodes),
        [(nodes[i], nodes[j]) for i, j in pairs.tolist()],
        jnp.asarray(model.field, dtype=jnp.float32),
        jnp.asarray(values, dtype=jnp.float32),
        jnp.asarray(1.0, dtype=jnp.float32),
    )
    colour = np.where(model.clamped, -1, model.colour)
    groups = [np.flatnonzero(colour == c) for c in np.unique(colour)]
    blocks = [Block([nodes[k] for k in group.tolist()]) for group in groups]
    held = int(model.clamped.any())
    free, still = blocks[held:], blocks[:held]
    program = IsingSamplingProgram(ebm, list(free), still)
    order = np.concatenate([*groups[held:], *groups[:held]])
    return ThrmlProgram(nodes, ebm, tuple(free), tuple(still), order, program)


def export(program: Program) -> dict[str, tuple[ThrmlProgram, ...]]:
    """What a compiled program of spins is in thrml: for each job its members, node k standing for cell k of the job's
    codes, whose read-back `spucc.targets.pbit.through` gives the user's coordinates. Raises E0726, E0728 and E0729."""
    found = {}
    for job in program.jobs:
        codes = configuration_of(job, Domain.SPIN).codes
        found[job.name] = tuple(
            thrml_program(cells(codes, m, program.device)) for m in range(codes.members if codes.n else 0)
        )
    return found


class ThrmlRun:
    """Chains of a thrml program as `spucc.targets.pbit.read` steps them; sweep t of chain c has a key of its own."""

    def __init__(self, model: SpinModel, chains: int, seed: tuple[int, ...]) -> None:
        self._model, self._done = model, 0
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((*seed, 0x7A))))
        self._spins: NDArray[np.bool_] = rng.random((chains, model.n)) < 0.5
        self._key = np.random.SeedSequence((*seed, 0x7B)).generate_state(2, np.uint32)

    @cached_property
    def _sweeps(self) -> Any:
        """(spins in the blocks' order [chains, n], first sweep, how many) → spins, compiled once."""
        import jax
        from thrml.block_sampling import sample_blocks

        built = thrml_program(self._model)
        ends = np.cumsum([len(b) for b in (*built.free, *built.held)])[:-1]
        count = len(built.free)
        base = jax.random.wrap_key_data(jax.numpy.asarray(self._key))

        def one(state: Any, chain: Any, first: Any, sweeps: Any) -> Any:
            own = jax.random.fold_in(base, chain)

            def sweep(t: Any, s: Any) -> Any:
                parts = jax.numpy.split(s, ends)
                key = jax.random.fold_in(own, first + t)
                new, _ = sample_blocks(key, parts[:count], parts[count:], built.program, [None] * count)
                return jax.numpy.concatenate([*new, *parts[count:]])

            return jax.lax.fori_loop(0, sweeps, sweep, state)

        run = jax.jit(jax.vmap(one, in_axes=(0, 0, None, None)))
        return lambda s, first, sweeps: run(s, np.arange(s.shape[0]), first, sweeps), built.order

    def step(self, count: int) -> None:
        """`count` sweeps of every chain."""
        if count and self._spins.size:
            run, order = self._sweeps
            # a copy, since what jax hands out may not be written to
            new = np.array(run(self._spins[:, order], self._done, count))
            self._spins[:, order] = new
        self._done += count

    settle = step

    def values(self) -> NDArray[Any]:
        """The spins [chains, n], ±1."""
        return 2.0 * self._spins - 1

    @property
    def parts(self) -> dict[str, NDArray[Any]]:
        """All that a resumed run needs."""
        return {"spins": self._spins.copy(), "done": np.array([self._done])}

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        """Go on from `parts`."""
        self._spins[:], self._done = parts["spins"], int(parts["done"][0])


@dataclass(frozen=True)
class Thrml:
    """Programs of p-bits by thrml's block Gibbs sampling, a batch of chains, in single precision."""

    name: str = "thrml"

    def independent(self, job: Job, device: Device) -> bool:
        """Draws follow one another."""
        return False

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend`. Raises E0726 and E0728 for jobs that are not of spins, E0729 without thrml."""
        configuration = configuration_of(job, Domain.SPIN)
        runs: list[Any] = [
            ThrmlRun(
                cells(configuration.codes, m, device),
                request.chains,
                (*seed_of(request.seed, job.name), m),
            )
            for m in range(configuration.codes.members)
        ]
        yield from read(job, configuration, request, progress, runs)
