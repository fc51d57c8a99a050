"""The page as text: well formed, self-contained, escaped, small, and right in its figures."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import page_zoo as programs
import pytest

import spucc
from spucc import oracle
from spucc.driver import compile_energy
from spucc.report import report_html, write_report

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements, ids and attributes; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._script: dict[str, str | None] | None = None
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack, f"left open: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "script":
            self._script = dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> inside {self.stack[-4:]}"
        self.stack.pop()
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts.append((self._script, data))
        else:
            self.text.append(data)

    def data(self) -> dict[str, Any]:
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == "data"))


def unpacked(data: dict[str, Any], number: int) -> np.ndarray:
    """A matrix of the shelf, as the page's script unpacks it."""
    item = data["shelf"][number]
    n = item["side"]
    out = np.zeros((n, n))
    flat = np.frombuffer(base64.b64decode(item["b"]), "<f4") if item["b"] else np.zeros(n * (n + 1) // 2)
    out[np.triu_indices(n)] = flat
    return np.maximum(np.abs(out), np.abs(out.T)) * np.where(
        np.abs(out) > np.abs(out.T), np.sign(out), np.sign(out.T)
    )


@pytest.mark.parametrize("name", programs.KINDS)
def test_every_kind_of_program_gives_a_well_formed_page(name: str) -> None:
    program, album = programs.kind(name)
    page = Page(report_html(program, album))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    data = page.data()
    assert len(data["vars"]) == program.source.n
    assert [v["l"] for v in data["vars"]] == list(program.source.labels())
    assert len(data["jobs"]) == len(program.jobs)
    for tag, attrs in page.elements:
        if tag == "svg":
            assert attrs.get("aria-label")
    numbers = {
        n
        for j in data["jobs"]
        for s in j["steps"].values()
        for k, n in s.items()
        if k in ("corr", "prec", "cells")
    }
    assert all(0 <= n < len(data["shelf"]) for n in numbers)


@pytest.mark.parametrize("name", programs.KINDS)
def test_nothing_is_loaded_from_anywhere(name: str) -> None:
    program, album = programs.kind(name)
    text = report_html(program, album)
    page = Page(text)
    for tag, attrs in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base")
        assert not any(
            key in attrs for key in ("src", "srcset", "data", "xlink:href", "onclick", "onload", "onerror")
        )
        assert attrs.get("href") is None or attrs["href"].startswith("#")
    assert not re.search(r"url\(|@import", text.split("</style>")[0])
    csp = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    script = next(text for attrs, text in page.scripts if not attrs)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in csp and "default-src 'none'" in csp


def test_what_the_user_wrote_is_shown_and_never_obeyed() -> None:
    program, album = programs.kind("hostile")
    text = report_html(program, album)
    assert text.count("<script") == 2 and text.count("</script>") == 2
    page = Page(text)
    assert not any(tag == "img" for tag, _ in page.elements)
    shown = "".join(page.text)
    assert "</script><script>document.body.dataset.broken='yes'</script><img src=x onerror=alert(1)>" in shown


def test_the_same_program_gives_the_same_bytes() -> None:
    program, album = programs.kind("chains")
    assert report_html(program, album) == report_html(program, album)


def test_matrices_and_moments_are_those_of_the_oracle() -> None:
    program, album = programs.kind("chains")
    data = Page(report_html(program, album)).data()
    exact = oracle.gaussian(program.jobs[0].target)
    cov = exact.covariance()
    sd = np.sqrt(np.diagonal(cov))
    job = data["jobs"][0]
    np.testing.assert_allclose(job["asked"]["sd"], sd, rtol=1e-8)
    np.testing.assert_allclose(unpacked(data, job["asked"]["corr"]), cov / np.outer(sd, sd), atol=1e-6)
    precision = np.linalg.inv(cov)
    d = np.sqrt(np.diagonal(precision))
    np.testing.assert_allclose(unpacked(data, job["asked"]["prec"]), precision / np.outer(d, d), atol=1e-6)
    # What the last pass is shown to have lost is what the ledger says that it lost.
    last = max(job["steps"], key=int)
    entry = program.ledger[-1]
    off = np.abs(np.array(job["steps"][last]["sd"]) / sd - 1).max()
    assert off == pytest.approx(entry.sd_error, rel=1e-2, abs=1e-9)
    worst = np.abs(unpacked(data, job["steps"][last]["corr"])).max()
    assert worst == pytest.approx(entry.correlation_error, rel=1e-3, abs=1e-9)


def test_spins_are_those_of_the_enumeration() -> None:
    program, album = programs.kind("spins")
    data = Page(report_html(program, album)).data()
    j = np.zeros((4, 4))
    j[0, 1] = j[1, 2] = 0.5
    j[2, 3] = -0.3
    states = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T.astype(float)
    weight = np.exp(np.einsum("si,ij,sj->s", states, j, states) + 0.2 * states[:, 0])
    mean = weight @ states / weight.sum()
    np.testing.assert_allclose(data["jobs"][0]["asked"]["mean"], mean, atol=1e-8)


def test_a_variable_knows_its_cells_lines_and_neighbours() -> None:
    program, album = programs.kind("chains")
    data = Page(report_html(program, album)).data()
    job, codes = data["jobs"][0], program.jobs[0].value.codes
    assert codes.n > 6, "the model was to need chains"
    for k, variable in enumerate(data["vars"]):
        shown = sorted(c["c"] for c in job["cells"] if c["i"] in variable["i"])
        assert shown == sorted(codes.cell[codes.coordinate == k].tolist())
        assert variable["decl"] == "L0-1"
        assert {i for i, _ in variable["nb"]} == set(range(6)) - {k}


def test_neighbouring_chains_have_different_colours() -> None:
    program, album = programs.kind("chains")
    cells = Page(report_html(program, album)).data()["jobs"][0]["cells"]
    codes = program.jobs[0].value.codes
    for p, q in codes.edges.tolist():
        assert (cells[p]["h"] == cells[q]["h"]) == (codes.chain[p] == codes.chain[q])


def test_a_page_without_an_album_says_what_nobody_kept() -> None:
    program, _ = programs.kind("chains")
    job = Page(report_html(program)).data()["jobs"][0]
    seen = [job["steps"][k]["seen"] for k in sorted(job["steps"], key=int)]
    whole = len(program.steps)
    assert all(seen[:whole]) and not any(seen[whole:-1]) and seen[-1]


def test_sixty_four_cells_stay_within_two_megabytes() -> None:
    """All of them joined, which is the most that 64 cells can say."""
    x = np.random.default_rng(9).normal(size=(128, 64))
    from spucc.report import Album

    album = Album()
    program = compile_energy(
        spucc.gaussian(np.zeros(64), precision=x.T @ x / 64), "resistive-64", optimize=0, observers=[album]
    )
    assert len(report_html(program, album).encode()) <= 2_000_000


def test_ten_thousand_variables_degrade_to_aggregates(tmp_path: Path) -> None:
    text = "var x: real[10000]\nx[1:] ~ normal(x[:-1], 1)\nx ~ normal(0, 3)\n"
    program, album = programs.watched(text, "ideal")
    write_report(program, tmp_path / "r.html", album)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    data = page.data()
    assert [v["size"] for v in data["vars"]] == [10000]
    assert all(m["side"] <= 160 for m in data["shelf"])
    assert (tmp_path / "r.html").stat().st_size < 1_000_000


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    program, album = programs.kind("one variable")
    with pytest.raises(spucc.SpuccError, match="E0392"):
        write_report(program, tmp_path / "no" / "where.html", album)


def test_many_jobs_stay_within_two_megabytes_and_are_all_in_the_table() -> None:
    """64 parts on a board of 1,024 cells: the board is drawn once, and what no room is left for is a row of the table."""
    program, album = programs.watched("var x: real[64] ~ normal(1, 2)\nquery m = mean(x)\n", "king-32x32")
    text = report_html(program, album)
    data = Page(text).data()
    assert len(program.jobs) == len(data["jobs"]) == 64
    assert text.count('class="board"') == 1
    assert [text.count(f'data-choose="{k}"') for k in range(64)] == [1] * 64
    assert all(v["j"] == k and v["i"] == [0] for k, v in enumerate(data["vars"]))
    drawn = [job["drawn"] for job in data["jobs"]]
    assert drawn[0] and [text.count(f'class="view job" data-job="{k}"') for k in range(64)] == [
        int(d) for d in drawn
    ]
    assert len(text.encode()) <= 2_000_000


def test_a_large_ensemble_stays_within_two_megabytes() -> None:
    from spucc.devices import load_device
    from spucc.driver import default_passes

    pipeline = default_passes(load_device("spu8")).replace("quantize", "quantize{ensemble=40}")
    energy = spucc.gaussian(np.zeros(8), precision=programs.attractive(8))
    program = compile_energy(energy, "spu8{bits=3}", passes=pipeline, optimize=0)
    members = program.jobs[0].value.codes.members  # type: ignore[union-attr]
    text = report_html(program)
    data = Page(text).data()
    assert members > 10 and len(text.encode()) <= 2_000_000
    assert len(data["jobs"][0]["members"]) == members - 1 or "more members are not drawn" in text


def test_what_the_passes_of_a_pair_left_is_shown_though_nobody_watched() -> None:
    """Each job's last pass before the codes is exact; what the codes made of it is in the ledger."""
    program, album = programs.kind("pair")
    data = Page(report_html(program, album)).data()
    whole = len(program.steps)
    real, spins = data["jobs"]
    assert [p["name"] for p in data["passes"][spins["chain"]][whole:]] == [
        s.name for s in program.jobs[1].steps
    ]
    names = [s.name for s in program.jobs[0].steps]
    assert all(step["seen"] for step in (*real["steps"].values(), *spins["steps"].values()))
    fitted, coded = (np.array(real["steps"][str(whole + names.index(n))]["sd"]) for n in ("fit", "quantize"))
    asked = np.array(real["asked"]["sd"])
    np.testing.assert_allclose(fitted, asked, rtol=1e-9)
    worst = next(e for e in program.ledger if e.name == "quantize").sd_error
    np.testing.assert_allclose(np.abs(coded / asked - 1).max(), worst, rtol=1e-3)
    assert "resistive, complete, 64 cells; pbit" in report_html(program, album)
