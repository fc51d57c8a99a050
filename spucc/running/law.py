"""The distribution that a program's devices sample after infinite time, in the user's names, from the codes alone.

Codes → circuit → read-out is `spucc.targets.law`, which shares nothing with the passes; here the jobs are put together and
led back to the variables of the source.
"""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from spucc.arrays import BoolArray, FloatArray, IntArray, frozen
from spucc.diagnostics import fail
from spucc.fidelity.ledger import Divergence, gaussian_divergence
from spucc.running.results import columns, figure, write_whole
from spucc.stages import Configuration, Program, source_maps

if TYPE_CHECKING:
    from spucc.energy import Query
    from spucc.targets.law import Law

DENSE_LIMIT = 3000
"""Up to so many coordinates the whole covariance is given; of more, variances and the covariances of coupled pairs."""

LARGEST = 40_000
"""Coordinates of one job beyond which not even the variances are solved for one by one."""

_BLOCK = 256


@dataclass(frozen=True, eq=False)
class ProgramLaw:
    """Mean [n], variance [n] and covariance of the n coordinates of a program's source.

    `covariance` is [n, n], or None for more than `DENSE_LIMIT` coordinates; then `pairs` [m, 2] and `entries` [m] are the
    covariances of coordinates that the model couples. `known` tells coordinates that the program has a law for: those that
    `reduce` integrated out have none, and NaN. `gaussian` is False for the mixture that an ensemble makes. `jobs` are the
    laws of the jobs, in their own coordinates.
    """

    mean: FloatArray
    variance: FloatArray
    covariance: FloatArray | None
    pairs: IntArray
    entries: FloatArray
    known: BoolArray
    gaussian: bool
    jobs: tuple[Law, ...] = field(repr=False)


def program_law(program: Program) -> ProgramLaw:
    """The law of every coordinate of the source.

    Raises:
        SpuccError: E0595 for a job that is not Gaussian or not compiled to the end, E0596 for one too large to solve;
            E0720, E0721 for a circuit without a law.
    """

    laws = tuple(job_laws(program))
    maps, offset = source_maps(program)
    n = program.source.n
    mean, variance = np.array(offset), np.zeros(n)
    pairs = _pairs(program) if n > DENSE_LIMIT else np.zeros((0, 2), dtype=np.int64)
    entries = np.zeros(pairs.shape[0])
    covariance = np.zeros((n, n)) if n <= DENSE_LIMIT else None
    known = np.zeros(n, dtype=bool)
    known[program.source.observed.index] = True
    for law, matrix in zip(laws, maps):
        known[np.diff(matrix.indptr) > 0] = True
        mean += matrix @ law.mean
        if covariance is not None:
            covariance += (matrix @ (matrix @ law.cov()).T).T
        else:
            part, selected = _selected(law, matrix, pairs)
            variance += part
            entries += selected
    if covariance is not None:
        covariance = 0.5 * (covariance + covariance.T)
        variance = np.diagonal(covariance).copy()
        covariance[~known] = np.nan
        covariance[:, ~known] = np.nan
    mean[~known], variance[~known] = np.nan, np.nan
    return ProgramLaw(
        frozen(mean),
        frozen(variance),
        None if covariance is None else frozen(covariance),
        frozen(pairs, np.int64),
        frozen(entries),
        known,
        all(law.gaussian for law in laws),
        laws,
    )


def job_laws(program: Program) -> Iterator[Law]:
    """The law of each job in its own coordinates. Raises as `program_law` does."""
    from spucc.targets.law import law

    for job in program.jobs:
        if not isinstance(job.value, Configuration):
            fail(
                "E0595",
                f"job `{job.name}` is not compiled to the end, so it has no law yet",
                help="run the passes up to `lower`",
            )
        if not job.target.is_gaussian:
            fail(
                "E0595",
                f"job `{job.name}` is not Gaussian, so its law has no mean and covariance to write down",
                help="`spucc run` draws from it; `spucc.oracle` enumerates up to 20 spins",
            )
        yield law(job.value, program.device_of(job))


def _pairs(program: Program) -> IntArray:
    """Coordinates i < j that the model couples, in lexicographic order."""
    upper = sparse.coo_array(sparse.triu(program.source.quadratic.tocsr(), k=1))
    order = np.lexsort((upper.col, upper.row))
    return np.stack([upper.row[order], upper.col[order]], axis=1).astype(np.int64)


def _selected(law: Law, matrix: sparse.csr_array, pairs: IntArray) -> tuple[FloatArray, FloatArray]:
    """Variances of matrix @ x and covariances of the pairs, by solving for blocks of columns of the covariance."""
    from spucc.targets.gaussian import factorise

    n = law.mean.size
    if n > LARGEST:
        fail(
            "E0596",
            f"the law of {n} coordinates takes {n} solutions of the circuit's equations, more than the {LARGEST} that are done",
            help="ask for `var` or `cov` of a part with `spucc run`",
        )
    factor = None if law.covariance is not None else factorise(law.precision)
    rows = matrix.shape[0]
    variance, entries = np.zeros(rows), np.zeros(pairs.shape[0])
    for start in range(0, rows, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, rows))
        right = np.asarray(matrix[block].T.toarray())
        solved = law.cov() @ right if factor is None else factor.solve(right)
        column = np.asarray(matrix @ solved)
        variance[block] = column[block, np.arange(block.size)]
        low, high = np.searchsorted(pairs[:, 0], [start, start + block.size])
        here = pairs[low:high]
        entries[low:high] = column[here[:, 1], here[:, 0] - start]
    return variance, entries


