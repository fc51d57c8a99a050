"""What comes back: answers by the user's names, each with its Monte Carlo error and where it came from."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spucc.arrays import FloatArray
from spucc.backend import Progress, silent
from spucc.diagnostics import fail
from spucc.energy import QueryKind
from spucc.running.claim import Claim, refuse, release
from spucc.running.moments import Moments
from spucc.running.quantiles import quantiles, stretches

if TYPE_CHECKING:
    from spucc.stages import Program


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one query.

    `value`: for `sample` the draws, chains one after the other, [draws, *shape]; for the others the estimate. `error`: one
    standard error of each entry of an estimate (None where none can be given). `ess`: effective sample size of each entry
    of what was asked about, shape of the form, and `rhat` likewise (None with one chain). `scheduled`: the standard error
    that the program's schedule predicted for so many draws. `parts`: for `argmin` the
    variables in `value`'s order, with their shapes. `trajectory`: `value` [paths, times, *shape], and in `extra` the `time`
    [times] of the device and the `heat` [paths] in kT.
    """

    name: str
    kind: QueryKind
    value: FloatArray
    error: FloatArray | None = None
    ess: FloatArray | None = None
    rhat: FloatArray | None = None
    chains: int = 1
    parts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    note: str = ""
    scheduled: FloatArray | None = None
    extra: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """All answers of a run. `result["x"]` is the array of query x; `provenance` says where everything came from; `program` is
    what was run, which goes with the draws into a `.nc` file."""

    answers: tuple[Answer, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    program: Program | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> FloatArray:
        return self.answer(name).value

    def __contains__(self, name: str) -> bool:
        return any(a.name == name for a in self.answers)

    def __iter__(self) -> Any:
        return iter(a.name for a in self.answers)

    def answer(self, name: str) -> Answer:
        """The answer to a query by name. Raises KeyError for a name that was not asked."""
        for a in self.answers:
            if a.name == name:
                return a
        raise KeyError(f"no query `{name}`; there are {', '.join(a.name for a in self.answers)}")

    def table(self, most: int = 20, progress: Progress = silent) -> str:
        """The answers as text: for draws mean, sd, quantiles and effective sample size of each entry; for estimates value
        and standard error. At most `most` rows a query."""
        return "\n\n".join(_answer_table(a, most, progress) for a in self.answers)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        from spucc.report.notebook import result_html

        return result_html(self)

    def arrays(self) -> dict[str, FloatArray]:
        """One array for each query under its name; `argmin` gives one for each variable (`best.x`). Beside it, where they are
        known: `x.error`, `x.scheduled`, `x.ess`, `x.rhat`, and `x.autocorrelation`, the integrated time in draws."""
        drawn = self.provenance.get("samples")
        out: dict[str, FloatArray] = {}
        for a in self.answers:
            if a.kind is QueryKind.ARGMIN:
                at = 0
                for name, shape in a.parts:
                    size = int(np.prod(shape, dtype=np.int64))
                    out[f"{a.name}.{name}"] = a.value[at : at + size].reshape(shape)
                    at += size
            else:
                out[a.name] = a.value
            figures = {"error": a.error, "scheduled": a.scheduled, "ess": a.ess, "rhat": a.rhat}
            if drawn is not None and a.ess is not None:
                figures["autocorrelation"] = drawn / a.ess
            out.update({f"{a.name}.{key}": value for key, value in figures.items() if value is not None})
            out.update({f"{a.name}.{key}": value for key, value in a.extra.items()})
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to `.nc` (ArviZ InferenceData), `.npz` or `.json`, whole or not at all. Raises E0391 for another ending and
        E0392 when the file cannot be written."""
        target = Path(path)
        writers = {".npz": _npz, ".json": _json, ".nc": _netcdf}
        if target.suffix not in writers:
            fail(
                "E0391", f"cannot write results as `{target.name}`", help="end the name in .nc, .npz or .json"
            )
        write_whole(target, writers[target.suffix](self))

    def to_arviz(self) -> Any:
        """As ArviZ InferenceData (0.x) or DataTree (1.x). Needs the extra `arviz`; raises E0393 without it."""
        try:
            import arviz
        except ImportError:
            fail("E0393", "ArviZ is not installed", help='pip install "spucc[arviz]"')
        posterior = {a.name: _by_chain(a) for a in self.answers if a.kind is QueryKind.SAMPLE}
        if hasattr(arviz, "InferenceData"):
            return arviz.from_dict(posterior=posterior)
        return arviz.from_dict({"posterior": posterior})


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place first, then moved there. Raises E0392, E0743 when that fails."""
    claim = Claim(path, wait=True)
    try:
        claim.file.write(content)
        claim.file.flush()
        os.fsync(claim.file.fileno())
        release(claim.put())
    except OSError as error:
        claim.drop()
        refuse(path, error)
    except BaseException:
        claim.drop()
        raise


# --- the terminal ----------------------------------------------------------------------------------------------------------


def entry_names(name: str, shape: tuple[int, ...], most: int) -> list[str]:
    """`x[0]`, `x[1]` … of an array, at most so many."""
    size = int(np.prod(shape, dtype=np.int64))
    if not shape:
        return [name]
    return [
        f"{name}[{', '.join(str(int(i)) for i in np.unravel_index(k, shape))}]"
        for k in range(min(size, most))
    ]


def figure(x: float) -> str:
    """Five significant digits; a dash for what is not known."""
    return "–" if np.isnan(x) else f"{x:.5g}"


def columns(header: list[str], rows: list[list[str]]) -> str:
    """Rows with aligned columns, the first to the left and the others to the right."""
    widths = [max(len(r[c]) for r in [header, *rows]) for c in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])] + [v.rjust(w) for v, w in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _answer_table(a: Answer, most: int, progress: Progress) -> str:
    if a.kind is QueryKind.SAMPLE:
        return _sample_table(a, most, progress)
    if a.kind is QueryKind.TRAJECTORY:
        return _path_table(a, most)
    rows = []
    if a.kind is QueryKind.ARGMIN:
        names = [n for part, shape in a.parts for n in entry_names(part, shape, most)][:most]
        rows = [[n, figure(v)] for n, v in zip(names, a.value)]
        head = columns([f"{a.name} = argmin()", "value"], rows)
    else:
        flat = a.value.reshape(-1)
        given = {"std.error": a.error, "scheduled": a.scheduled}
        shown = {k: np.broadcast_to(e, a.value.shape).reshape(-1) for k, e in given.items() if e is not None}
        for k, n in enumerate(entry_names(a.name, a.value.shape, most)):
            rows.append([n, figure(flat[k]), *(figure(e[k]) for e in shown.values())])
        head = columns([f"{a.kind}", "value", *shown], rows)
    left = a.value.size - len(rows)
    tail = f"\n… and {left} more entries" if left > 0 else ""
    return head + tail + (f"\n{a.note}" if a.note else "")


def _sample_table(a: Answer, most: int, progress: Progress) -> str:
    shape = a.value.shape[1:]
    draws = a.value.reshape(1, a.value.shape[0], -1)[:, :, :most]
    count = draws.shape[1]
    if count == 0:
        return f"{a.name}: no draws"
    moments = Moments(*draws.shape, whole=False, dependent=False)
    for part in stretches(draws, lambda share: progress(f"computing {a.name}", 0.3 * share)):
        moments.add(part)
    q = quantiles(draws, _SHOWN, lambda share: progress(f"computing {a.name}", 0.3 + 0.7 * share))
    mean, sd = moments.mean(), np.sqrt(moments.var())
    ess = np.full(mean.size, np.nan) if a.ess is None else a.ess.reshape(-1)[:most]
    names = entry_names(a.name, shape, most)
    rows = [
        [n, *(figure(v) for v in (mean[k], sd[k], *q[:, k])), f"{ess[k]:.0f}"] for k, n in enumerate(names)
    ]
    if a.rhat is not None:
        for row, r in zip(rows, a.rhat.reshape(-1)):
            row.append(f"{r:.3f}" if r < _MIXED else "not mixed")
    header = ["", "mean", "sd", "5%", "50%", "95%", "ess", *(["rhat"] if a.rhat is not None else [])]
    if np.any(ess < a.value.shape[0]):
        # The integrated time, in draws: so many are worth one that is independent.
        header.append("autocorrelation")
        for row, e in zip(rows, ess):
            row.append(figure(a.value.shape[0] / e))
    left = int(np.prod(shape, dtype=np.int64)) - len(rows)
    return columns(header, rows) + (f"\n… and {left} more entries" if left > 0 else "")


_SHOWN = np.array([0.05, 0.5, 0.95])

# Above this R̂ its size says nothing more.
_MIXED = 100.0


def _path_table(a: Answer, most: int) -> str:
    """Mean and spread over the paths of each entry, at a quarter, half, and the end of the time."""
    times, count = a.extra["time"], a.value.shape[1]
    at = sorted({max(count // 4 - 1, 0), max(count // 2 - 1, 0), count - 1})
    flat = a.value.reshape(*a.value.shape[:2], -1)[:, :, :most]
    names = entry_names(a.name, a.value.shape[2:], most)
    rows = []
    for k, n in enumerate(names):
        cells = [figure(v) for t in at for v in (flat[:, t, k].mean(), flat[:, t, k].std())]
        rows.append([n, *cells])
    head = ["", *(text for t in at for text in (f"mean({figure(times[t])})", "sd"))]
    left = int(np.prod(a.value.shape[2:], dtype=np.int64)) - len(rows)
    return columns(head, rows) + (f"\n… and {left} more entries" if left > 0 else "") + f"\n{a.note}"


# --- files -----------------------------------------------------------------------------------------------------------------


def _npz(result: Result) -> bytes:
    """A deterministic `.npz`: one array for each query, and the provenance as a JSON string."""
    buffer = io.BytesIO()
    content = {**result.arrays(), "provenance": np.array(_origin(result))}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, value in content.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue())
    return buffer.getvalue()


def _json(result: Result) -> bytes:
    """Answers with their errors, effective sample sizes and the provenance."""
    answers = {}
    arrays = result.arrays()
    for a in result.answers:
        entry: dict[str, Any] = {"kind": str(a.kind), "value": _plain(a.value)}
        if a.kind is QueryKind.ARGMIN:
            entry["value"] = {part: _plain(arrays[f"{a.name}.{part}"]) for part, _ in a.parts}
        for key in ("error", "scheduled", "ess", "rhat", "autocorrelation"):
            if f"{a.name}.{key}" in arrays:
                entry[key] = _plain(arrays[f"{a.name}.{key}"])
        entry.update({key: _plain(value) for key, value in a.extra.items()})
        if a.note:
            entry["note"] = a.note
        answers[a.name] = entry
    document = {"answers": answers, "provenance": dict(result.provenance), "complete": result.complete}
    return (json.dumps(document, indent=1) + "\n").encode()


def _origin(result: Result) -> str:
    """The provenance as JSON; that of an interrupted run says so."""
    told = {} if result.complete else {"complete": False}
    return json.dumps({**result.provenance, **told}, sort_keys=True)


def _plain(value: FloatArray) -> Any:
    """Nested lists, with null for what JSON has no number for."""
    if np.isfinite(value).all():
        return value.tolist()
    plain = value.astype(object)
    plain[~np.isfinite(value)] = None
    return plain.tolist()


def _by_chain(a: Answer) -> FloatArray:
    """Draws as [chain, draw, *shape]."""
    return np.asarray(a.value.reshape(a.chains, -1, *a.value.shape[1:]))


def _netcdf(result: Result) -> bytes:
    """ArviZ's InferenceData schema: draws in the group `posterior` with dimensions chain and draw, the other answers in the
    group `answers`, provenance as attributes."""
    import h5netcdf

    from spucc.running.stored import packed

    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as root:
        root.attrs["creation_library"] = "spucc"
        root.attrs["provenance"] = _origin(result)
        draws = [a for a in result.answers if a.kind is QueryKind.SAMPLE]
        if draws:
            group = root.create_group("posterior")
            group.attrs["inference_library"] = "spucc"
            values = {a.name: _by_chain(a) for a in draws}
            chains, count = next(iter(values.values())).shape[:2]
            group.dimensions = {"chain": chains, "draw": count}
            group.create_variable("chain", ("chain",), data=np.arange(chains))
            group.create_variable("draw", ("draw",), data=np.arange(count))
            for name, value in values.items():
                _variable(group, name, value, ("chain", "draw"))
        arrays = {k: v for k, v in result.arrays().items() if k not in {a.name for a in draws}}
        if arrays:
            group = root.create_group("answers")
            for name, value in arrays.items():
                _variable(group, name, np.asarray(value), ())
        program = b"" if result.program is None else packed(result.program)
        if program:
            _variable(root.create_group("run"), "program", np.frombuffer(program, dtype=np.uint8), ())
    return buffer.getvalue()


def _variable(group: Any, name: str, value: NDArray[Any], leading: tuple[str, ...]) -> None:
    own = []
    for k, size in enumerate(value.shape[len(leading) :]):
        dimension = f"{name}_dim_{k}"
        group.dimensions[dimension] = size
        group.create_variable(dimension, (dimension,), data=np.arange(size))
        own.append(dimension)
    group.create_variable(name, (*leading, *own), data=value)
