"""The middle of the compiler: one file a pass.

`REGISTRY` maps names to thunks, so that nothing is imported before it is used. `default_pipeline` is data: the passes of
each device family in their order; each pass says in `why` why it stands there.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points

from spucc.device import Family
from spucc.pipeline import Pass


def _thunk(module: str, name: str) -> Callable[[], type[Pass]]:
    def load() -> type[Pass]:
        kind: type[Pass] = getattr(import_module(f"spucc.passes.{module}"), name)
        return kind

    return load


REGISTRY: dict[str, Callable[[], type[Pass]]] = {
    "condition": _thunk("condition", "Condition"),
    "reduce": _thunk("reduce", "Reduce"),
    "split": _thunk("split", "Split"),
    "realise": _thunk("realise", "Realise"),
    "place": _thunk("place", "Place"),
    "project": _thunk("project", "Project"),
    "embed": _thunk("embed", "Embed"),
    "fit": _thunk("fit", "Fit"),
    "quantize": _thunk("quantize", "Quantize"),
    "lower": _thunk("lower", "Lower"),
}

_BOARD = "condition,reduce,split,realise,place,project,embed,fit,quantize,lower"

PIPELINES: dict[Family, str] = {
    Family.IDEAL: "condition,reduce,split,realise,place,quantize,lower",
    Family.CAPACITIVE: _BOARD,
    Family.RESISTIVE: _BOARD,
}


def registry() -> dict[str, Callable[[], type[Pass]]]:
    """All passes by name, those of third parties (entry point group `spucc.passes`) included."""
    found = dict(REGISTRY)
    for entry in entry_points(group="spucc.passes"):
        found.setdefault(entry.name, entry.load)
    return found
