"""docs/workloads.md is what benchmarks/workloads.py wrote: the table parses, its figures add up to what the summary says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "spucc_bench_workloads", ROOT / "benchmarks" / "workloads.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def parsed(script: ModuleType) -> tuple[str, list[object]]:
    text = script.PAGE.read_text(encoding="utf-8")
    body = text.split(script.BEGIN)[1].split(script.END)[0]
    lines = []
    for row in body.splitlines():
        if not row.startswith("| ") or row == script.HEADER:
            continue
        name, n, model, target, kl, sd, mean, way, host, cells, seconds = (
            c.strip() for c in row[2:-1].split(" |")
        )
        if kl:
            figures = (float(kl), float(sd), float(mean), way, int(host), int(cells))
            line = script.Line(name, int(n), model, target, float(seconds), "", *figures)
        else:
            line = script.Line(name, int(n), model, target, float(seconds), way)
        assert str(line) == row
        lines.append(line)
    return body, lines


def test_the_page_is_in_the_scripts_format_and_its_summary_follows_from_its_rows(script: ModuleType) -> None:
    body, lines = parsed(script)
    assert len({line.workload for line in lines}) >= 20
    for said in script.summary(lines):
        assert said in body


def test_every_small_model_runs_within_two_per_cent_on_a_board_of_each_family(script: ModuleType) -> None:
    _body, lines = parsed(script)
    for name in {line.workload for line in lines if line.n <= 64}:
        mine = [line for line in lines if line.workload == name]
        assert any(line.reached and line.target in script.CAPACITIVE for line in mine), name
        for target in ("resistive-64", "inductive-64"):
            assert any(line.reached and line.target == target for line in mine), (name, target)


def test_refusals_name_errors_that_have_a_page(script: ModuleType) -> None:
    _body, lines = parsed(script)
    for line in lines:
        if line.refusal:
            code = re.match(r"\[(E\d{4})\]\(errors/\1\.md\)", line.refusal)
            assert code and (ROOT / "docs" / "errors" / f"{code[1]}.md").is_file()
