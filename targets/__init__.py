"""Back end: devices as data, and the backends that run or emit a program. `BACKENDS` names them; each is
imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from spucc.backend import Backend
from spucc.device import Family
from spucc.diagnostics import did_you_mean, fail
from spucc.stages import Program


def _exact() -> Backend:
    from spucc.targets.exact import Exact

    return Exact()


def _board_model() -> Backend:
    from spucc.targets.board_model import BoardModel

    return BoardModel()


def _spice() -> Backend:
    from spucc.targets.spice import Spice

    return Spice()


def _pbit() -> Backend:
    from spucc.targets.pbit import Pbit

    return Pbit()


def _tempering() -> Backend:
    from spucc.targets.pbit import Pbit

    return Pbit(name="tempering", tempering=True)


def _thrml() -> Backend:
    from spucc.targets.thrml_program import Thrml

    return Thrml()


def _langevin() -> Backend:
    from spucc.targets.nonlinear import Langevin

    return Langevin()


def _langevin_jax() -> Backend:
    from spucc.targets.nonlinear import Langevin

    return Langevin(name="langevin-jax", jax=True)


BACKENDS: dict[str, Callable[[], Backend]] = {
    "exact": _exact,
    "board-model": _board_model,
    "spice": _spice,
    "pbit": _pbit,
    "tempering": _tempering,
    "thrml": _thrml,
    "langevin": _langevin,
    "langevin-jax": _langevin_jax,
}


DEFAULT_BACKENDS: dict[Family, str] = {
    Family.IDEAL: "exact",
    Family.CAPACITIVE: "exact",
    Family.RESISTIVE: "exact",
    Family.INDUCTIVE: "exact",
    Family.PBIT: "pbit",
    Family.LANGEVIN: "langevin",
}
"""The backend that runs a family's programs unless another one is asked for."""


def backend_of(backend: str | Backend | None, family: Family) -> Backend:
    """The backend that is meant: itself, by its name, or for None the simulator of a device family. Raises E0727 for a name
    that is not one."""
    if backend is None:
        return load_backend(DEFAULT_BACKENDS[family])
    return load_backend(backend) if isinstance(backend, str) else backend


def load_backend(name: str) -> Backend:
    """The backend of a name. Raises E0727 for a name that is not one."""
    if name not in BACKENDS:
        near = did_you_mean(name, BACKENDS) or f"the backends are {', '.join(sorted(BACKENDS))}"
        fail("E0727", f"there is no backend `{name}`", help=near)
    return BACKENDS[name]()


def emit_spice(program: Program, path: Path | None = None, *, seed: int = 0) -> str:
    """A program as a SPICE netlist, with its noise beside `path` when that is given:
    `spucc.targets.spice`."""
    from spucc.targets.spice import emit_spice as emit
    from spucc.targets.spice import write_spice

    return emit(program, seed=seed) if path is None else write_spice(program, path, seed=seed)
