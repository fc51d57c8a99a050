"""Models with real variables and spins or bits, on a pair of devices: one for the reals, one for the spins.

Where the spins act on the reals only through fields,

    E(x, s) = ½ xᵀA x − xᵀ(b + W s) + E₂(s),

the square completes and nothing has to alternate between the devices:

    s ~ exp(−E'(s)/T),  E'(s) = E₂(s) − ½ (b + W s)ᵀA⁻¹(b + W s)          a p-bit device's
    η ~ N(0, T A⁻¹), independent of s                                      a Gaussian device's
    x = η + A⁻¹(b + W s)                                                   the read-out

exactly, with A⁻¹ once on the host. Other models take turns (`spucc.running.turns`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.backend import Backend, Chunk, Progress, Request, silent
from spucc.device import Device, Family
from spucc.diagnostics import Diagnostic, SpuccError, fail
from spucc.energy import Energy, Form, Monomials, Observed, Quadratic, Query, QueryKind, restrict_variables
from spucc.readback import Affine, fold
from spucc.stages import Configuration, Job, Program, Provenance, Step

_DRAWS = "draws"


@dataclass(frozen=True, eq=False)
class Separated:
    """The two parts, each over its own coordinates, and the map from [η, s] to the coordinates of the model."""

    gaussian: Energy
    spins: Energy
    readback: Affine


def is_mixed(energy: Energy) -> bool:
    """Whether real variables and spins or bits are left when what is observed has gone."""
    real, spin, bit = (np.setdiff1d(d, energy.observed.index) for d in energy.domains)
    return bool(real.size and (spin.size or bit.size))


def refuse_mixed(energy: Energy, device: Device) -> None:
    """Raises E0515 for a mixed model on one device, with the way out that there is."""
    if not is_mixed(energy):
        return
    real, spin, bit = (np.setdiff1d(d, energy.observed.index) for d in energy.domains)
    two = int(min([*spin[:1], *bit[:1]]))
    x, s = energy.label(int(real[0])), energy.label(two)
    fail(
        "E0515",
        f"`{x}` is real and `{s}` takes two values; no single device, and so not `{device.name}`, holds both",
        next((v.span for v in energy.variables if v.start <= two < v.stop), None),
        help="give a device for each part: `--target resistive-64+ideal-spin`",
    )


def unobserved(energy: Energy) -> tuple[Energy, Affine]:
    """A mixed model without what is observed, and the way back. Raises E0515 where nothing is mixed."""
    from spucc.conditioning import conditioned

    if not is_mixed(energy):
        fail("E0515", "the model is not mixed, so it has no two parts", help="compile it for one device")
    index, value = energy.observed.index, energy.observed.value
    keep = np.setdiff1d(np.arange(energy.n), index, assume_unique=True)
    known = np.zeros(energy.n)
    known[index] = value
    rows = sparse.csr_array((np.ones(keep.size), (keep, np.arange(keep.size))), shape=(energy.n, keep.size))
    model = conditioned(energy, keep, index, value) if index.size else energy
    return model, Affine(rows, frozen(known))


def separate(energy: Energy) -> Separated:
    """The two parts of a mixed model (module docstring), what is observed taken out first.

    Raises E0516, naming the variables, where a real variable has a term above degree 2 or a product with two spins or with its
    own square, and E0515 where nothing is mixed or the real part is not a proper Gaussian.
    """
    model, outer = unobserved(energy)
    real, spin, bit = model.domains
    two = np.sort(np.concatenate([spin, bit]))
    if why := obstacle(model):
        fail("E0516", f"the model does not separate into a Gaussian and a spin part: {why}")
    q = model.quadratic.tocsr()
    a = sparse.csc_matrix(q[real][:, real])
    w = np.asarray(-q[real][:, two].toarray())
    b = -np.asarray(model.linear)[real]
    solved = solve_proper(a, np.column_stack([b, w]), model, real)
    mean, gain = solved[:, 0], solved[:, 1:]
    gaussian = replace(
        model,
        variables=restrict_variables(model.variables, real),
        linear=frozen(np.zeros(real.size)),
        quadratic=model.quadratic.restrict(frozen(real, np.int64)),
        constant=0.0,
        higher=(),
        observed=Observed.none(),
        queries=(_everything(real.size),),
        origins=(),
    )
    pull = w.T @ gain
    spins = replace(
        model,
        variables=restrict_variables(model.variables, two),
        linear=frozen(np.asarray(model.linear)[two] - w.T @ mean),
        quadratic=Quadratic(sparse.csr_array(q[two][:, two] - sparse.csr_array(0.5 * (pull + pull.T)))),
        constant=model.constant - 0.5 * float(b @ mean),
        higher=tuple(_renumbered(t, two) for t in model.higher),
        observed=Observed.none(),
        queries=(_everything(two.size),),
        origins=(),
    )
    r, m = real.size, two.size
    below = sparse.csr_array((np.ones(m), (two, r + np.arange(m))), shape=(model.n, r + m))
    above = sparse.csr_array((np.ones(r), (real, np.arange(r))), shape=(model.n, r + m))
    row, col = np.nonzero(gain)
    through = sparse.csr_array(
        sparse.coo_array((gain[row, col], (real[row], r + col)), shape=(model.n, r + m))
    )
    offset = np.zeros(model.n)
    offset[real] = mean
    inner = Affine(sparse.csr_array(above + below + through), frozen(offset))
    return Separated(gaussian, spins, outer.after(inner))


def compile_mixed(
    energy: Energy,
    device: Device,
    *,
    provenance: Provenance | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Program:
    """One program for a pair of devices: in two parts where they separate, else one that takes turns (`spucc.running.turns`).

    Options as of `spucc.driver.compile_energy`. Raises E0515 where nothing is mixed or the real part has no proper law, E0516
    for queries that such a program does not answer and for `passes`, and as the passes.
    """
    from spucc.driver import check_tolerance, with_queries
    from spucc.running.turns import compile_turns

    if options.pop("passes", None):
        fail("E0516", "a pair of devices has two pipelines, so `passes` cannot name one", help="leave it out")
    source = with_queries(energy)
    _refuse_queries(source)
    if obstacle(unobserved(source)[0]):
        program = compile_turns(source, device, provenance)
    else:
        program = _together(source, separate(source), device, provenance, options)
    if tolerance is not None:
        check_tolerance(program.ledger, tolerance)
    return program


def _refuse_queries(source: Energy) -> None:
    found = [
        Diagnostic("E0516", f"query `{q.name}` asks for `{q.kind}`, which no pair of devices answers", q.span)
        for q in source.queries
        if q.kind in (QueryKind.LOGZ, QueryKind.TRAJECTORY)
    ]
    if found:
        raise SpuccError(found)


def _together(
    source: Energy, parts: Separated, device: Device, provenance: Provenance | None, options: dict[str, Any]
) -> Program:
    """Both parts compiled, each on its device, as the jobs of one program."""
    from spucc.driver import compile_energy

    assert device.partner is not None
    one = compile_energy(parts.gaussian, device.alone, **options)
    two = compile_energy(parts.spins, device.partner, **options)
    maps, offset = [], []
    for part in (one, two):
        back = fold([s.readback for s in part.steps if s.readback is not None], part.source.n)[0]
        assert isinstance(back, Affine)
        maps.append(back.matrix)
        offset.append(back.offset)
    both = Affine(sparse.csr_array(sparse.block_diag(maps, format="csr")), frozen(np.concatenate(offset)))
    note = f"{parts.gaussian.n} real variables and {parts.spins.n} of two values, drawn apart"
    return Program(
        device=device,
        source=source,
        model=_side_by_side(one.model, two.model),
        jobs=(
            *one.jobs,
            *(replace(j, coordinates=frozen(j.coordinates + one.model.n, np.int64)) for j in two.jobs),
        ),
        steps=(
            Step("separate", parts.readback.after(both), (note,)),
            *(Step(s.name, None, s.notes) for s in (*one.steps, *two.steps)),
        ),
        ledger=(*one.ledger, *two.ledger),
        provenance=provenance or Provenance(),
        pipeline=f"{one.pipeline};{two.pipeline}",
    )


def _side_by_side(one: Energy, two: Energy) -> Energy:
    """The energy of both parts, which do not interact; one's coordinates first."""
    return replace(
        one,
        variables=(*one.variables, *(replace(v, start=v.start + one.n) for v in two.variables)),
        linear=frozen(np.concatenate([one.linear, two.linear])),
        quadratic=Quadratic(
            sparse.csr_array(sparse.block_diag([one.quadratic.tocsr(), two.quadratic.tocsr()], format="csr"))
        ),
        constant=one.constant + two.constant,
        higher=tuple(Monomials(frozen(t.index + one.n, np.int64), t.coefficient) for t in two.higher),
        observed=Observed.none(),
        queries=(),
        origins=(),
    )


