"""Checks of a netlist as text, before a simulator sees it: values and their units, and a DC path of every node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite

from spucc.diagnostics import Diagnostic, SpuccError
from spucc.targets.circuits import BOUNDS

# Parts that carry a direct current from their first node to their second.
_CONDUCTS = ("R", "L", "E", "V", "H")


def diagnose_netlist(text: str) -> Iterator[Diagnostic]:
    """Every fault of a netlist: values that are no numbers or of another unit's size, parts with one name, nodes
    without a DC path to ground, files and controlling sources that are not named."""
    names: set[str] = set()
    links: list[tuple[str, str]] = []
    nodes: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if number == 1 or not words or line[0] in "*.+":
            continue
        name, kind = words[0], words[0][0].upper()
        if name.lower() in names:
            yield Diagnostic("E0735", f"line {number}: two parts are called `{name}`")
        names.add(name.lower())
        if kind == "A":
            outputs = re.findall(r"%v\(\[([^\]]*)\]\)", line)
            for node in " ".join(outputs).split():
                links.append((node, "0"))
                nodes.setdefault(node, number)
            continue
        if kind == "K":
            missing = [w for w in words[1:3] if w.lower() not in names]
            if missing:
                yield Diagnostic(
                    "E0735", f"line {number}: `{name}` couples `{missing[0]}`, which is not there"
                )
            yield from _value(number, kind, name, words)
            continue
        for node in words[1:3]:
            nodes.setdefault(node, number)
        yield from _value(number, kind, name, words)
        if kind in _CONDUCTS:
            links.append((words[1], words[2]))
        if kind in "FH" and words[3].lower() not in names:
            yield Diagnostic("E0735", f"line {number}: `{name}` follows `{words[3]}`, which is not there")
    reached = _reached(links)
    for node, number in nodes.items():
        if node not in reached:
            yield Diagnostic("E0735", f"line {number}: node `{node}` has no DC path to ground")


def _value(number: int, kind: str, name: str, words: list[str]) -> Iterator[Diagnostic]:
    try:
        value = float(words[-1])
    except ValueError:
        yield Diagnostic("E0735", f"line {number}: `{words[-1]}` of `{name}` is not a number in base units")
        return
    if not isfinite(value):
        yield Diagnostic("E0735", f"line {number}: `{name}` has the value {value}")
    elif kind == "K" and not -1 < value < 1:
        yield Diagnostic("E0735", f"line {number}: `{name}` couples two coils by {value:g}, beyond 1")
    elif kind in BOUNDS:
        low, high, unit = BOUNDS[kind]
        if not low <= value <= high:
            yield Diagnostic("E0735", f"line {number}: `{name}` has {value:g} {unit}, which no part has")


def _reached(links: list[tuple[str, str]]) -> set[str]:
    """The nodes that are joined to ground."""
    beside: dict[str, list[str]] = {}
    for a, b in links:
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    reached, left = {"0"}, ["0"]
    while left:
        for node in beside.get(left.pop(), []):
            if node not in reached:
                reached.add(node)
                left.append(node)
    return reached


def verify_netlist(text: str) -> None:
    """Raises E0735 with every fault of a netlist."""
    found = list(diagnose_netlist(text))
    if found:
        raise SpuccError(found)
