"""`spucc plot`: what draws look like, on one page.

Traces, marginals against the exact density, autocorrelation, and the error of every correlation. What is exact comes from
a compiled program (`spucc.running.law`); without one the marginals stand alone and the map shows the correlations themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spucc.arrays import FloatArray
from spucc.diagnostics import did_you_mean, fail
from spucc.running.results import entry_names
from spucc.stages import Program

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Chains are told by shade, entries by row; the exact law is always dark.
_CHAINS = ("#3b6ea5", "#7fa7cf", "#c58b3b", "#e0bd86", "#5a9367", "#a9cdb1")
_EXACT = "#22262b"

# Draws of each chain that a trace shows, entries of the heat map, lags at most.
_TRACE, _MAP, _LAGS = 1000, 64, 60


@dataclass(frozen=True, eq=False)
class Draws:
    """The draws of one query: `values` [chains, draws, entries], the entries' names, and where the draws come from."""

    query: str
    values: FloatArray
    names: tuple[str, ...]
    provenance: dict[str, Any]


def read_draws(path: Path, query: str | None = None) -> Draws:
    """The draws in a result file: those of `query`, or of the first `sample` query; only those that are done.

    Raises E0748 for a file without draws, or without those of the query.
    """
    import h5netcdf

    try:
        with h5netcdf.File(path, "r") as root:
            provenance = json.loads(str(root.attrs["provenance"])) if "provenance" in root.attrs else {}
            group = root.groups.get("posterior")
            found = (
                []
                if group is None
                else [name for name, v in group.variables.items() if v.dimensions[:2] == ("chain", "draw")]
            )
            if not found:
                fail(
                    "E0748",
                    f"`{path}` has no draws to plot",
                    help="ask for them in the program: query draws = sample(x)",
                )
            name = found[0] if query is None else query
            if name not in found:
                near = did_you_mean(name, found) or f"there are {', '.join(found)}"
                fail("E0748", f"`{path}` has no draws of a query `{name}`", help=near)
            assert group is not None
            values = np.asarray(group.variables[name][...], dtype=np.float64)
            run = root.groups.get("run")
            done = (
                int(run.variables["progress"][0])
                if run is not None and "progress" in run.variables
                else values.shape[1]
            )
    except (OSError, ValueError):
        fail(
            "E0748",
            f"`{path}` cannot be read as a netCDF result",
            help="`spucc run … -o result.nc` writes one",
        )
    values = values[:, :done]
    shape = values.shape[2:]
    flat = values.reshape(*values.shape[:2], -1)
    if flat.shape[1] < 2:
        fail("E0748", f"`{path}` has fewer than two draws", help="resume its run, or take more draws")
    return Draws(name, flat, tuple(entry_names(name, shape, flat.shape[2])), provenance)


def exact_moments(program: Program, query: str) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the entries of a sample query, by the law of the program's codes. Raises E0748 for a query
    that the program does not have or that is too large, and what `spucc.running.law` raises."""
    from spucc.running.law import program_law

    asked = {q.name: q for q in program.source.queries}
    if query not in asked or asked[query].form is None:
        fail(
            "E0748",
            f"the program has no query `{query}`",
            help=did_you_mean(query, asked) or ", ".join(asked),
        )
    form = asked[query].form
    law = program_law(program)
    assert form is not None
    if law.covariance is None:
        fail(
            "E0748",
            f"`{query}` is of a model too large for its exact law to be drawn",
            help="leave --program out",
        )
    touched = np.unique(form.matrix.indices)
    rows = form.matrix[:, touched]
    mean = rows @ law.mean[touched] + np.ravel(form.offset)
    return np.asarray(mean), np.asarray((rows @ (rows @ law.covariance[np.ix_(touched, touched)]).T).T)


def plot(
    path: Path, output: Path, *, query: str | None = None, program: Program | None = None, most: int = 4
) -> None:
    """Draw the page of a result file to `.png` or `.svg`; `most` entries have a row of their own.

    Raises E0747 without matplotlib, E0748 for a file without draws, E0391 for another ending, E0392 where it cannot be
    written.
    """
    if output.suffix not in (".png", ".svg"):
        fail("E0391", f"cannot draw to `{output.name}`", help="end the name in .png or .svg")
    try:
        import matplotlib
    except ImportError:
        fail("E0747", "matplotlib is not installed", help='pip install "spucc[plot]"')
    import io

    from spucc.running.results import write_whole

    draws = read_draws(path, query)
    exact = None if program is None else exact_moments(program, draws.query)
    if exact is not None and exact[0].size != draws.values.shape[2]:
        fail(
            "E0748",
            f"the program's `{draws.query}` has another shape than the draws",
            help="give the program that was run",
        )
    buffer = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "spucc", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = page(draws, exact, most)
        # No date: the same draws give the same bytes.
        figure.savefig(
            buffer,
            format=output.suffix[1:],
            dpi=150,
            metadata={"Date": None} if output.suffix == ".svg" else None,
        )
    write_whole(output, buffer.getvalue())


def page(draws: Draws, exact: tuple[FloatArray, FloatArray] | None, most: int) -> Figure:
    """The figure: a row for each of the first entries (trace, marginal, autocorrelation), below them the map."""
    from matplotlib.figure import Figure

    rows = max(1, min(most, draws.values.shape[2]))
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
    p = draws.provenance
    chains, count = draws.values.shape[:2]
    top.suptitle(
        f"{draws.query}: {chains} chains of {count} draws"
        + (f" on {p['target']} ({p['backend']})" if "target" in p else ""),
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
    size = draws.values.shape[2]
    chosen = np.unique(np.linspace(0, size - 1, min(size, _MAP)).astype(int))
    flat = draws.values.reshape(-1, size)[:, chosen]
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