def obstacle(model: Energy) -> str:
    """The first product that no field of a spin on a real variable is, and what it does; empty where the model separates."""
    is_real = np.zeros(model.n, dtype=bool)
    is_real[model.domains[0]] = True
    for terms in model.higher:
        bad = is_real[terms.index].any(axis=1)
        if bad.any():
            row = terms.index[np.flatnonzero(bad)[0]].tolist()
            names = "·".join(f"`{model.label(k)}`" for k in row)
            reals = [k for k in row if is_real[k]]
            first = model.label(reals[0])
            if len(reals) == len(row):
                return f"{names}: the real part is not Gaussian"
            if len(reals) >= 2:
                return f"{names}: the stiffness of `{first}` changes with every flip"
            return f"{names}: two spins at once push `{first}`"
    return ""


@dataclass(frozen=True)
class Both:
    """The backends of a pair's two devices as one: each runs the jobs of its own."""

    reals: Backend
    spins: Backend

    @property
    def name(self) -> str:
        return f"{self.reals.name}+{self.spins.name}"

    def _of(self, job: Job) -> Backend:
        assert isinstance(job.value, Configuration)
        return self.spins if job.value.codes.family is Family.PBIT else self.reals

    def _device(self, job: Job, device: Device) -> Device:
        assert isinstance(job.value, Configuration)
        return device.of(job.value.codes.family)

    def independent(self, job: Job, device: Device) -> bool:
        """Whether the job's own backend draws from it independently."""
        tells = getattr(self._of(job), "independent", None)
        return tells is None or bool(tells(job, self._device(job, device)))

    def run(self, job: Job, device: Device, request: Request, progress: Progress = silent) -> Iterator[Chunk]:
        """See `spucc.backend.Backend`."""
        return self._of(job).run(job, self._device(job, device), request, progress)


