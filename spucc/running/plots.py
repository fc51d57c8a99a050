"""`spucc plot`: what draws look like, on one page.

Traces, marginals against the exact density, autocorrelation, and the error of every correlation. What is exact comes from
the compiled program (`spucc.running.law`) that a result holds; without one the marginals stand alone and the map shows the
correlations themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spucc.arrays import FloatArray, IntArray
from spucc.diagnostics import SpuccError, did_you_mean, fail
from spucc.running.results import entry_names
from spucc.running.stored import Stored, opened, stored
from spucc.stages import Program

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Chains are told by shade, entries by row; the exact law is always dark.
_CHAINS = ("#3b6ea5", "#7fa7cf", "#c58b3b", "#e0bd86", "#5a9367", "#a9cdb1")
_EXACT = "#22262b"

# Draws of each chain that a trace shows, entries of the heat map, lags at most.
_TRACE, _MAP, _LAGS = 1000, 64, 60

# Numbers that are read at most, and at once.
_READ, _AT_ONCE = 50_000_000, 1 << 22


@dataclass(frozen=True, eq=False)
class Draws:
    """The draws of one query: `values` [chains, draws, m] of its `entries` [m], with their names; `size` entries has the
    query. `said`: whatever keeps these from being all draws of a finished run. Where they come from, and the program."""

    query: str
    values: FloatArray
    entries: IntArray
    names: tuple[str, ...]
    size: int
    said: tuple[str, ...]
    source: Stored

    @property
    def mapped(self) -> IntArray:
        """The places in `entries` of those that the map shows: all, or an even selection."""
        return np.searchsorted(self.entries, _spread(self.size))


def _spread(size: int) -> IntArray:
    return np.unique(np.linspace(0, size - 1, min(size, _MAP)).astype(np.int64))


def read_draws(path: Path, query: str | None = None, most: int = 4) -> Draws:
    """The draws in a result file: those of `query`, or of the first `sample` query; only those that are done, of the first
    `most` entries and those of the map.

    Raises E0616 for a file that is no result, E0748 for one without draws, or without those of the query.
    """
    source = stored(path)
    if not source.samples:
        fail(
            "E0748",
            f"`{path}` has no draws to plot",
            help="ask for them in the program: query draws = sample(x)",
        )
    name = source.samples[0] if query is None else query
    if name not in source.samples:
        near = did_you_mean(name, source.samples) or f"there are {', '.join(source.samples)}"
        fail("E0748", f"`{path}` has no draws of a query `{name}`", help=near)
    if source.done < 2:
        far = f"; {source.how_far}" if source.how_far else ""
        fail(
            "E0748",
            f"`{path}` has fewer than two draws of each chain{far}",
            help="resume its run, or take more draws",
        )
    shape = source.arrays[f"posterior/{name}"][0]
    size = int(np.prod(shape[2:], dtype=np.int64))
    if not size:
        fail("E0748", f"`{path}` has no entries of `{name}` to plot")
    entries = np.union1d(np.arange(min(most, size)), _spread(size))
    count = min(source.done, max(_READ // (shape[0] * entries.size), 2))
    said = [source.how_far] if source.how_far else []
    if count < source.done:
        said.append(f"drawn from the first {count:,} of {source.done:,} draws a chain")
    values = np.empty((shape[0], count, entries.size))
    with opened(path) as root:
        held = root["posterior"].variables[name]
        step = max(1, _AT_ONCE // size)
        for chain in range(shape[0]):
            for start in range(0, count, step):
                some = np.asarray(held[chain, start : min(start + step, count)])
                values[chain, start : start + step] = some.reshape(some.shape[0], -1)[:, entries]
    names = entry_names(name, shape[2:], size)
    return Draws(name, values, entries, tuple(names[k] for k in entries), size, tuple(said), source)


def exact_moments(
    program: Program, query: str, entries: IntArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the entries (those of `entries`) of a sample query, by the law of the program's codes. Raises
    E0748 for a query that the program does not have, that has no law, or that is too large, and what `spucc.running.law`
    raises."""
    from spucc.running.law import DENSE_LIMIT, program_law

    asked = {q.name: q for q in program.source.queries}
    form = asked[query].form if query in asked else None
    if form is None:
        fail(
            "E0748",
            f"the program has no query `{query}`",
            help=did_you_mean(query, asked) or ", ".join(asked),
        )
    if entries is not None and entries[-1] >= form.size:
        fail(
            "E0748",
            f"the program's `{query}` has another shape than the draws",
            help="give the program that was run",
        )
    if program.source.n > DENSE_LIMIT:
        fail(
            "E0748",
            f"`{query}` is of a model too large for its exact law to be drawn",
            help="leave --program out",
        )
    law = program_law(program)
    assert law.covariance is not None
    chosen = slice(None) if entries is None else entries
    matrix = form.matrix[chosen]
    touched = np.unique(matrix.indices)
    if not law.known[touched].all():
        fail("E0748", f"part of `{query}` was integrated out, so it has no law", help="leave --program out")
    rows = matrix[:, touched]
    mean = rows @ law.mean[touched] + np.ravel(form.offset)[chosen]
    return np.asarray(mean), np.asarray((rows @ (rows @ law.covariance[np.ix_(touched, touched)]).T).T)


