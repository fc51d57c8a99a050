"""The page as one file of text: template, style and script of this package filled with a program's content.

No byte is loaded from anywhere: the content security policy of the page forbids it, and lets only the page's own script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from spucc.arrays import FloatArray
from spucc.energy import Domain
from spucc.report.album import Album
from spucc.report.chip import draw_chip, draw_idle
from spucc.report.content import Content, JobView, content_of
from spucc.report.graph import draw_model
from spucc.report.marginals import draw_marginals, draw_probabilities
from spucc.report.picture import CATEGORIES, DIVERGING, SEQUENTIAL
from spucc.report.settling import draw_poles, draw_settling, poles_of
from spucc.report.waterfall import draw_ledger
from spucc.report.words import Fact, figure, headline, percent, provenance_facts, schedule_facts
from spucc.stages import Configuration, Program


def report_html(program: Program, album: Album | None = None) -> str:
    """The page of a program. `album` has the states between its passes, if somebody kept them."""
    content = content_of(program, album)
    drawn = _drawn(content)
    data = {
        **content.data,
        "colours": {"categories": CATEGORIES, "sequential": SEQUENTIAL, "diverging": DIVERGING},
    }
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    name = _title(program)
    return Template(_asset("page.html")).substitute(
        title=escape(f"{name} on {program.device.name}"),
        heading=escape(name),
        subtitle=escape(_subtitle(program)),
        tiles="".join(f"<div><dt>{escape(a)}</dt><dd>{escape(b)}</dd></div>" for a, b in headline(program)),
        jobs=_job_choice(content),
        last=content.last,
        chips=drawn["chip"],
        model=draw_model(program.source).svg(),
        model_legend=_model_legend(program),
        ledgers=drawn["ledger"],
        marginals=drawn["marginals"],
        poles=drawn["poles"],
        schedules=drawn["schedule"],
        table=_jobs(content),
        source=_source(program),
        provenance=_provenance(program),
        data=_embedded(data),
        digest=digest,
        style=_asset("page.css"),
        script=script,
    )


def _asset(name: str) -> str:
    return (files("spucc.report") / name).read_text(encoding="utf-8")


def _embedded(data: object) -> str:
    """JSON that no text in it can end: `<`, `>` and `&` as escapes."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _title(program: Program) -> str:
    """The name of the program's own file."""
    sources = program.provenance.sources
    spans = [v.span.file for v in program.source.variables if v.span is not None]
    name = spans[0] if spans else sources[0][0] if sources else "a model built in Python"
    return name.replace("\\", "/").rpartition("/")[2]


def _subtitle(program: Program) -> str:
    d = program.device
    sides = [d] if d.partner is None else [d.alone, d.partner]
    about = [
        f"{side.family}, {side.topology.kind}, "
        + ("as many cells as wanted" if side.topology.nodes is None else f"{side.topology.nodes} cells")
        for side in sides
    ]
    return f"compiled for {d.name}: {'; '.join(about)}"


DRAWN_BYTES = 900_000
"""What the drawings of all jobs may take; jobs for which nothing is left are rows of a table."""

_JOBS = 1000
"""Jobs that have a row of their own in that table."""

_PARTS = {"chip": "view", "ledger": "plot", "marginals": "plot", "poles": "plot", "schedule": "facts"}
"""What is drawn of each job, and the class of its box."""


def _job_choice(content: Content) -> str:
    """Which job is shown, and which member of its ensemble."""
    options = "".join(
        f'<option value="{k}">{escape(v.job.name)} ({v.job.target.n})</option>'
        for k, v in enumerate(content.jobs)
    )
    jobs = (
        f'<label for="job">Job <select id="job">{options}</select></label>' if len(content.jobs) > 1 else ""
    )
    ensembles = any(v.board is not None and v.board.codes.members > 1 for v in content.jobs)
    member = '<label for="member" hidden>Member <select id="member"></select></label>' if ensembles else ""
    return jobs + member


