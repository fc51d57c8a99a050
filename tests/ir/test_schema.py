"""A field that the text form does not carry would be lost without a word: every field of every type is accounted for."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from spucc.diagnostics import Span
from spucc.ir import schema
from spucc.ir.codec import Many, Record, Rows
from spucc.stages import Program, State

# Structures and tables of the schema by the class that they carry.
CARRIED: dict[type, tuple[str, ...]] = {}
for found in vars(schema).values():
    if isinstance(found, Record):
        CARRIED[found.cls] = tuple(name for item in found.items for name in item.carries)
    elif isinstance(found, Rows):
        CARRIED[found.cls] = tuple(name for name, _ in found.columns)
for item in schema.QUADRATIC.items:
    if isinstance(item, Many) and isinstance(item.codec, Record):
        CARRIED[item.codec.cls] = tuple(name for part in item.codec.items for name in part.carries)
CARRIED[State] = ("stage", *(name for item in schema.STATE_ITEMS for name in item.carries))
CARRIED[Program] = tuple(name for item in schema.PROGRAM_ITEMS for name in item.carries)


def reachable(start: type) -> set[type]:
    """Every dataclass that a value of `start` can hold."""
    seen: set[type] = set()
    todo: list[Any] = [start]
    while todo:
        hint = todo.pop()
        if get_origin(hint) in (tuple, Union, UnionType) or get_args(hint):
            todo.extend(get_args(hint))
        elif isinstance(hint, type) and is_dataclass(hint) and hint not in seen:
            seen.add(hint)
            todo.extend(get_type_hints(hint)[f.name] for f in fields(hint))
    return seen


TYPES = sorted((reachable(State) | reachable(Program)) - {Span}, key=lambda t: t.__name__)


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.__name__)
def test_every_field_is_carried_once(kind: type) -> None:
    assert kind in CARRIED, f"{kind.__name__} has no text form"
    assert sorted(CARRIED[kind]) == sorted(f.name for f in fields(kind))


def test_the_walk_reaches_the_stages() -> None:
    names = {t.__name__ for t in TYPES}
    assert names >= {
        "Energy",
        "Couplings",
        "Placed",
        "Quantized",
        "Configuration",
        "HostLoop",
        "Majority",
        "Calibration",
    }


def test_the_page_names_every_key() -> None:
    """`docs/ir.md` is normative: each key and column that the schema writes stands on it."""
    page = (Path(__file__).parents[2] / "docs" / "ir.md").read_text(encoding="utf-8")
    keys = set()
    for record in (v for v in vars(schema).values() if isinstance(v, Record)):
        for part in record.items:
            keys.add(getattr(part, "key", "") or getattr(part, "name", ""))
            for column in getattr(part, "columns", ()):
                keys |= set(column.names or (column.field,))
    for rows in (v for v in vars(schema).values() if isinstance(v, Rows)):
        keys |= {name for name, _ in rows.columns}
    keys.discard("")
    assert len(keys) > 80
    missing = sorted(k for k in keys if not re.search(rf"(?<![\w-]){re.escape(k)}(?![\w-])", page))
    assert not missing
