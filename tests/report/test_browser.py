"""The page in headless Chromium: no error, selection, steps, keys, themes, print. Skipped without Playwright or Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import page_zoo as programs
import pytest

from spucc.report import write_report

CHROMIUM = os.environ.get("SPUCC_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        running = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


Opener = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    """Opens the page of a kind of program; in the end no page may have complained, or asked for anything but itself."""
    wrong: list[str] = []
    contexts = []

    def go(name: str, at: str = "", scheme: str = "light") -> Any:
        file = tmp_path / f"{name}.html"
        if not file.exists():
            write_report(programs.kind(name)[0], file, programs.kind(name)[1])
        context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith("file:") else wrong.append(r.url))
        page.on("dialog", lambda d: wrong.append(d.message))
        page.goto(file.as_uri() + at)
        assert page.evaluate("document.body.dataset.ready") == "yes"
        return page

    yield go
    for context in contexts:
        context.close()
    assert not wrong


@pytest.mark.parametrize("name", programs.KINDS)
def test_every_kind_opens_without_an_error_and_steps_through_all_passes(opened: Opener, name: str) -> None:
    page = opened(name)
    steps = page.evaluate("+document.querySelector('#pass').max")
    assert steps == len(page.evaluate("JSON.parse(document.querySelector('#data').textContent).passes[0]"))
    for kind in ("corr", "prec", "cells"):
        page.evaluate("k => document.querySelector(`[data-kind=${k}]`).click()", kind)
        for _ in range(steps + 1):
            page.keyboard.press("[")
        assert page.evaluate("document.body.dataset.pass") == ""
        for _ in range(steps + 1):
            page.keyboard.press("]")
    for _ in range(3):
        page.keyboard.press("j")
    assert page.evaluate("document.body.dataset.broken") is None


def test_the_address_selects(opened: Opener) -> None:
    page = opened("chains", "#select=x[3]&pass=quantize&matrix=prec&colour=error")
    program = programs.kind("chains")[0]
    codes = program.jobs[0].value.codes
    assert page.evaluate("[document.body.dataset.selected, document.body.dataset.pass]") == [
        "x[3]",
        "quantize",
    ]
    lit = page.eval_on_selector_all("#content .view .cell.on", "all => all.map(e => +e.dataset.p)")
    assert [codes.coordinate[p] for p in lit] == [3] * len(lit)
    assert len(lit) == (codes.coordinate == 3).sum()
    couplers = page.eval_on_selector_all("line.edge.on[data-a], line.inner.on[data-a]", "all => all.length")
    touching = sum(3 in (codes.coordinate[p], codes.coordinate[q]) for p, q in codes.edges.tolist())
    assert couplers == touching + 5  # on the chip, and its couplings in the model
    assert page.eval_on_selector_all(".src .line.on", "all => all.map(e => e.dataset.n)") == ["1"]
    assert page.eval_on_selector_all(".plot .row.on", "all => all.map(e => e.textContent)") == ["x[3]"]
    assert "x[3]" in page.inner_text("#selected")
    assert page.inner_text("#step .big").endswith("quantize")


def test_a_click_on_a_cell_and_on_a_line_selects(opened: Opener) -> None:
    page = opened("two jobs")
    page.locator(".view .cell[data-p='1']:visible").first.click()
    assert page.evaluate("document.body.dataset.selected") == "x[1]"
    assert page.evaluate("decodeURIComponent(location.hash)") == "#select=x[1]"
    page.locator("#L0-2").click()
    assert page.evaluate("document.body.dataset.selected") == "z[0]"
    # The variable of the other job brings its chip along.
    assert page.evaluate("document.querySelector('#job').selectedIndex") == 1
    assert page.locator(".view.job[data-job='0']").is_hidden()
    page.keyboard.press("Escape")
    assert page.evaluate("document.body.dataset.selected") == ""


def test_arrow_keys_walk_over_the_chip(opened: Opener) -> None:
    page = opened("dead")
    page.locator(".view.job:visible").focus()
    page.keyboard.press("ArrowRight")
    first = page.evaluate("document.body.dataset.selected")
    seen = {first}
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp") * 3:
        page.keyboard.press(key)
        seen.add(page.evaluate("document.body.dataset.selected"))
    assert first and len(seen) > 3
    assert "cell" in page.inner_text("#live")


def test_the_find_box_takes_a_name_and_refuses_another(opened: Opener) -> None:
    page = opened("chains")
    page.keyboard.press("/")
    page.keyboard.type("x[2]")
    page.keyboard.press("Enter")
    assert page.evaluate("document.body.dataset.selected") == "x[2]"
    page.fill("#find", "nobody")
    page.keyboard.press("Enter")
    assert page.evaluate("document.body.dataset.selected") == "x[2]"


def test_a_matrix_is_read_with_keys_and_zooms(opened: Opener) -> None:
    page = opened("chains")
    canvas = page.locator("#matrices canvas").first
    canvas.focus()
    for key in (
        "ArrowDown",
        "ArrowDown",
        "ArrowRight",
        "ArrowRight",
        "ArrowRight",
    ):  # the first shows the cross
        page.keyboard.press(key)
    assert page.inner_text("#live") == "x[1], x[3]: 0.2857"  # 0.4 / 1.4
    before = page.evaluate("document.querySelector('#matrices canvas').toDataURL()")
    page.keyboard.press("+")
    assert page.evaluate("document.querySelector('#matrices canvas').toDataURL()") != before
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    assert page.evaluate("document.body.dataset.selected") == "x[1]"


def test_hovering_names_the_cell_and_its_line(opened: Opener) -> None:
    page = opened("hostile")
    page.locator(".view .cell[data-p='0']:visible").first.hover()
    tip = page.inner_text("#tip")
    assert tip.startswith("cell 0: x[0]") and "line 2: var x: real[3]" in tip


def test_light_dark_and_print(opened: Opener) -> None:
    dark = opened("chains", scheme="dark")
    assert dark.evaluate("document.documentElement.dataset.theme") == "dark"
    back = dark.evaluate("getComputedStyle(document.body).backgroundColor")
    dark.locator("#theme").click()
    assert dark.evaluate("document.documentElement.dataset.theme") == "light"
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") != back
    dark.emulate_media(media="print")
    assert dark.locator(".controls").is_hidden()
    assert dark.locator("#h-ledger").is_visible()
    assert dark.pdf().startswith(b"%PDF")


def test_names_for_those_who_do_not_see(opened: Opener) -> None:
    """Every control has a name, and the tab key reaches the chip, the model, the slider and a matrix."""
    page = opened("two jobs")
    nameless = page.evaluate(
        "[...document.querySelectorAll('button,input,select,canvas,[tabindex]')].filter(e => "
        "!e.textContent.trim() && !e.getAttribute('aria-label') && !e.labels?.length).map(e => e.outerHTML)"
    )
    assert nameless == []
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.tagName + document.activeElement.className"
            )
        )
    assert {"find", "pass", "job", "model", "theme", "CANVAS", "DIVview job"} <= reached


def test_the_page_fits_a_narrow_window(opened: Opener) -> None:
    page = opened("chains")
    page.set_viewport_size({"width": 420, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_every_member_of_an_ensemble_can_be_seen(opened: Opener) -> None:
    """Cells and couplers show the settings of the member's own codes, as the bank says them; going round comes back."""
    program, _ = programs.kind("ensemble")
    codes = program.jobs[0].value.codes  # type: ignore[union-attr]
    page = opened("ensemble")

    def settings() -> tuple[list[str], list[str]]:
        tips = "all => all.map(e => e.dataset.tip)"
        return page.eval_on_selector_all(".cell", tips), page.eval_on_selector_all(
            ".view .edge[data-e]", tips
        )

    first = settings()
    for m in range(codes.members):
        assert page.input_value("#member") == str(m)
        cells, edges = settings()
        for p, code in enumerate(codes.ground[m].tolist()):
            assert any(t.startswith(f"cell {codes.cell[p]}:") and f"ground {code} = " in t for t in cells)
        for e, code in enumerate(codes.coupling[m].tolist()):
            a, b = codes.cell[codes.edges[e]].tolist()
            assert any(t.startswith(f"coupler {a}–{b}: {code} = ") and "; x" in t for t in edges)
        assert page.eval_on_selector_all(
            "[data-member]:visible", "all => all.map(e => +e.dataset.member)"
        ) == [m]
        assert page.evaluate("location.hash") == (f"#member={m + 1}" if m else "")
        page.keyboard.press("m")
    assert settings() == first
    again = opened("ensemble", "#member=3&matrix=cells")
    assert again.input_value("#member") == "2"
    assert "Of member 3." in again.inner_text("#matrix-note")


