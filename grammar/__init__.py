"""The front end: a `.spu` program and its data to an `Energy`.

    energy = elaborate(Path("model.spu"), data={"N": 16}, files=[Path("data.json")])

`load` gives the whole `Model`: the energy with the sources for rendering messages, digests, warnings and what
was declared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spucc.grammar.model import Model, elaborate, load

__all__ = ["Model", "elaborate", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        import spucc.grammar.model as model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