def _drawn(content: Content) -> dict[str, str]:
    """What is drawn of every job, all but the first hidden; one board for all jobs of a device."""
    if not content.jobs:
        nothing = '<p class="dim">Nothing is left to run: every variable is given.</p>'
        return dict.fromkeys(_PARTS, nothing)
    boxes: dict[str, list[str]] = {part: [] for part in _PARTS}
    boards: set[str] = set()
    left = DRAWN_BYTES
    for k, view in enumerate(content.jobs):
        view.data["drawn"] = k == 0 or left > 0
        if not view.data["drawn"]:
            continue
        drawings = {
            "chip": _chip(view, boards, len(content.jobs) > 1),
            "ledger": draw_ledger(view.ledger).svg(),
            "marginals": _marginals(view),
            "poles": _poles(content, view),
            "schedule": _table(schedule_facts(content.program, view.job)),
        }
        left -= sum(map(len, drawings.values()))
        for part, kind in _PARTS.items():
            reach = _REACH if part == "chip" else ""
            hidden = " hidden" if k else ""
            boxes[part].append(
                f'<div class="{kind} job" data-job="{k}"{reach}{hidden}>{drawings[part]}</div>'
            )
    undrawn = (
        '<p class="dim undrawn" hidden>There are too many jobs to draw each; the table of jobs has its figures, '
        "and <code>spucc draw --job</code> draws its chip.</p>"
        if not all(v.data["drawn"] for v in content.jobs)
        else ""
    )
    boxes["chip"].append('<p class="dim" id="unplaced" hidden>At this pass nothing has a place yet.</p>')
    return {part: "".join(found) + undrawn for part, found in boxes.items()}


_REACH = ' tabindex="0" role="application" aria-label="The chip; arrow keys select a neighbour"'


def _jobs(content: Content) -> str:
    """A table of all jobs, which selects one; of very many those with the largest divergence."""
    if len(content.jobs) < 2:
        return ""
    order = sorted(range(len(content.jobs)), key=lambda k: _loss(content.jobs[k]), reverse=True)
    shown = sorted(order[:_JOBS])
    heads = ("job", "variables", "cells", "KL, nats a variable", "sd", "mean, in sd", "correlation", "")
    rows = ["".join(f'<th scope="col">{h}</th>' for h in heads)]
    for k in shown:
        view = content.jobs[k]
        cells = f"{view.board.codes.n:,}" if view.board is not None else "–"
        figures = ["", "", "", "", "not known"]
        if view.ledger and view.ledger[-1].basis != "none":
            e = view.ledger[-1]
            figures = [figure(e.kl_forward), percent(e.sd_error), figure(e.mean_error)]
            figures += [figure(e.correlation_error), e.basis]
        name = f'<button type="button" data-choose="{k}">{escape(view.job.name)}</button>'
        rest = "".join(f"<td>{escape(t)}</td>" for t in (f"{view.job.target.n:,}", cells, *figures))
        rows.append(f'<th scope="row">{name}</th>{rest}')
    left = len(content.jobs) - len(shown)
    more = f'<p class="dim">and {left:,} more with smaller divergences</p>' if left else ""
    return (
        '<section class="card" aria-labelledby="h-jobs"><div class="head"><h2 id="h-jobs">Jobs</h2></div>'
        f'<div class="scroll"><table class="jobs"><tr>{"</tr><tr>".join(rows)}</tr></table></div>{more}</section>'
    )


def _loss(view: JobView) -> float:
    return view.ledger[-1].kl_forward if view.ledger else float("nan")


def _chip(view: JobView, boards: set[str], several: bool) -> str:
    """A job's chip; of several jobs the first one on a device brings the board along for all."""
    board = view.board
    if board is None:
        return '<p class="dim">The job is not compiled to the end, so nothing is on the chip.</p>'
    under, device = "", board.device.fingerprint
    dead = int((~board.device.alive).sum())
    view.data["idle"] = (board.device.topology.nodes or 0) > board.codes.n + dead
    bare = draw_idle(board) if several else None
    view.data["board"] = device if bare is not None else None
    if bare is not None and device not in boards:
        boards.add(device)
        under = f'<g class="board" data-board="{escape(device)}">{bare.elements()}</g>'
    kept = len(view.data["members"]) + 1
    left = board.codes.members - kept
    note = (
        f'<p class="dim">{left} more members are not drawn; a setting says how far they differ.</p>'
        if left
        else ""
    )
    return draw_chip(board, idle=bare is None).svg(under=under) + note


