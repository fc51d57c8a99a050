"""Mutated programs: always an energy or diagnostics, never a traceback."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from spucc.diagnostics import SpuccError, render
from spucc.grammar import load

from .programs import HEADER

TOKEN = re.compile(r"\s+|[A-Za-z_]\w*|[\d.]+|\*\*|.", re.S)
NASTY = ["1e308", "0", "-1", "1e9", "inf", "10**12", "[]", "x", "None", "()", "2.5", "1e-320"]
ROOT = Path(__file__).parents[2]
MORE = [
    HEADER
    + "for i in range(N) { let d = x[i]; if i > 1 { x[:i] ~ normal(d, i) } else { energy W[i] @ y } }\n"
    "query m = expectation(x[0] * y)\nobserve x[0] + y[1] = 2\ntemperature 2\nquery a = cov(concat(x, y))\n",
    HEADER
    + "x ~ ar1(0.5, 1)\ny ~ icar(path(4), 2)\nenergy sum(x * y * s) + sum(b**3)\nW ~ normal(outer(x, y), 1)\n"
    "observe W[1] = c\nquery q = quantile(W, [0.1])\nquery u = solve(M, c)\n",
    HEADER + "var f: real[4] ~ gp(c, rbf, 1, 2, 0.1)\nf ~ multi_normal(0, M)\nc ~ normal(f, 1)\n"
    "x ~ double_well(1, 1)\ny ~ rw2(1)\nb ~ bernoulli_logit(c)\n",
]


def corpus() -> list[str]:
    pages = sorted((ROOT / "docs" / "errors").glob("E0[234]*.md"))
    blocks = [re.findall(r"```spu\n(.*?)```", p.read_text(encoding="utf-8"), re.S) for p in pages]
    return [b for found in blocks for b in found] + MORE * 10


def mutated(r: random.Random, text: str, tokens: list[str]) -> str:
    words = TOKEN.findall(text)
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        at = r.randrange(len(words))
        action = r.random()
        if action < 0.2:
            words[at] = r.choice(tokens)
        elif action < 0.3 and len(words) > 1:
            del words[at]
        else:
            plain = [k for k, w in enumerate(words) if re.fullmatch(r"[\w.]+", w)]
            if plain:
                words[r.choice(plain)] = r.choice(
                    [*NASTY, *(t for t in tokens if re.fullmatch(r"[\w.]+", t))]
                )
    return "".join(words)


def run(seed: int, count: int) -> None:
    r = random.Random(seed)
    texts = corpus()
    tokens = sorted({t for text in texts for t in TOKEN.findall(text) if t.strip()})
    for _ in range(count):
        text = mutated(r, r.choice(texts), tokens)
        sources: dict[str, str] = {}
        try:
            load(text + "\n", sources=sources)
        except SpuccError as error:
            assert render(error.diagnostics, sources), text


def test_some() -> None:
    run(0, 300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_many(seed: int) -> None:
    run(seed, 2000)