def test_every_job_can_be_seen_by_choice_by_key_and_in_the_table(opened: Opener) -> None:
    page = opened("two jobs")
    names = [j.name for j in programs.kind("two jobs")[0].jobs]

    def shown() -> list[str]:
        page.wait_for_timeout(20)
        visible = "all => all.filter(e => !e.hidden).map(e => e.dataset.job)"
        assert len(page.query_selector_all(".view.job:not([hidden]) .board")) == 1, "the board moves along"
        return page.eval_on_selector_all(".job[data-job]", visible)

    assert set(shown()) == {"0"} and names[0] in page.inner_text("tr.chosen")
    page.keyboard.press("n")
    assert set(shown()) == {"1"} and names[1] in page.inner_text("tr.chosen")
    page.keyboard.press("p")
    assert set(shown()) == {"0"}
    page.click("[data-choose='1']")
    assert set(shown()) == {"1"} and page.input_value("#job") == "1"
    page.select_option("#job", "0")
    assert set(shown()) == {"0"}


def test_each_job_of_a_pair_steps_through_its_own_pipeline(opened: Opener) -> None:
    page = opened("pair")
    program = programs.kind("pair")[0]
    whole = len(program.steps)
    for job in (program.jobs[1], program.jobs[0]):
        page.locator(f"button[data-choose]:has-text('{job.name}')").click()
        names = [s.name for s in job.steps]
        assert page.evaluate("+document.querySelector('#pass').max") == whole + len(names)
        assert page.evaluate("document.body.dataset.pass") == names[-1], "the end stays the end"
        for name in reversed(names):
            assert page.evaluate("document.body.dataset.pass") == name
            assert page.inner_text("#step .big").endswith(f": {name}")
            page.keyboard.press("[")
        assert page.evaluate("document.body.dataset.pass") == program.steps[-1].name
        for _ in names:
            page.keyboard.press("]")
    # `place` is a pass of both, in different places.
    page.evaluate("location.hash = '#pass=place'")
    page.locator(f"button[data-choose]:has-text('{program.jobs[1].name}')").click()
    at = [s.name for s in program.jobs[1].steps].index("place")
    assert page.evaluate("[document.body.dataset.pass, +document.querySelector('#pass').value]") == [
        "place",
        whole + at + 1,
    ]
