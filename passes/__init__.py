"""The middle of the compiler. One file here is one pass; the folders hold what the passes compute with, `spins` and
`langevin` also the passes of those families.

`REGISTRY` maps names to thunks, so that nothing is imported before it is used. `PIPELINES` is data: the passes of
each device family in their order; each pass says in `why` why it stands there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from spucc.device import Family
from spucc.diagnostics import fail
from spucc.pipeline import Pass


def _thunk(module: str, name: str) -> Callable[[], type[Pass]]:
    def load() -> type[Pass]:
        kind: type[Pass] = getattr(import_module(f"spucc.passes.{module}"), name)
        return kind

    return load


REGISTRY: dict[str, Callable[[], type[Pass]]] = {
    "border": _thunk("border", "Border"),
    "normalise": _thunk("normalise", "Normalise"),
    "condition": _thunk("condition", "Condition"),
    "reduce": _thunk("reduce", "Reduce"),
    "split": _thunk("split", "Split"),
    "realise": _thunk("realise", "Realise"),
    "place": _thunk("place", "Place"),
    "project": _thunk("project", "Project"),
    "embed": _thunk("embed", "Embed"),
    "fit": _thunk("fit", "Fit"),
    "calibrate": _thunk("calibrate", "Calibrate"),
    "quantize": _thunk("quantize", "Quantize"),
    "lower": _thunk("lower", "Lower"),
    "schedule": _thunk("schedule", "Schedule"),
    "encode": _thunk("spins.spin_encode", "Encode"),
    "gauge": _thunk("spins.spin_gauge", "Gauge"),
    "realise-spins": _thunk("spins.spin_realise", "RealiseSpins"),
    "embed-spins": _thunk("spins.spin_embed", "EmbedSpins"),
    "quantize-spins": _thunk("spins.spin_quantize", "QuantizeSpins"),
    "realise-langevin": _thunk("langevin.langevin_realise", "RealiseLangevin"),
    "fit-langevin": _thunk("langevin.langevin_fit", "FitLangevin"),
    "quantize-langevin": _thunk("langevin.langevin_quantize", "QuantizeLangevin"),
    "lower-sweeps": _thunk("spins.sweep_lower", "LowerSweeps"),
}

_BOARD = "border,normalise,condition,reduce,split,realise,place,project,embed,fit,calibrate,quantize,lower,schedule"

PIPELINES: dict[Family, str] = {
    Family.IDEAL: "normalise,condition,reduce,split,realise,place,quantize,lower,schedule",
    Family.CAPACITIVE: _BOARD,
    Family.RESISTIVE: _BOARD,
    Family.INDUCTIVE: _BOARD,
    Family.PBIT: "condition,split,encode,gauge,realise-spins,place,embed-spins,quantize-spins,lower-sweeps",
    Family.LANGEVIN: "condition,split,realise-langevin,place,fit-langevin,quantize-langevin,lower-sweeps",
}


def registry() -> dict[str, Callable[[], type[Pass]]]:
    """All passes by name, those of third parties (entry point group `spucc.passes`) included; a thunk of theirs raises E0623
    when it cannot be loaded or is no pass."""
    found = dict(REGISTRY)
    for entry in entry_points(group="spucc.passes"):
        found.setdefault(entry.name, partial(_installed, entry))
    return found


def _installed(entry: EntryPoint) -> type[Pass]:
    """A third party's pass. Whatever goes wrong while its module is imported is its own fault."""
    try:
        kind = entry.load()
        why = (
            ""
            if isinstance(kind, type) and issubclass(kind, Pass)
            else "it is no class derived from `spucc.pipeline.Pass`"
        )
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    if why:
        owner = entry.dist.name if entry.dist else entry.value
        fail(
            "E0623",
            f"pass `{entry.name}` of the installed package `{owner}` cannot be loaded: {why}",
            help=f"mend or remove `{owner}`; its entry point is {entry.value}",
        )
    return cast("type[Pass]", kind)