def _exact(draws: Draws, program: Program | None) -> tuple[tuple[FloatArray, FloatArray] | None, str]:
    """What is exact by the program that is given, else by the one that the file holds; and why there is nothing exact."""
    if program is not None:
        form = next((q.form for q in program.source.queries if q.name == draws.query), None)
        if form is not None and form.size != draws.size:
            fail(
                "E0748",
                f"the program's `{draws.query}` has another shape than the draws",
                help="give the program that was run",
            )
        return exact_moments(program, draws.query, draws.entries), ""
    try:
        held = draws.source.read_program()
        if held is None:
            return None, "nothing exact is drawn: the file does not hold its program; name it with --program"
        return exact_moments(held, draws.query, draws.entries), ""
    except SpuccError as error:
        return None, f"nothing exact is drawn: {error.diagnostics[0].title}"


def plot(
    path: Path, output: Path, *, query: str | None = None, program: Program | None = None, most: int = 4
) -> tuple[str, ...]:
    """Draw the page of a result file to `.png` or `.svg`; `most` entries have a row of their own. What is exact is that of
    `program`, by default of the one that the file holds. Says what the page does not show, and why.

    Raises E0747 without matplotlib, E0616 for a file that is no result, E0748 for one without draws, E0391 for another
    ending, E0392 where it cannot be written.
    """
    if output.suffix not in (".png", ".svg"):
        fail("E0391", f"cannot draw to `{output.name}`", help="end the name in .png or .svg")
    try:
        import matplotlib
    except ImportError:
        fail("E0747", "matplotlib is not installed", help='pip install "spucc[plot]"')
    import io

    from spucc.running.results import write_whole

    draws = read_draws(path, query, most)
    exact, why = _exact(draws, program)
    buffer = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "spucc", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = page(draws, exact, most)
        # The solver of the layout does not give the same last bits each time, and names in an SVG depend on them.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axis in figure.axes:
            axis.set_position(np.round(axis.get_position(original=True).bounds, 6))
        # No date: the same draws give the same bytes.
        figure.savefig(
            buffer,
            format=output.suffix[1:],
            dpi=150,
            metadata={"Date": None} if output.suffix == ".svg" else None,
        )
    write_whole(output, buffer.getvalue())
    return (*draws.said, *([why] if why else []))


def page(draws: Draws, exact: tuple[FloatArray, FloatArray] | None, most: int) -> Figure:
    """The figure: a row for each of the first entries (trace, marginal, autocorrelation), below them the map."""
    from matplotlib.figure import Figure

    rows = min(most, draws.size)
    figure = Figure(figsize=(10, 1.7 * rows + 4.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.7 * rows + 0.3, 4.0])
    top, bottom = parts
    axes = top.subplots(rows, 3, squeeze=False, gridspec_kw={"width_ratios": [2, 1.2, 1.2]})
    for k in range(rows):
        x = draws.values[:, :, k]
        _trace(axes[k][0], x, draws.names[k])
        _marginal(axes[k][1], x, None if exact is None else (float(exact[0][k]), float(exact[1][k, k])))
        _autocorrelation(axes[k][2], x)
    for axis, title in zip(
        axes[0], ("trace", "marginal" + (" and exact density" if exact else ""), "autocorrelation")
    ):
        axis.set_title(title, loc="left", fontweight="bold")
    axes[-1][0].set_xlabel("draw")
    axes[-1][2].set_xlabel("lag [draws]")
    _map(bottom, draws, exact)
    p, source = draws.source.provenance, draws.source
    count = f"{draws.values.shape[1]:,}" + ("" if source.finished else f" of {source.draws:,}")
    top.suptitle(
        f"{draws.query}: {draws.values.shape[0]} chains of {count} draws"
        + (f" on {p['target']} ({p['backend']})" if {"target", "backend"} <= p.keys() else "")
        + ("" if source.finished else ", unfinished"),
        x=0.01,
        ha="left",
    )
    return figure


