"""The LALR table: built from `spu.lark` by lark, kept beside it as plain JSON, loaded in a few milliseconds.

Importing lark and building the table costs some 200 ms, more than the rest of `spucc check`. So the table is
committed as `spu.table.json` together with a digest of the grammar it was made from, and lark is imported
only when the two differ, as they do while somebody edits the grammar. `python -m spucc.grammar.table` brings
them in step.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

END = "$END"


@dataclass(frozen=True, slots=True)
class Rule:
    """`origin` is made of the last `size` values by the builder's method `action`; `""` passes one on."""

    origin: str
    size: int
    action: str


@dataclass(frozen=True, slots=True)
class Table:
    """For each state, the action on each token and the next state after each rule.

    An action n ≥ 0 shifts to state n; n < 0 reduces by rule −n − 1. A token is known by its text if the text
    is fixed (`"let"`, `"("`), else by the name of its kind (`"NAME"`). `symbols[state]` is the symbol that
    leads to it.
    """

    actions: list[dict[str, int]]
    gotos: list[dict[str, int]]
    symbols: list[str]
    rules: list[Rule]
    start: int
    end: int


def grammar_text() -> str:
    return (files("spucc.grammar") / "spu.lark").read_text(encoding="utf-8")


def digest(grammar: str) -> str:
    return hashlib.sha256(grammar.encode()).hexdigest()


def load() -> Table:
    """The table of the grammar, from the committed file if that is fresh, else built anew."""
    grammar = grammar_text()
    stored = files("spucc.grammar") / "spu.table.json"
    if stored.is_file():
        data = json.loads(stored.read_text(encoding="utf-8"))
        if data["digest"] == digest(grammar):
            return from_data(data)
    return from_data(build(grammar))


def from_data(data: dict[str, Any]) -> Table:
    rules = [Rule(*rule) for rule in data["rules"]]
    return Table(data["actions"], data["gotos"], data["symbols"], rules, data["start"], data["end"])


def build(grammar: str) -> dict[str, Any]:
    """The table as plain data. Lark finds the states and, by the second analysis, refuses a conflict."""
    from lark import Lark
    from lark.parsers.lalr_analysis import LALR_Analyzer, Shift

    parser = Lark(grammar, parser="lalr", start="program", lexer="basic", maybe_placeholders=False)
    table = parser.parser.parser._parse_table
    analysis: Any = LALR_Analyzer(parser.parser.parser.parser_conf, strict=True)
    analysis.compute_lalr()
    literal = {t.name: t.pattern.value for t in parser.terminals if t.pattern is not None}
    order = _numbering(table.states, table.start_states["program"], literal, Shift)
    rules: list[list[Any]] = []
    index: dict[tuple[str, tuple[str, ...]], int] = {}
    actions: list[dict[str, int]] = [{} for _ in order]
    gotos: list[dict[str, int]] = [{} for _ in order]
    symbols = ["" for _ in order]
    for old, new in order.items():
        for symbol, (kind, target) in sorted(
            table.states[old].items(), key=lambda item: literal.get(item[0], item[0])
        ):
            token = literal.get(symbol, symbol)
            if kind is Shift:
                is_rule = symbol.islower()
                (gotos if is_rule else actions)[new][token] = order[target]
                symbols[order[target]] = token
                continue
            key = (target.origin.name, tuple(s.name for s in target.expansion))
            if key not in index:
                index[key] = len(rules)
                rules.append([target.origin.name, len(target.expansion), target.alias or ""])
            actions[new][token] = -index[key] - 1
    return {
        "digest": digest(grammar),
        "start": order[table.start_states["program"]],
        "end": order[table.end_states["program"]],
        "rules": rules,
        "symbols": symbols,
        "actions": actions,
        "gotos": gotos,
    }


def _numbering(states: Any, start: Any, literal: dict[str, str], shift: Any) -> dict[Any, int]:
    """New numbers for the states, in the order they are met from the start, the same in every run."""
    order = {start: 0}
    queue = [start]
    for state in queue:
        for symbol in sorted(states[state], key=lambda s: literal.get(s, s)):
            kind, target = states[state][symbol]
            if kind is shift and target not in order:
                order[target] = len(order)
                queue.append(target)
    return order


def write(path: Path) -> None:
    """Write the table, one state a line, so that a change of the grammar can be read in the diff."""
    data = build(grammar_text())
    rows = []
    for key, value in data.items():
        if isinstance(value, list) and value and not isinstance(value[0], str):
            body = ",\n".join(
                "  " + json.dumps(item, sort_keys=True, separators=(",", ":")) for item in value
            )
            rows.append(f'"{key}": [\n{body}\n]')
        else:
            rows.append(f'"{key}": {json.dumps(value)}')
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).with_name("spu.table.json"))
