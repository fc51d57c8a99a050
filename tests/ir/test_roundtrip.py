"""What is printed reads back to the same bits, and prints to the same bytes again, wherever its arrays stand."""

from __future__ import annotations

import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from spucc.arrays import frozen
from spucc.diagnostics import SpuccError
from spucc.energy import Domain, Energy, Quadratic, layout
from spucc.ir import (
    identical,
    pack_program,
    pack_state,
    print_program,
    print_state,
    read_any,
    read_program,
    read_state,
    write_program,
    write_state,
)
from spucc.readback import Affine
from spucc.stages import Couplings, Job, Placed, Program, Quantized, Stage, State, Step, plain_roles

from . import build

EVERYTHING = build.everything()
IDS = [f"{k}-{getattr(v, 'stage', 'complete')}" for k, v in enumerate(EVERYTHING)]


def pack(value: State | Program, limit: int | None) -> bytes:
    return pack_program(value, limit) if isinstance(value, Program) else pack_state(value, limit)


def text_of(value: State | Program) -> str:
    return print_program(value) if isinstance(value, Program) else print_state(value)


@pytest.mark.parametrize("limit", [None, 0, 3, 64])
@pytest.mark.parametrize("value", EVERYTHING, ids=IDS)
def test_container(value: State | Program, limit: int | None) -> None:
    data = pack(value, limit)
    again = read_any(data)
    assert identical(value, again)
    assert pack(again, limit) == data


@pytest.mark.parametrize("value", EVERYTHING, ids=IDS)
def test_text_alone(value: State | Program) -> None:
    text = text_of(value)
    again = read_any(text.encode())
    assert identical(value, again)
    assert text_of(again) == text


def test_files(tmp_path: Path) -> None:
    """Containers and bare text by path; a program is the state after the last pass, and the other way round."""
    states, program = build.states(), build.program()
    write_state(states[Stage.PLACED], tmp_path / "placed.spuc")
    write_program(program, tmp_path / "program.spuc")
    (tmp_path / "program.txt").write_text(print_program(program), encoding="utf-8")
    assert identical(read_state(tmp_path / "placed.spuc"), states[Stage.PLACED])
    assert identical(read_program(str(tmp_path / "program.spuc")), program)
    assert identical(read_program(tmp_path / "program.txt"), program)
    assert identical(read_state(tmp_path / "program.spuc"), states[Stage.PROGRAM])
    write_state(states[Stage.PROGRAM], tmp_path / "last.spuc")
    assert read_program(tmp_path / "last.spuc").pipeline == ""
    with pytest.raises(SpuccError) as caught:
        read_program(tmp_path / "placed.spuc")
    assert caught.value.diagnostics[0].code == "E0606"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "last.spuc",
        "placed.spuc",
        "program.spuc",
        "program.txt",
    ]


def test_windows_line_ends_and_comments_of_ones_own() -> None:
    """A text without digests may be edited freely in what does not count."""
    text = build.states()[Stage.PLACED]
    lines = [line for line in print_state(text).split("\n") if not line.startswith("sha256")]
    edited = "\r\n".join(line + ("  # mine } {" if line and "|" not in line else "") for line in lines)
    again = read_state(edited.encode())
    assert identical(again.jobs[0].value, text.jobs[0].value)


def test_container_is_plain_zip(tmp_path: Path) -> None:
    """Whoever has another implementation needs no more than zip and .npy; the arrays are NumPy's."""
    write_state(build.rich()[0], tmp_path / "x.spuc", 2)
    with zipfile.ZipFile(tmp_path / "x.spuc") as archive:
        names = archive.namelist()
        assert names[0] == "stage.txt" and all(n.startswith("arrays/") for n in names[1:]) and len(names) > 10
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(tmp_path / "x.spuc", allow_pickle=False) as arrays:
        expected = build.rich_energy().linear
        assert (arrays["arrays/source.linear.value"] == expected).all()


def test_unsorted_and_doubled_entries_of_a_sparse_matrix_print_like_sorted_ones() -> None:
    state = build.states()[Stage.ENERGY]
    wanted = state.source.quadratic.sparse
    shuffled = sparse.csr_array((3, 3))
    shuffled.indptr = wanted.indptr.copy()
    shuffled.indices = np.concatenate(
        [wanted.indices[a:b][::-1] for a, b in zip(wanted.indptr, wanted.indptr[1:])]
    )
    shuffled.data = np.concatenate([wanted.data[a:b][::-1] for a, b in zip(wanted.indptr, wanted.indptr[1:])])
    assert not shuffled.has_sorted_indices
    other = Energy(state.source.variables, state.source.linear, Quadratic(shuffled))
    same = Energy(state.source.variables, state.source.linear, Quadratic(wanted))
    printed = [print_state(State(Stage.ENERGY, e, e, state.device)) for e in (other, same)]
    assert printed[0] == printed[1]


# --- states of any size ---------------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


@st.composite
def symmetric_matrices(draw: st.DrawFn, n: int) -> sparse.csr_array:
    """Any symmetric sparse matrix, stored zeros and negative zeros included."""
    if n == 0:
        return sparse.csr_array((0, 0))
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)),
            max_size=12,
            unique_by=lambda p: (min(p), max(p)),
        )
    )
    values = draw(st.lists(FLOATS, min_size=len(pairs), max_size=len(pairs)))
    entries = {(i, j): v for (a, b), v in zip(pairs, values) for i, j in ((a, b), (b, a))}
    keys = sorted(entries)
    coo = sparse.coo_array(
        ([entries[k] for k in keys], ([k[0] for k in keys], [k[1] for k in keys])), shape=(n, n)
    )
    matrix = sparse.csr_array(coo)
    matrix.sort_indices()
    return matrix


