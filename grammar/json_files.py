"""JSON, with Stan's conventions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from spucc.diagnostics import fail
from spucc.grammar.graph_files import graph_from
from spucc.grammar.readers import decoded, is_number
from spucc.grammar.values import LARGEST_DATUM, Const, Text, Value

# What reading takes for each mark: see `decoded`.
COSTS = {b",": 40, b"[": 250}


def parse_json(raw: bytes, name: str) -> Any:
    text = decoded(raw, name, COSTS)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        fail("E0310", f"`{name}`, line {error.lineno}, column {error.colno}: {error.msg}")
    except RecursionError:
        fail("E0310", f"`{name}` is nested too deeply")
    except ValueError as error:
        fail("E0310", f"`{name}` is not JSON: {str(error)[:200]}")


def from_json(parsed: Any, name: str) -> Value:
    """A JSON value as a value of the language."""
    if isinstance(parsed, str) and not is_number(parsed):
        return Text(parsed)
    if isinstance(parsed, dict):
        return graph_from(parsed, name)
    if parsed is None:
        fail("E0302", f"`{name}` holds null where a number should be")
    try:
        array = np.asarray(parsed)
    except (ValueError, OverflowError, RecursionError):
        fail("E0317", f"`{name}` holds an array whose rows have different lengths")
    if array.dtype.kind in "US":
        try:
            array = array.astype(np.float64)
        except ValueError:
            fail("E0302", f"`{name}` holds text where numbers should be")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (ValueError, TypeError, OverflowError):
            fail("E0302", f"`{name}` holds something that is not a number")
    if array.size > LARGEST_DATUM:
        fail("E0311", f"`{name}` holds {array.size:,} numbers")
    return Const(array)