def agreement(program: Program, law: ProgramLaw) -> dict[str, Divergence]:
    """For every job of at most `DENSE_LIMIT` coordinates the figures of its law, as configured, against the job's model: what
    the ledger's last line says, computed from the codes alone."""
    from spucc.oracle import gaussian

    found = {}
    for job, realised in zip(program.jobs, law.jobs):
        if 0 < job.target.n <= DENSE_LIMIT:
            exact = gaussian(job.target)
            found[job.name] = gaussian_divergence(
                exact.mean, exact.covariance(), realised.mean, realised.cov()
            )
    return found


def law_arrays(program: Program) -> dict[str, FloatArray]:
    """Mean and covariance of each variable under `x.mean`, `x.cov` (`x.var` beyond `DENSE_LIMIT` coordinates), of what each
    query asks about under the query's name, and of all coordinates together under `mean`, `covariance`, with their names in
    `names`. A variable whose law is singular has no coordinates, so it is there only as what a query asks about.

    Of more than `DENSE_LIMIT` coordinates, `variance` and the covariances of coupled `pairs` [m, 2] in `entries` [m].
    """
    law = program_law(program)
    out: dict[str, FloatArray] = {
        "names": np.array(list(program.source.labels())),
        "mean": law.mean,
        "variance": law.variance,
    }
    if law.covariance is not None:
        out["covariance"] = law.covariance
    else:
        out["pairs"], out["entries"] = law.pairs.astype(np.float64), law.entries
    for v in program.source.variables:
        at = slice(v.start, v.stop)
        out[f"{v.name}.mean"] = law.mean[at].reshape(v.shape)
        if law.covariance is not None:
            out[f"{v.name}.cov"] = law.covariance[at, at]
        else:
            out[f"{v.name}.var"] = law.variance[at].reshape(v.shape)
    for query, mean, cov in _asked(program, law):
        out.setdefault(f"{query.name}.mean", mean)
        out.setdefault(f"{query.name}.cov", cov)
    return out


def _asked(program: Program, law: ProgramLaw) -> Iterator[tuple[Query, FloatArray, FloatArray]]:
    """Mean, of the asked expression's shape, and covariance [m, m] of what each query asks about, where they are known."""
    for query in program.source.queries:
        form = query.form
        if form is None or law.covariance is None or form.size > DENSE_LIMIT:
            continue
        if law.known[form.matrix.indices].all():
            half = form.matrix @ np.where(law.known, law.covariance, 0.0)
            mean = form.matrix @ np.where(law.known, law.mean, 0.0) + form.offset
            yield query, np.asarray(mean).reshape(form.shape), np.asarray((form.matrix @ half.T).T)


def save_law(arrays: dict[str, FloatArray], path: Path) -> None:
    """Write the arrays to a deterministic `.npz`, whole or not at all. Raises E0391 for another ending, E0392 where the file
    cannot be written."""
    if path.suffix != ".npz":
        fail("E0391", f"cannot write a law as `{path.name}`", help="end the name in .npz")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, value in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue())
    write_whole(path, buffer.getvalue())


def law_table(program: Program, arrays: dict[str, FloatArray], most: int = 20) -> str:
    """The first `most` entries of what the user named, with mean and standard deviation, and how many there are."""
    rows: list[list[str]] = []
    hidden = {v.name for v in program.source.variables if "." in v.name}
    listed = [v.name for v in program.source.variables if v.name not in hidden]
    if hidden:
        listed += [
            q.name for q in program.source.queries if f"{q.name}.cov" in arrays and q.name not in listed
        ]
    total = 0
    for name in listed:
        mean = arrays[f"{name}.mean"]
        variance = (
            np.diagonal(arrays[f"{name}.cov"]) if f"{name}.cov" in arrays else arrays[f"{name}.var"].ravel()
        )
        total += mean.size
        for place in itertools.islice(np.ndindex(mean.shape), most - len(rows)):
            at = int(np.ravel_multi_index(place, mean.shape)) if place else 0
            label = name + (f"[{', '.join(map(str, place))}]" if place else "")
            if np.isnan(variance[at]):
                rows.append([label, "integrated out", ""])
            else:
                rows.append([label, figure(float(mean[place])), figure(float(np.sqrt(variance[at])))])
    left = total - len(rows)
    return columns(["", "mean", "sd"], rows) + (f"\n… and {left} more" if left > 0 else "")


def ledger_check(program: Program) -> str:
    """One line a job: how far its law is from the model, and how far that is from what the ledger says: to 1e-9, or as many
    times that as the farthest mean is standard deviations from zero, since double precision holds no more of a mean."""
    last = {entry.job: entry for entry in program.ledger}
    lines = []
    law = program_law(program)
    reach = {job.name: _farthest(part) for job, part in zip(program.jobs, law.jobs)}
    for name, found in agreement(program, law).items():
        line = f"job {name}: KL {found.kl_forward:.3g} a variable, sd within {found.sd_error:.2g} relative"
        if name in last:
            away = max(
                abs(getattr(found, key) - getattr(last[name], key))
                for key in ("kl_forward", "sd_error", "mean_error", "correlation_error")
            )
            if away <= 1e-9:
                line += f"; the ledger agrees within {away:.1g}"
            elif away <= 1e-9 * reach[name]:
                line += f"; the ledger agrees within {away:.1g}, as far as doubles hold means {reach[name]:.1g} sd from zero"
            else:
                line += f"; the ledger is off by {away:.2g}"
        lines.append(line)
    return "\n".join(lines)


def _farthest(law: Law) -> float:
    """The farthest mean in units of its standard deviation, at least 1."""
    return (
        float(np.max(np.abs(law.mean) / np.sqrt(np.diagonal(law.cov())), initial=1.0))
        if law.mean.size <= DENSE_LIMIT
        else 1.0
    )