def vectors(n: int) -> st.SearchStrategy[np.ndarray]:
    return st.lists(FLOATS, min_size=n, max_size=n).map(frozen)


@st.composite
def any_state(draw: st.DrawFn) -> State:
    """A state at any stage with a model of 0 to 5 coordinates of any domains."""
    shapes = draw(st.lists(st.sampled_from([(), (1,), (2,), (0,), (2, 1)]), max_size=3))
    domains = draw(st.lists(st.sampled_from(list(Domain)), min_size=3, max_size=3))
    variables = layout([(f"v{k}", s, domains[k], None) for k, s in enumerate(shapes)])
    n = sum(v.size for v in variables)
    energy = Energy(
        variables, draw(vectors(n)), Quadratic(draw(symmetric_matrices(n))), constant=draw(FLOATS)
    )
    device = build.free_device(build.Family.RESISTIVE, quartic=draw(st.booleans()))
    stage = draw(st.sampled_from([Stage.ENERGY, Stage.JOBS, Stage.COUPLINGS, Stage.PLACED, Stage.QUANTIZED]))
    if stage is Stage.ENERGY:
        return State(stage, energy, energy, device)
    value: Energy | Couplings | Placed | Quantized = energy
    index, roles = frozen(np.arange(n), np.int64), plain_roles(n)
    quartic = draw(st.none() | vectors(n))
    if stage is Stage.COUPLINGS:
        value = Couplings(
            device.family, Domain.SPIN, draw(symmetric_matrices(n)), draw(vectors(n)), index, roles, quartic
        )
    elif stage is not Stage.JOBS:
        edges = [(p, q) for p in range(n) for q in range(p + 1, n) if draw(st.booleans())]
        pairs, m = frozen(np.array(edges, dtype=np.int64).reshape(-1, 2), np.int64), len(edges)
        cell = frozen(draw(st.permutations(range(n))), np.int64)
        chain = frozen([draw(st.integers(0, max(n - 1, 0))) for _ in range(n)], np.int64)
        value = Placed(
            device.family, Domain.REAL, cell, chain, pairs, draw(vectors(n)), draw(vectors(m)), draw(vectors(n)),
            draw(st.floats(1e-30, 1e30)), index, roles, quartic,
        )  # fmt: skip
        if stage is Stage.QUANTIZED:
            members = draw(st.integers(1, 3))
            stacked = [
                frozen([draw(vectors(k)) for _ in range(members)]).reshape(members, k) for k in (n, m, n)
            ]
            value = Quantized(
                device.family, Domain.REAL, cell, chain, pairs, *stacked, frozen(np.ones(members)), frozen(np.ones(members)),
                tuple(Affine(sparse.csr_array(np.eye(n)), draw(vectors(n))) for _ in range(members)), index, roles,
                None if quartic is None else frozen([quartic] * members).reshape(members, n),
            )  # fmt: skip
    step = Step(
        draw(NAMES),
        Affine.identity(n) if draw(st.booleans()) else None,
        tuple(draw(st.lists(NAMES, max_size=2))),
    )
    job = Job(draw(NAMES), energy, index, value, (step,))
    return State(stage, energy, energy, device, (job,))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(any_state(), st.sampled_from([None, 0, 2]))
def test_any_state(state: State, limit: int | None) -> None:
    data = pack_state(state, limit)
    again = read_state(data)
    assert identical(state, again)
    assert pack_state(again, limit) == data


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats() | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308]), min_size=1, max_size=20)
)
def test_every_float_survives_the_ledger(values: list[float]) -> None:
    state = build.states()[Stage.COUPLINGS]
    entries = tuple(replace(state.ledger[0], kl_forward=v, note=repr(v)) for v in values)
    again = read_state(print_state(replace(state, ledger=entries)).encode())
    assert [repr(e.kl_forward) for e in again.ledger] == [repr(v) for v in values]


@settings(max_examples=200, deadline=None)
@given(NAMES, NAMES)
def test_every_text_survives(name: str, text: str) -> None:
    state = build.states()[Stage.ENERGY]
    sources = ((name, text), (text, name + "\n" + text + "\n"))
    state = replace(state, provenance=replace(state.provenance, sources=sources))
    assert read_state(print_state(state).encode()).provenance.sources == sources


@pytest.mark.slow
def test_a_million_couplings(tmp_path: Path) -> None:
    """A stage with 10⁶ couplings, as a container and as one text, is the same after the way there and back."""
    n, per = 100_000, 10
    rng = np.random.default_rng(0)
    i = np.repeat(np.arange(n), per)
    j = i + 1 + np.tile(np.arange(per), n)
    keep = j < n
    edges = frozen(np.stack([i[keep], j[keep]], axis=1), np.int64)
    energy = Energy(layout([("x", (n,), Domain.REAL, None)]), frozen(np.zeros(n)), Quadratic.zero(n))
    placed = Placed(
        build.Family.RESISTIVE, Domain.REAL, frozen(np.arange(n), np.int64), frozen(np.arange(n), np.int64), edges,
        frozen(rng.normal(size=n)), frozen(rng.normal(size=len(edges))), frozen(np.zeros(n)), 1.0,
        frozen(np.arange(n), np.int64), plain_roles(n),
    )  # fmt: skip
    job = Job("all", energy, frozen(np.arange(n), np.int64), placed)
    state = State(Stage.PLACED, energy, energy, build.free_device(build.Family.RESISTIVE), (job,))
    assert len(edges) > 999_000
    for limit in (64, None):
        start = time.process_time()
        again = read_state(pack_state(state, limit))
        print(f"10^6 couplings, limit {limit}: {time.process_time() - start:.2f} s of CPU")
        assert identical(state, again)