def engine_of(backend: str | Backend | None, device: Device) -> Backend:
    """The backend that runs a device's programs; of a pair `a+b`, or by default each family's simulator. Raises E0727."""
    from spucc.targets import backend_of

    if device.partner is None or not (backend is None or isinstance(backend, str)):
        return backend_of(backend, device.family)
    names = [None, None] if backend is None else backend.split("+")
    if len(names) != 2:
        fail(
            "E0727",
            f"`{device.name}` is a pair of devices, and `{backend}` names one backend",
            help="name two, such as `exact+pbit`, or leave it out",
        )
    return Both(backend_of(names[0], device.family), backend_of(names[1], device.partner.family))


def solve_proper(a: sparse.csc_matrix, right: FloatArray, model: Energy, real: IntArray) -> FloatArray:
    """A⁻¹ right. Raises E0515 when A is not positive definite."""
    n = a.shape[0]
    if n <= 2000:
        values = np.linalg.eigvalsh(a.toarray())
        if values[0] > 1e-13 * max(float(values[-1]), 1e-300):
            return np.asarray(np.linalg.solve(a.toarray(), right))
    else:
        try:
            lu = sparse_linalg.splu(
                a, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
            if (lu.U.diagonal() > 0).all():
                return np.asarray(lu.solve(right))
        except RuntimeError:
            pass
    worst = model.label(int(real[int(np.argmin(a.diagonal()))]))
    fail(
        "E0515",
        f"given the spins, the real variables (`{worst}` among them) have no proper Gaussian law",
        help="hold them by a prior",
    )


def _everything(n: int) -> Query:
    """A `sample` of all coordinates."""
    form = Form(sparse.csr_array(sparse.eye_array(n, format="csr")), frozen(np.zeros(n)), (n,))
    return Query(_DRAWS, QueryKind.SAMPLE, form)


def _renumbered(terms: Monomials, two: IntArray) -> Monomials:
    return Monomials(frozen(np.searchsorted(two, terms.index), np.int64), terms.coefficient)
