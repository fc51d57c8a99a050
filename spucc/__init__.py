"""spucc: a compiler from probabilistic models to thermodynamic computers.

    program = spucc.compile("model.spu", data={"N": 8}, target="spu8")
    result = program.run(samples=10_000, seed=1)
    print(result)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "compile": ("spucc.driver", "compile_program"),
    "run": ("spucc.running.run", "run_program"),
    "load": ("spucc.ir", "read_program"),
    "load_device": ("spucc.devices", "load_device"),
    "gaussian": ("spucc.models", "gaussian"),
    "ising": ("spucc.models", "ising"),
    "from_networkx": ("spucc.models", "from_networkx"),
    "Energy": ("spucc.energy", "Energy"),
    "Program": ("spucc.stages", "Program"),
    "Result": ("spucc.running.results", "Result"),
    "Device": ("spucc.device", "Device"),
    "SpuccError": ("spucc.diagnostics", "SpuccError"),
    "oracle": ("spucc.oracle", ""),
}

if TYPE_CHECKING:
    from spucc import oracle as oracle
    from spucc.device import Device as Device
    from spucc.devices import load_device as load_device
    from spucc.diagnostics import SpuccError as SpuccError
    from spucc.driver import compile_program as compile  # noqa: F401
    from spucc.energy import Energy as Energy
    from spucc.ir import read_program as load  # noqa: F401
    from spucc.models import from_networkx as from_networkx
    from spucc.models import gaussian as gaussian
    from spucc.models import ising as ising
    from spucc.running.results import Result as Result
    from spucc.running.run import run_program as run  # noqa: F401
    from spucc.stages import Program as Program

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spucc' has no attribute {name!r}")
    home, attribute = _HOMES[name]
    module = import_module(home)
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
