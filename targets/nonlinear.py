"""The backend of nonlinear Langevin units: equilibrium by Metropolis-adjusted steps, dynamics by steps of a
stated bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spucc.arrays import FloatArray, frozen
from spucc.backend import Chunk, Mode, Progress, Request, silent
from spucc.device import Bank, Device, Family
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.stages import Job, Quantized
from spucc.targets.langevin.potential import Potential
from spucc.targets.langevin.step_choice import Step, choose_step, stiffness
from spucc.targets.langevin.walkers import Walkers
from spucc.targets.pbit import configuration_of, device_values, read, seed_of

if TYPE_CHECKING:
    from spucc.targets.langevin.jax_walkers import JaxWalkers


@dataclass(frozen=True)
class Langevin:
    """`independent` runs sample the equilibrium without error of the step (its length is tuned while
    settling, then fixed); `trajectory` runs follow the overdamped dynamics of the units with the step that
    keeps the bias of ⟨x²⟩ below `tolerance`, and `interval` counts such steps. With `jax` the steps are JAX's, in single
    precision, where it finds an accelerator."""

    tolerance: float = 1e-3
    threads: int = 1
    name: str = "langevin"
    jax: bool = False

    def independent(self, job: Job, device: Device) -> bool:
        """No: these draws follow one another."""
        return False

    def length(self, job: Job, device: Device) -> float:
        """The step of `onward`, tuned on the job's units whatever the seed."""
        codes = configuration_of(job, Domain.REAL).codes
        kt, mobility = float(codes.scale[0]), device.spec.circuit.mobility
        key = (*seed_of(0, job.name), 0, 1)
        return tuned(Walkers(units(codes, 0, device), 16, key, temperature=kt, mobility=mobility))

    def onward(self, job: Job, device: Device, start: FloatArray, length: float, seed: int) -> FloatArray:
        """A draw [n] that goes on from `start` [n] by the schedule's interval of adjusted steps of `length`, which keep the law
        of the job's units for any length."""
        from spucc.targets.langevin.paths import back_of
        from spucc.targets.paths import cells_at

        configuration = configuration_of(job, Domain.REAL)
        codes, back = configuration.codes, back_of(configuration)
        walkers = Walkers(
            units(codes, 0, device),
            1,
            (*seed_of(seed, job.name), 0),
            temperature=float(codes.scale[0]),
            mobility=device.spec.circuit.mobility,
            start=cells_at(back, start),
        )
        walkers.adjusted(length, max(int(configuration.schedule.interval), 1))
        return np.asarray(back.draws(walkers.positions())[0])

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend`. Raises E0726 for a job that is not compiled to the end, E0728 for one
        of another kind of cells, E0554 for a trajectory that escapes, E0729 without the package that it needs."""
        configuration = configuration_of(job, Domain.REAL)
        codes = configuration.codes
        if codes.family is not Family.LANGEVIN:
            fail(
                "E0728",
                f"job `{job.name}` is compiled for {codes.family} cells, which are no Langevin units",
                help="leave `--backend` out: the simulator of the device's family runs it",
            )
        runs: list[Any] = []
        for m in range(codes.members):
            key = (*seed_of(request.seed, job.name), m)
            potential = units(codes, m, device)
            kt, mobility = float(codes.scale[m]), device.spec.circuit.mobility
            walkers = self._walkers(potential, request.chains, key, kt, mobility)
            if request.mode is Mode.INDEPENDENT:
                # tuned on walkers of its own, so that it is the same for any number of chains and any first
                # draw
                pilot = self._walkers(potential, 16, (*key, 1), kt, mobility)
                runs.append(Adjusted(walkers, tuned(pilot)))
            else:
                step = choose_step(potential, kt, np.full(potential.n, mobility), self.tolerance)
                runs.append(Dynamics(walkers, step))
        yield from read(job, configuration, request, progress, runs)

    def _walkers(
        self, potential: Potential, count: int, key: tuple[int, ...], kt: float, mobility: float
    ) -> Walkers | JaxWalkers:
        if not self.jax:
            return Walkers(potential, count, key, temperature=kt, mobility=mobility, threads=self.threads)
        try:
            from spucc.targets.langevin.jax_walkers import JaxWalkers
        except ImportError:
            fail("E0729", "the backend `langevin-jax` needs the package jax", help='pip install "spucc[jax]"')
        return JaxWalkers(potential, count, key, temperature=kt, mobility=mobility)


def units(codes: Quantized, m: int, device: Device) -> Potential:
    """The potential of member m's codes, in the device's units; its temperature is the member's scale."""
    spec = device.spec
    coupling = device_values(codes.coupling[m], codes, device)
    nothing = Bank(signed=True)
    i, j = codes.edges.T
    d = np.arange(codes.n)
    rows, cols = np.concatenate([i, j, d]), np.concatenate([j, i, d])
    data = np.concatenate([-coupling, -coupling, spec.ground.decode(codes.ground[m])])
    quadratic = sparse.csr_array(sparse.coo_array((data, (rows, cols)), shape=(codes.n, codes.n)))
    bias = (spec.bias or nothing).decode(codes.bias[m])
    quartic = (
        np.zeros(codes.n) if codes.quartic is None else (spec.quartic or nothing).decode(codes.quartic[m])
    )
    return Potential(frozen(-bias), quadratic, frozen(quartic))


def tuned(pilot: Walkers | JaxWalkers, goal: float = 0.6) -> float:
    """A step length that is accepted about six times in ten: 40 rounds of 10 steps on `pilot`, with a falling
    gain."""
    mobility = float(pilot.mobility[0]) if pilot.potential.n else 1.0
    h = 0.5 / (mobility * stiffness(pilot.potential, pilot.temperature))
    for k in range(40):
        share = float(pilot.adjusted(h, 10).mean())
        h *= float(np.exp(2.0 * (share - goal) / (1 + k) ** 0.6))
    return h


class Adjusted:
    """Walkers as `read` steps them, in equilibrium."""

    def __init__(self, walkers: Walkers | JaxWalkers, length: float) -> None:
        self._walkers, self._length = walkers, length

    def settle(self, count: int) -> None:
        self.step(count)

    def step(self, count: int) -> None:
        self._walkers.adjusted(self._length, count)

    def values(self) -> NDArray[Any]:
        return self._walkers.positions()

    @property
    def parts(self) -> dict[str, NDArray[Any]]:
        return self._walkers.export()

    def restore(self, parts: dict[str, NDArray[Any]]) -> None:
        self._walkers.restore(parts)


class Dynamics(Adjusted):
    """Walkers that follow the units' own dynamics."""

    def __init__(self, walkers: Walkers | JaxWalkers, step: Step) -> None:
        super().__init__(walkers, step.length if np.isfinite(step.length) else 1.0)
        self._bias = step.bias

    @property
    def note(self) -> str:
        """What the step costs."""
        if not self._bias:
            return ""
        return f"steps of {self._length:.3g} time units move second moments by about {100 * self._bias:.2g} %"

    def step(self, count: int) -> None:
        self._walkers.overdamped(self._length, count)
