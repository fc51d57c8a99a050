"""`place`: variables to cells of the device (mapping.md §3, §5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc.arrays import FloatArray, IntArray, frozen
from spucc.circuit import required_edges
from spucc.device import Device
from spucc.diagnostics import SpuccError, fail
from spucc.energy import Domain
from spucc.passes.embedding.chain_start import chained
from spucc.passes.placing.board_graph import adjacency, live_graph
from spucc.passes.placing.certified_placement import certified
from spucc.passes.placing.chains import Chains, is_embedding, trim
from spucc.passes.placing.embedding_templates import template
from spucc.passes.placing.minor_embedding import find_embedding
from spucc.passes.placing.native_placement import find_native
from spucc.passes.placing.placement_proofs import no_embedding, no_placement
from spucc.passes.placing.spectral_placement import information, place_by_weights
from spucc.passes.realising.boards import larger
from spucc.passes.realising.comparison import comparison, congruence, positive_scaling
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine
from spucc.stages import Couplings, Job, Placed, Stage, cells_of, edge_list

_METHODS = ("auto", "native", "template", "spectral", "embed", "minorminer")
_SPARSE = 4
"""With more couplings a variable than this, a template is taken without a search for something shorter."""
_LARGEST_SEARCH = 300
_LARGEST_DENSE = 2_000


@dataclass(frozen=True)
class Place(JobPass):
    """Choose a cell, or a chain of cells, for every variable.

    `method`: `native` (one cell each, exact search), `template` (chains by construction), `embed` (chains by search),
    `minorminer` (the same by that package), `spectral` (one cell each, couplings without a coupler are left to `project`), or
    `auto`: the first that does. `chains=never` leaves chains out. `certify` proves the `spectral` placement of at most nine
    variables to be the best one.
    """

    method: str = "auto"
    chains: str = "auto"
    certify: bool = False

    name: ClassVar[str] = "place"
    takes: ClassVar[Stage] = Stage.COUPLINGS
    gives: ClassVar[Stage] = Stage.PLACED
    why: ClassVar[str] = "the couplings are known, and what a coupler can hold depends on where it is"

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise ValueError(f"`method` is one of {', '.join(_METHODS)}")
        if self.chains not in ("auto", "never"):
            raise ValueError("`chains` is `auto` or `never`")

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        couplings = job.value
        assert isinstance(couplings, Couplings)
        if device.family.springs and (scale := _unit(couplings.matrix)) is not None:
            scaled = replace(
                couplings, matrix=congruence(couplings.matrix, scale), bias=frozen(scale * couplings.bias)
            )
            found = self._placed(scaled, job, device, context)
            read = Affine.diagonal(scale)
            back = read.after(found.readback) if isinstance(found.readback, Affine) else read
            return replace(found, readback=back)
        return self._placed(couplings, job, device, context)

    def _placed(self, couplings: Couplings, job: Job, device: Device, context: Context) -> Outcome:
        pairs, values = edge_list(couplings.matrix)
        pairs, values = pairs[values != 0], values[values != 0]
        if device.topology.nodes is None:
            return Outcome(at_cells(couplings, pairs, values, np.arange(couplings.n), device))
        names = cells_of(couplings, job.target) if couplings.n <= _LARGEST_DENSE else []
        label = _labels(names)
        _check_room(couplings.n, device)
        model, board = adjacency(couplings.n, pairs), live_graph(device)
        cells, proved = None, False
        if self.method in ("auto", "native"):
            cells, proved = find_native(model, pairs, device, board)
        if cells is not None:
            return Outcome(at_cells(couplings, pairs, values, cells, device))
        if self.method == "native":
            _fail_native(model, board, device, proved, label)
        if self.method == "spectral" or (self.method == "auto" and self.chains == "never"):
            return self._without_chains(couplings, pairs, values, board, device, context)
        if self.chains == "never":
            fail(
                "E0548",
                f"`method={self.method}` makes chains, which `chains=never` forbids",
                help="leave one of them out",
            )
        if couplings.quartic is not None and couplings.quartic.any():
            fail(
                "E0549",
                f"the couplings do not fit `{device.name}` one cell a variable, and a chain cannot carry a quartic term",
                help="choose a target with more couplers, or `place{chains=never}`",
            )
        chains = self._chains(model, board, device, label, context)
        lengths = [len(c) for c in chains]
        placed, back = chained(couplings, chains, device)
        note = f"{couplings.n} variables on {sum(lengths)} cells, the longest chain {max(lengths)}"
        return Outcome(placed, back, (note,))

    def _without_chains(
        self,
        couplings: Couplings,
        pairs: IntArray,
        values: FloatArray,
        board: sparse.csr_array,
        device: Device,
        context: Context,
    ) -> Outcome:
        usable = np.flatnonzero(device.alive)
        w = _weights(couplings, pairs, values)
        cells, value = place_by_weights(w, board, device.topology.position, usable, context.rng(0x91ACE))
        notes = [f"couplers carry {value / max(w.sum() / 2, 1e-300):.1%} of the pairwise information"]
        if self.certify:
            best_cells, best = certified(w, board, usable)
            if best > value * (1 + 1e-9) + 1e-12:
                cells = best_cells
            notes.append(f"certified: no placement carries more than {best:.6g} nats")
        return Outcome(at_cells(couplings, pairs, values, cells, device), None, tuple(notes))

    def _chains(
        self,
        model: sparse.csr_array,
        board: sparse.csr_array,
        device: Device,
        label: Callable[[int], str],
        context: Context,
    ) -> Chains:
        """An embedding by the chosen method, or the error that says why there is none."""
        n, usable = model.shape[0], np.flatnonzero(device.alive)
        if self.method == "minorminer":
            return _by_minorminer(model, board, context)
        built = template(model, device, board) if self.method in ("auto", "template") else None
        dense = model.nnz > 2 * _SPARSE * n
        if built is not None and (self.method == "template" or dense or n > _LARGEST_SEARCH):
            return built
        if self.method == "template":
            fail(
                "E0544", f"no template carries this model on `{device.name}`", help="leave `method` to `auto`"
            )
        proof = no_embedding(model, board, usable, device.topology.position, label) if built is None else ""
        if proof:
            fail(
                "E0543",
                f"the model cannot be placed on `{device.name}`",
                notes=(proof,),
                help="choose a target with more couplers, or `place{chains=never}` for the nearest law that fits",
            )
        found = None
        if n <= _LARGEST_SEARCH:
            part = _enough(model, board, usable)
            inside = sparse.csr_array(board[part][:, part])
            tries = (1, 2, 6)[min(context.optimize, 2)] if model.nnz < 1_000 else 1
            found = find_embedding(
                model, inside, np.arange(part.size), context.rng(0xE3BED), tries, context.stop.is_set
            )
            found = found and [part[c].tolist() for c in found]
        options = [c for c in (built, found) if c is not None]
        if not options:
            _fail_embedding(model, board, device, usable, context.stop.is_set())
        return min(options, key=lambda c: (sum(map(len, c)), max(map(len, c))))


def _unit(k: sparse.csr_array) -> FloatArray | None:
    """The units d of cells whose rows do not dominate as they are but in D K D: a capacitor to ground is what a row has left,
    and with units far apart the difference would keep no digits. None where there is nothing to scale."""
    m = comparison(k)
    return positive_scaling(m) if (m.sum(axis=1) < 0).any() else None


def chain_lengths(matrix: sparse.csr_array, device: Device, context: Context) -> IntArray | None:
    """How many cells `Place()` gives each variable of couplings with this pattern [n, n]; None where it finds no place."""
    n = int(matrix.shape[0])
    if device.topology.nodes is None:
        return np.ones(n, dtype=np.int64)
    if n > int(device.alive.sum()):
        return None
    pairs, values = edge_list(matrix)
    pairs = pairs[values != 0]
    model, board = adjacency(n, pairs), live_graph(device)
    if find_native(model, pairs, device, board)[0] is not None:
        return np.ones(n, dtype=np.int64)
    try:
        return np.array([len(c) for c in Place()._chains(model, board, device, str, context)])
    except SpuccError:
        return None


def _labels(names: list[str]) -> Callable[[int], str]:
    return lambda k: f"`{names[k]}`" if k < len(names) else f"variable {k}"


def _check_room(n: int, device: Device) -> None:
    alive = int(device.alive.sum())
    if n <= alive:
        return
    if alive == 0:
        fail(
            "E0542",
            f"`{device.name}` has no working cell",
            help="remove cells from `dead`, or choose another target",
        )
    dead = (device.topology.nodes or 0) - alive
    fail(
        "E0541",
        f"the model needs {n} cells, but `{device.name}` has {alive}{f' ({dead} more are dead)' if dead else ''}",
        help=f"{larger(n, device)}, condition on or marginalise some variables, or `--target ideal`",
    )


def _fail_native(
    model: sparse.csr_array,
    board: sparse.csr_array,
    device: Device,
    proved: bool,
    label: Callable[[int], str],
) -> None:
    reason = no_placement(model, board, np.flatnonzero(device.alive), label)
    if not reason:
        reason = "an exhaustive search found no place" if proved else "the search ended without an answer"
    fail(
        "E0543" if proved or reason else "E0544",
        f"one cell a variable does not suffice on `{device.name}`",
        notes=(reason,),
        help="leave `method` to `auto`, which uses chains",
    )


def _fail_embedding(
    model: sparse.csr_array, board: sparse.csr_array, device: Device, usable: IntArray, stopped: bool
) -> None:
    n, m = model.shape[0], model.nnz // 2
    if board.nnz == 0:
        reason = "the device has no working coupler"
    elif n > _LARGEST_SEARCH:
        reason = f"chains are searched for up to {_LARGEST_SEARCH} variables, and no template fits"
    else:
        board_size = f"{usable.size} cells with {board.nnz // 2} couplers"
        reason = f"the search found no room for {n} variables with {m} couplings on {board_size}"
        if stopped:
            reason += " before it was stopped"
    fail(
        "E0544",
        f"no placement on `{device.name}` was found",
        notes=(reason,),
        help="choose a larger target, raise `--optimize`, or `place{chains=never}` for the nearest law that fits",
    )


def _weights(couplings: Couplings, pairs: IntArray, values: FloatArray) -> FloatArray:
    """How much each pair of variables [n, n] wants a coupler: mutual information, for spins the squared coupling."""
    n = couplings.n
    if n > _LARGEST_DENSE:
        fail(
            "E0544",
            f"{n} variables are too many to be placed by their dependence",
            notes=(f"this is done for up to {_LARGEST_DENSE}",),
            help="number the variables as the device's lattice does, row by row, or choose `--target ideal`",
        )
    if couplings.domain is Domain.REAL and couplings.quartic is None:
        return information(np.asarray(couplings.matrix.toarray()))
    w = np.zeros((n, n))
    w[pairs[:, 0], pairs[:, 1]] = values**2
    return w + w.T


def _enough(model: sparse.csr_array, board: sparse.csr_array, usable: IntArray) -> IntArray:
    """A connected part of a large board with ample room for chains, so that paths are not searched on all of it."""
    wanted = max(1_024, 12 * model.shape[0], 6 * model.nnz)
    if usable.size <= wanted:
        return usable
    order = sparse.csgraph.breadth_first_order(
        board, int(usable[usable.size // 2]), directed=False, return_predecessors=False
    )
    return np.sort(order[:wanted]) if order.size >= wanted else usable


def _by_minorminer(model: sparse.csr_array, board: sparse.csr_array, context: Context) -> Chains:
    try:
        import minorminer
    except ImportError:
        fail("E0545", "`method=minorminer` needs the package minorminer", help="pip install spucc[embed]")
    n = model.shape[0]
    pairs, _ = edge_list(model)
    couplers, _ = edge_list(board)
    seed = int(context.rng(0x3135).integers(2**31))
    # A variable without couplings is unknown to minorminer: it gets a cell that is left.
    found = minorminer.find_embedding(
        pairs.tolist(), couplers.tolist(), random_seed=seed, threads=1, tries=20
    )
    chains: Chains = [[int(c) for c in found.get(k, [])] for k in range(n)]
    free = iter(
        np.setdiff1d(np.flatnonzero(np.diff(board.indptr)), [c for chain in chains for c in chain]).tolist()
    )
    coupled = np.diff(model.indptr) > 0
    for k in range(n):
        if not chains[k] and not coupled[k]:
            chains[k] = [next(free, -1)]
    if not is_embedding(chains, model, board):
        fail(
            "E0544",
            "minorminer found no embedding",
            help="leave `method` to `auto`, or choose a larger target",
        )
    return trim(chains, model, board)


def at_cells(
    couplings: Couplings, pairs: IntArray, values: FloatArray, cells: IntArray, device: Device
) -> Placed:
    """The dimensionless matrix K as components at one cell a variable, scale 1 (`spucc.stages.Placed`); position p is
    logical cell p, so nothing has to be read back. `pairs` [m, 2] and `values` [m] are K's upper triangle."""
    n = couplings.n
    edges, coupling = pairs, -values
    forced = required_edges(device, cells)
    if forced.size:
        key = edges[:, 0] * n + edges[:, 1]
        union = np.union1d(key, forced[:, 0] * n + forced[:, 1])
        wide = np.zeros(union.size)
        wide[np.searchsorted(union, key)] = coupling
        edges, coupling = np.stack(np.divmod(union, n), axis=1), wide
    ground = np.asarray(couplings.matrix.diagonal(), dtype=np.float64)
    if device.family.springs:
        size = np.abs(coupling)
        ground = ground - np.bincount(edges[:, 0], size, n) - np.bincount(edges[:, 1], size, n)
    return Placed(
        family=device.family,
        domain=couplings.domain,
        cell=frozen(cells, np.int64),
        chain=frozen(np.arange(n), np.int64),
        edges=frozen(edges, np.int64),
        ground=frozen(ground),
        coupling=frozen(coupling),
        bias=couplings.bias,
        scale=1.0,
        coordinate=couplings.coordinate,
        role=couplings.role,
        quartic=couplings.quartic,
    )
