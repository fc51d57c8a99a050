"""Models with real variables and spins or bits: one Gaussian part and one spin part, drawn apart.

Where the spins act on the reals only through fields,

    E(x, s) = ½ xᵀA x − xᵀ(b + W s) + E₂(s),

the square completes and nothing has to alternate between the devices:

    s ~ exp(−E'(s)/T),  E'(s) = E₂(s) − ½ (b + W s)ᵀA⁻¹(b + W s)          a p-bit device's
    η ~ N(0, T A⁻¹), independent of s                                      a Gaussian device's
    x = η + A⁻¹(b + W s)                                                   the read-out

exactly, with A⁻¹ once on the host. Where a spin changes the stiffness of a real variable (spike and slab: s x²), A and with it
the Gaussian device's configuration would change with every flip: a load of the device for each draw, which no device here
prices or offers; such models are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import linalg as sparse_linalg

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.backend import silent
from spucc.device import Device
from spucc.diagnostics import Diagnostic, SpuccError, fail
from spucc.energy import Energy, Form, Monomials, Observed, Quadratic, Query, QueryKind, restrict_variables
from spucc.estimates import Estimate
from spucc.readback import Affine
from spucc.results import Result
from spucc.stages import Program, Provenance

_DRAWS = "draws"


@dataclass(frozen=True, eq=False)
class Separated:
    """The two parts, each over its own coordinates, and the map from [η, s] to the coordinates of the model."""

    gaussian: Energy
    spins: Energy
    readback: Affine


@dataclass(frozen=True, eq=False)
class MixedProgram:
    """Two programs and the way back to the coordinates of `source`."""

    source: Energy
    gaussian: Program
    spins: Program
    readback: Affine
    provenance: Provenance

    def run(
        self,
        *,
        samples: int = 4000,
        chains: int = 4,
        seed: int = 0,
        progress: Callable[[str, float], None] = silent,
        mode: str = "independent",
    ) -> Result:
        """Run both programs and answer the model's queries from their draws together. Raises as `spucc.running.run_program`."""
        from spucc.running import Plan, provenance
        from spucc.targets import DEFAULT_BACKENDS

        plan = Plan.of(samples, chains)
        parts, complete, names = [], True, []
        for program in (self.gaussian, self.spins):
            backend = DEFAULT_BACKENDS[program.device.family]
            found = program.run(
                samples=samples, chains=chains, seed=seed, backend=backend, mode=mode, progress=progress
            )
            complete = complete and found.complete
            names.append(backend)
            parts.append(found[_DRAWS])
        size = min(p.shape[0] for p in parts)
        y = np.concatenate([p[:size] for p in parts], axis=1)
        draws = self.readback.draws(y).reshape(plan.chains, -1, self.source.n)
        answers = []
        for query in self.source.queries:
            estimate = _estimate(query, self.source.n, plan.chains, draws.shape[1])
            estimate.prepare()
            estimate.add([draws])
            answers.append(estimate.answer())
        first = provenance(self.gaussian, plan, seed, "+".join(names), mode, size)
        second = provenance(self.spins, plan, seed, "+".join(names), mode, size)
        origin = {
            **first,
            "target": f"{first['target']}+{second['target']}",
            "device_fingerprint": f"{first['device_fingerprint']}+{second['device_fingerprint']}",
            "pipeline": f"{first['pipeline']};{second['pipeline']}",
            "fidelity": {**first["fidelity"], **second["fidelity"]},
        }
        return Result(tuple(answers), origin, complete)


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
    try:
        separate(energy)
        way = "give a device for each part: `--target resistive-64+ideal-spin`"
    except SpuccError as error:
        raise SpuccError(error.diagnostics) from None
    fail(
        "E0515",
        f"`{x}` is real and `{s}` takes two values; no single device, and so not `{device.name}`, holds both",
        next((v.span for v in energy.variables if v.start <= two < v.stop), None),
        help=way,
    )


