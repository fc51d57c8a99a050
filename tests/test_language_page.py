"""docs/language.md names everything that the implementation knows, and nothing that it does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spucc.grammar.builder import TYPES
from spucc.grammar.context import BUILTIN_CONSTANTS
from spucc.grammar.distributions import DISTRIBUTIONS
from spucc.grammar.functions import BUILTINS, load_all
from spucc.grammar.queries import _PARAMS as QUERIES
from spucc.grammar.scanner import KEYWORDS

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "language.md").read_text(encoding="utf-8")
CODE = set(re.findall(r"[A-Za-z_]\w*", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
BLOCKS = " ".join(re.findall(r"```(?:spu|python)\n(.*?)```", PAGE, re.DOTALL))
TABLES = [line for line in PAGE.splitlines() if line.startswith("| `")]
load_all()


@pytest.mark.parametrize("name", sorted({*BUILTINS, *DISTRIBUTIONS, *QUERIES, *TYPES, *BUILTIN_CONSTANTS}))
def test_every_name_is_explained_and_used(name: str) -> None:
    assert name in CODE, f"docs/language.md does not name `{name}`"
    assert re.search(rf"\b{name}\b", BLOCKS), f"no executed example uses `{name}`"


@pytest.mark.parametrize("name", sorted(KEYWORDS))
def test_every_keyword_is_named(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_distributions_have_their_arguments(name: str) -> None:
    """The signature on the page is the implementation's, `b0` standing for the field of `boltzmann`."""
    signature = re.search(rf"^\| `[^`]*~ {name}\(([^)]*)\)`", PAGE, re.MULTILINE)
    assert signature is not None
    assert [p.replace("b0", "b").strip() for p in signature[1].split(",")] == list(DISTRIBUTIONS[name].params)


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_queries_have_their_arguments(name: str) -> None:
    params, _ = QUERIES[name]
    listed = re.findall(rf"`{name}\(([^)]*)\)`", "\n".join(TABLES))
    counts = {len([p for p in found.split(",") if p.strip()]) for found in listed}
    assert len(params) in counts