def _trace(axis: Axes, x: FloatArray, name: str) -> None:
    # Long chains are thinned evenly, so that the whole run is seen.
    step = max(1, x.shape[1] // _TRACE)
    at = np.arange(0, x.shape[1], step)
    for c, chain in enumerate(x):
        axis.plot(at, chain[at], color=_CHAINS[c % len(_CHAINS)], linewidth=0.4, alpha=0.8)
    axis.set_ylabel(name)
    axis.margins(x=0)


def _marginal(axis: Axes, x: FloatArray, exact: tuple[float, float] | None) -> None:
    flat = x.reshape(-1)
    bins = int(np.clip(2 * flat.size ** (1 / 3), 10, 80))
    axis.hist(flat, bins=bins, density=True, color=_CHAINS[1], edgecolor="none")
    axis.set_yticks([])
    if exact is None or not exact[1] > 0:
        return
    mean, sd = exact[0], float(np.sqrt(exact[1]))
    t = np.linspace(min(flat.min(), mean - 3.5 * sd), max(flat.max(), mean + 3.5 * sd), 300)
    axis.plot(t, np.exp(-0.5 * ((t - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi)), color=_EXACT, linewidth=1)


def _autocorrelation(axis: Axes, x: FloatArray) -> None:
    lags = min(_LAGS, x.shape[1] - 1)
    rho = autocorrelation(x, lags)
    for c, row in enumerate(rho):
        axis.plot(np.arange(lags + 1), row, color=_CHAINS[c % len(_CHAINS)], linewidth=0.8)
    band = 1.96 / np.sqrt(x.shape[1])
    axis.axhspan(-band, band, color="#000000", alpha=0.07, linewidth=0)
    axis.set_ylim(min(-0.2, float(rho.min()) - 0.05), 1.05)
    axis.margins(x=0.02)


def autocorrelation(x: FloatArray, lags: int) -> FloatArray:
    """The autocorrelation [chains, lags + 1] of x [chains, draws], each chain about its own mean."""
    n = x.shape[1]
    centred = x - x.mean(axis=1, keepdims=True)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size, axis=1)) ** 2
    cov = np.fft.irfft(spectrum, size, axis=1)[:, : lags + 1] / n
    return np.asarray(cov / np.where(cov[:, :1] > 0, cov[:, :1], 1.0))


def _map(part: Any, draws: Draws, exact: tuple[FloatArray, FloatArray] | None) -> None:
    chosen = draws.mapped
    flat = draws.values.reshape(-1, draws.values.shape[2])[:, chosen]
    corr = np.atleast_2d(_correlation(np.atleast_2d(np.cov(flat.T))))
    left, right = part.subplots(1, 2)
    panels: list[tuple[Axes, FloatArray, float, str]] = [(left, corr, 1.0, "correlation of the draws")]
    if exact is not None:
        error = corr - _correlation(exact[1][np.ix_(chosen, chosen)])
        top = max(float(np.abs(error).max()), 1e-12)
        panels.append((right, error, top, f"error of the correlation, worst {top:.2g}"))
    else:
        right.set_axis_off()
    names = [draws.names[k] for k in chosen]
    for axis, matrix, top, title in panels:
        image = axis.imshow(matrix, vmin=-top, vmax=top, cmap="RdBu_r", interpolation="nearest")
        axis.set_title(title, loc="left", fontweight="bold")
        step = max(1, -(-len(names) // 12))
        axis.set_xticks(range(0, len(names), step), names[::step], rotation=60, ha="right")
        axis.set_yticks(range(0, len(names), step), names[::step])
        part.colorbar(image, ax=axis, shrink=0.8)


def _correlation(cov: FloatArray) -> FloatArray:
    sd = np.sqrt(np.diagonal(cov))
    sd = np.where(sd > 0, sd, 1.0)
    return np.asarray(cov / np.outer(sd, sd))