def separate(energy: Energy) -> Separated:
    """The two parts of a mixed model (module docstring), what is observed taken out first.

    Raises E0516, naming the variables, where a real variable has a term above degree 2 or a product with two spins or with its
    own square, and E0515 where nothing is mixed or the real part is not a proper Gaussian.
    """
    from spucc.passes.condition import conditioned

    index, value = energy.observed.index, energy.observed.value
    keep = np.setdiff1d(np.arange(energy.n), index, assume_unique=True)
    model = conditioned(energy, keep, index, value) if index.size else energy
    real, spin, bit = model.domains
    two = np.sort(np.concatenate([spin, bit]))
    if not real.size or not two.size:
        fail("E0515", "the model is not mixed, so it has no two parts", help="compile it for one device")
    _check(model, real)
    q = model.quadratic.tocsr()
    a = sparse.csc_matrix(q[real][:, real])
    w = np.asarray(-q[real][:, two].toarray())
    b = -np.asarray(model.linear)[real]
    solved = _solve(a, np.column_stack([b, w]), model, real)
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
    known = np.zeros(energy.n)
    known[index] = value
    outer = sparse.csr_array((np.ones(keep.size), (keep, np.arange(keep.size))), shape=(energy.n, keep.size))
    return Separated(gaussian, spins, Affine(outer, frozen(known)).after(inner))


def compile_mixed(
    energy: Energy,
    real_target: str | Device,
    spin_target: str | Device,
    *,
    provenance: Provenance | None = None,
    **options: Any,
) -> MixedProgram:
    """Compile the real part for one device and the spins for another; options as of `spucc.driver.compile_energy`.

    Raises as `separate`, as the passes, and E0516 for queries that need more than draws.
    """
    from spucc.driver import compile_energy, with_queries

    source = with_queries(energy)
    apart = (QueryKind.ARGMIN, QueryKind.LOGZ, QueryKind.LOGDET, QueryKind.TRAJECTORY)
    bad = [q for q in source.queries if q.kind in apart]
    if bad:
        raise SpuccError(
            [
                Diagnostic(
                    "E0516", f"query `{q.name}` asks for `{q.kind}`, which mixed models do not answer", q.span
                )
                for q in bad
            ]
        )
    parts = separate(source)
    gaussian = compile_energy(parts.gaussian, real_target, provenance=provenance, **options)
    spins = compile_energy(parts.spins, spin_target, provenance=provenance, **options)
    return MixedProgram(source, gaussian, spins, parts.readback, provenance or Provenance())


def _check(model: Energy, real: IntArray) -> None:
    """Raises E0516 for the first product that no field of a spin on a real variable is."""
    is_real = np.zeros(model.n, dtype=bool)
    is_real[real] = True
    for terms in model.higher:
        bad = is_real[terms.index].any(axis=1)
        if bad.any():
            row = terms.index[np.flatnonzero(bad)[0]].tolist()
            names = "·".join(f"`{model.label(k)}`" for k in row)
            reals = [k for k in row if is_real[k]]
            if len(reals) == len(row):
                why = "the real part is not Gaussian"
            elif len(reals) >= 2:
                why = (
                    f"the stiffness of `{model.label(reals[0])}` changes with every flip, and its device would be "
                    "loaded anew each time"
                )
            else:
                why = f"two spins at once push `{model.label(reals[0])}`"
            fail(
                "E0516",
                f"the product {names} does not separate into a Gaussian and a spin part: {why}",
                help="spins may act on real variables through fields, `energy x * s`; or observe one of the variables",
            )


def _solve(a: sparse.csc_matrix, right: FloatArray, model: Energy, real: IntArray) -> FloatArray:
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


def _estimate(query: Query, n: int, chains: int, draws: int) -> Estimate:
    """The accumulator of a query over draws of the model's own coordinates."""
    assert query.form is not None
    forms, gathers, at = [query.form], [], query.form.size
    for product in query.products:
        size = product.left.size
        gathers.append((slice(at, at + size), slice(at + size, at + 2 * size), product.gather))
        forms += [product.left, product.right]
        at += 2 * size
    stacked = sparse.csr_array(sparse.vstack([f.matrix for f in forms], format="csr"))
    shift = np.concatenate([np.ravel(f.offset) for f in forms])
    return Estimate(query, [stacked], shift, chains, draws, False, gathers=gathers)