def _model_legend(program: Program) -> str:
    energy = program.source
    spans = [f'<span><i class="sw round" style="background:{CATEGORIES[k % len(CATEGORIES)]}"></i>{escape(v.name)}'
             + ("" if v.domain is Domain.REAL else f" ({v.domain})") + "</span>"
             for k, v in enumerate(energy.variables[:12])]  # fmt: skip
    if len(energy.variables) > 12:
        spans.append(f"<span>and {len(energy.variables) - 12} more</span>")
    entries = energy.quadratic.tocsr()
    off = entries.data[np.repeat(np.arange(energy.n), np.diff(entries.indptr)) != entries.indices]
    for present, colour, text in ((off < 0, DIVERGING[-1], "attracts"), (off > 0, DIVERGING[0], "repels")):
        if present.any():
            spans.append(f'<span><i class="sw line" style="background:{colour}"></i>{text}</span>')
    if energy.higher:
        spans.append("<span>dashed: terms of degree 3 or more</span>")
    if energy.observed.index.size:
        spans.append("<span>dark rim: observed</span>")
    return "".join(spans)


def _marginals(view: JobView) -> str:
    if view.asked is None or view.made is None:
        return '<p class="dim">Not known exactly: the job is neither Gaussian nor a small system of spins, or too large.</p>'
    names = list(view.job.target.labels())
    if view.data["spin"]:
        return draw_probabilities(names, _up(view, view.asked.mean), _up(view, view.made.mean)).svg()
    return draw_marginals(names, (view.asked.mean, view.asked.sd), (view.made.mean, view.made.sd)).svg()


def _up(view: JobView, mean: FloatArray) -> FloatArray:
    """The probability that a spin is +1, or a bit 1."""
    spins = view.job.target.domains[1]
    up = np.array(mean)
    up[spins] = (1 + up[spins]) / 2
    return up


def _poles(content: Content, view: JobView) -> str:
    value = view.job.value
    if not isinstance(value, Configuration):
        return '<p class="dim">No circuit yet.</p>'
    found = []
    for m in range(len(view.data["members"]) + 1):
        poles = poles_of(value.codes, content.program.device_of(view.job), m)
        if poles is None:
            linear = value.codes.family.electric
            why = (
                "There are too many to compute for a page" if linear else "These cells have no linear circuit"
            )
            return f'<p class="dim">{why}: no poles are shown.</p>'
        drawn = draw_poles(poles).svg() + draw_settling(value.schedule, poles).svg()
        found.append(f'<div class="two" data-member="{m}"{" hidden" if m else ""}>{drawn}</div>')
    return "".join(found)


def _table(facts: Sequence[Fact]) -> str:
    rows = "".join(f'<tr><th scope="row">{escape(a)}</th><td>{escape(b)}</td></tr>' for a, b in facts)
    return f"<table>{rows}</table>"


def _source(program: Program) -> str:
    """The texts, line by line; what they say is shown, never obeyed."""
    blocks = []
    for f, (name, text) in enumerate(program.provenance.sources):
        lines = "".join(
            f'<span class="line" id="L{f}-{n}" data-n="{n}">{escape(line)}</span>'
            for n, line in enumerate(text.rstrip("\n").split("\n"), 1)
        )
        blocks.append(f'<p class="file">{escape(name)}</p><pre class="src">{lines}</pre>')
    return "".join(blocks) or '<p class="dim">The model was built in Python: there is no text.</p>'


def _provenance(program: Program) -> str:
    figures = sorted(program.device.spec.provenance.items())
    table = _table(provenance_facts(program))
    if figures:
        table += f"<h3>Where the device’s figures come from</h3>{_table(figures)}"
    return table
