"""The text form of every type of the stages: which items its block has, in which order, with which comments.

This file is the grammar of `docs/ir.md` in code. A field that is missing here makes `tests/ir/test_schema.py` fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spucc.device import Calibration, Device, Family, Topology
from spucc.energy import (
    Block,
    Domain,
    Energy,
    Form,
    Monomials,
    Observed,
    Origin,
    Product,
    Quadratic,
    Query,
    QueryKind,
    Variable,
)
from spucc.ir import check, show
from spucc.ir.atoms import BOOL, FLOAT, INT, MAYBE_RANGES, MAYBE_SPAN, RANGES, SHAPE, SPAN, STRING, word_of
from spucc.ir.codec import Field, Item, Many, OneOf, Record, Rows, Shared, Turn
from spucc.ir.equal import identical
from spucc.ir.matrices import Sparse, SparseOrDense, said
from spucc.ir.rows import Kind
from spucc.ir.spec import SpecText
from spucc.ir.tables import Column, Table
from spucc.ir.text import COMMENTED, Reader, Writer, quote
from spucc.ir.vectors import Dense, Indices, Vector
from spucc.readback import Affine, HostLoop, Majority
from spucc.stages import (
    Configuration,
    Couplings,
    Job,
    LedgerEntry,
    Placed,
    Provenance,
    Quantized,
    Schedule,
    Step,
)

FAMILY = word_of(Family)
DOMAIN = word_of(Domain)


def _coordinates(out: Writer) -> Sequence[str] | None:
    return out.names()


def _cells(out: Writer) -> Sequence[str] | None:
    return out.cells


def _listed(out: Writer, value: Any) -> str:
    names = out.names()
    return said(out, [names[k] for k in value.tolist()] if names is not None else None)


OVER_COORDINATES = Sparse(_coordinates)

# --- the model ------------------------------------------------------------------------------------------------------

VARIABLES = Rows(
    Variable,
    (
        ("name", STRING),
        ("shape", SHAPE),
        ("domain", DOMAIN),
        ("start", INT),
        ("entries", MAYBE_RANGES),
        ("stands_for", STRING),
        ("span", MAYBE_SPAN),
    ),
    left=("name", "domain", "stands_for", "span"),
)

FORM = Record[Form](
    Form,
    (Field("shape", SHAPE), Field("matrix", OVER_COORDINATES), Field("offset", Vector())),
    check.form,
)

PRODUCT = Record[Product](
    Product,
    (Field("left", FORM), Field("right", FORM), Field("gather", Sparse())),
    check.product,
)

QUERY = Record[Query](
    Query,
    (
        Field("name", STRING),
        Field("kind", word_of(QueryKind)),
        Field("form", FORM, None),
        Many("products", PRODUCT, "product"),
        Field("levels", Dense(), None),
        Field("matrix", SparseOrDense(), None),
        Field("rhs", Dense(), None),
        Field("duration", FLOAT, None),
        Field("start", Vector(lambda out, value: out.names()), None),
        Field("span", SPAN, None),
        Field("implicit", BOOL, False),
    ),
    check.query,
)

QUADRATIC = Record[Quadratic](
    Quadratic,
    (
        Field("sparse", OVER_COORDINATES),
        Many(
            "blocks",
            Record[Block](
                Block,
                (Field("rows", Indices(_listed)), Field("cols", Indices(_listed)), Field("matrix", Dense(2))),
                check.block,
            ),
            "block",
        ),
    ),
    check.quadratic,
)


def _term_names(out: Writer, value: Monomials) -> Sequence[str] | None:
    names = out.names()
    if names is None or len(value.index) > COMMENTED:
        return None
    return [" ".join(names[k] for k in row) for row in value.index.tolist()]


MONOMIALS = Record[Monomials](
    Monomials,
    (Table("terms", (Column("index", Kind.INT, stacked=1), Column("coefficient")), _term_names),),
    check.monomials,
)


OBSERVED = Record[Observed](
    Observed,
    (
        Table(
            "entries",
            (Column("index", Kind.INT), Column("value")),
            lambda out, value: (
                [names[k] for k in value.index.tolist()] if (names := out.names()) is not None else None
            ),
        ),
    ),
)


ORIGINS = Rows(Origin, (("span", SPAN), ("coordinates", RANGES)), left=("span", "coordinates"))


ENERGY = Record[Energy](
    Energy,
    (
        Field("constant", FLOAT),
        Field("temperature", FLOAT),
        Field("variables", VARIABLES),
        Field("linear", Vector(lambda out, value: out.names())),
        Field("quadratic", QUADRATIC),
        Many("higher", MONOMIALS, "higher"),
        Field("observed", OBSERVED, Observed.none(), absent=lambda v: v.index.size == 0),
        Field("origins", ORIGINS, ()),
        Many("queries", QUERY, "query"),
    ),
    check.energy,
    show.enter,
)

# --- the way back ---------------------------------------------------------------------------------------------------

AFFINE = Record[Affine](
    Affine,
    (
        Field("matrix", Sparse(by_row=True)),
        Field("offset", Vector(lambda out, value: out.labels)),
    ),
    check.affine,
    show.take_rows,
)

HOST_LOOP = Record[HostLoop](
    HostLoop,
    (
        Field("sweeps", INT),
        Field("contraction", FLOAT),
        Field("precision", Sparse(by_row=True)),
        Field("potential", Vector(lambda out, value: out.labels)),
    ),
    check.host_loop,
    show.take_rows,
)

MAJORITY = Record[Majority](
    Majority, (Field("n_out", INT), Field("chain", Indices())), check.majority, show.take_rows
)

READBACK = OneOf({"affine": AFFINE, "host-loop": HOST_LOOP, "majority": MAJORITY})

STEP = Record[Step](
    Step,
    (Field("name", STRING), Many("notes", STRING, "note"), Field("readback", READBACK, None)),
)

# --- what a job is --------------------------------------------------------------------------------------------------

COUPLINGS = Record[Couplings](
    Couplings,
    (
        Field("family", FAMILY),
        Field("domain", DOMAIN),
        Table(
            "cells",
            (
                Column("coordinate", Kind.INT),
                Column("role", Kind.ROLE),
                Column("bias"),
                Column("quartic", optional=True),
            ),
            lambda out, value: out.cells,
        ),
        Field("matrix", Sparse(_cells)),
    ),
    check.couplings,
    show.enter_cells,
)

PLACED = Record[Placed](
    Placed,
    (
        Field("family", FAMILY),
        Field("domain", DOMAIN),
        Field("scale", FLOAT),
        Table(
            "cells",
            (
                Column("cell", Kind.INT),
                Column("chain", Kind.INT),
                Column("coordinate", Kind.INT),
                Column("role", Kind.ROLE),
                Column("ground"),
                Column("bias"),
                Column("quartic", optional=True),
            ),
            show.of_cells,
        ),
        Table(
            "couplers", (Column("edges", Kind.INT, names=("p", "q")), Column("coupling")), show.of_couplers
        ),
    ),
    check.placed,
    show.enter_cells,
)

QUANTIZED = Record[Quantized](
    Quantized,
    (
        Field("family", FAMILY),
        Field("domain", DOMAIN),
        Table("members", (Column("scale"), Column("weight"))),
        Table(
            "cells",
            (
                Column("cell", Kind.INT),
                Column("chain", Kind.INT),
                Column("coordinate", Kind.INT),
                Column("role", Kind.ROLE),
                Column("ground", Kind.CODE, stacked=0),
                Column("bias", Kind.CODE, stacked=0),
                Column("quartic", Kind.CODE, stacked=0, optional=True),
            ),
            show.of_cells,
        ),
        Table(
            "couplers",
            (Column("edges", Kind.INT, names=("p", "q")), Column("coupling", Kind.CODE, stacked=0)),
            show.of_couplers,
        ),
        Many("readback", AFFINE, "readback"),
    ),
    check.quantized,
    show.enter_cells,
)

SCHEDULE = Record[Schedule](
    Schedule,
    (
        Field("settle", FLOAT, remark=show.seconds),
        Field("interval", FLOAT, remark=show.seconds),
        Field("draws", INT),
        Field("chains", INT),
        Field("ess_per_draw", FLOAT),
        Field("host_operations", FLOAT),
        Field("loads_per_draw", FLOAT, 0.0),
    ),
    check.schedule,
)

CONFIGURATION = Record[Configuration](
    Configuration,
    (Field("schedule", SCHEDULE), Many("readback", READBACK, "readback"), Field("codes", QUANTIZED)),
    check.configuration,
    lambda out, value: show.enter(out, out.energy),
)

VALUE = OneOf(
    {
        "energy": ENERGY,
        "couplings": COUPLINGS,
        "placed": PLACED,
        "quantized": QUANTIZED,
        "configuration": CONFIGURATION,
    }
)


@dataclass(frozen=True)
class JobValueCodec:
    """A job's value: any of the stages; an energy that is the job's own is one line."""

    def write(self, out: Writer, key: str, value: Any) -> None:
        if isinstance(value, Energy) and identical(value, dict(out.shared)["target"]):
            out.line(f"{key} = target")
        else:
            VALUE.write(out, key, value)

    def read(self, src: Reader, key: str) -> Any:
        src.expect(key)
        if src.peek().endswith("{"):
            return VALUE.read(src, key)
        if src.entry(key) != "target":
            src.fault("E0618", f"`{key}` is a block, or `= target`")
        return src.shared["target"]


SHARED_ENERGY = Shared(ENERGY, identical, "queries")

JOB = Record[Job](
    Job,
    (
        Field("name", STRING),
        Field("coordinates", Indices(_listed)),
        Field("target", SHARED_ENERGY),
        Turn(lambda out, job: show.enter(out, job.target)),
        Many("steps", STEP, "step"),
        Field("value", JobValueCodec()),
    ),
    check.job,
)

# --- the device -----------------------------------------------------------------------------------------------------

TOPOLOGY = Record[Topology](
    Topology,
    (
        Field("kind", STRING),
        Field("nodes", INT, None),
        Table("edges", (Column("edges", Kind.INT, names=("i", "j")),)),
        Table("position", (Column("position", names=("x", "y")),)),
    ),
    check.topology,
)

CALIBRATION = Record[Calibration](
    Calibration,
    tuple(
        Field(name, Dense(ndim), None)
        for name, ndim in {
            "resistance": 1,
            "inductance": 1,
            "series_resistance": 1,
            "stray_ground": 1,
            "stray_coupling": 1,
            "ground_levels": 2,
            "coupling_levels": 2,
        }.items()
    ),
)


@dataclass(frozen=True)
class Partner:
    """The device of a pair's spins, which has no partner of its own."""

    def write(self, out: Writer, key: str, value: Any) -> None:
        DEVICE.write(out, key, value)

    def read(self, src: Reader, key: str) -> Any:
        if src.where.endswith(key):
            src.fault("E0610", "a device's partner has no partner")
        return DEVICE.read(src, key)


DEVICE = Record[Device](
    Device,
    (
        Field("spec", SpecText()),
        Field("topology", TOPOLOGY),
        Field(
            "calibration",
            CALIBRATION,
            Calibration(),
            absent=lambda v: all(t is None for t in vars(v).values()),
        ),
        Field("partner", Partner(), None),
    ),
    check.device,
    comment=lambda out, value: (f"fingerprint {value.fingerprint}",),
)

# --- the whole ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sources:
    """Source files: `file "m.spu" {`, then each line after `| `."""

    def write(self, out: Writer, key: str, value: tuple[str, str]) -> None:
        name, text = value
        with out.block(f"{key} {quote(name)}", key):
            for line in text.split("\n"):
                out.line(f"| {line}" if line else "|")

    def read(self, src: Reader, key: str) -> tuple[str, str]:
        src.expect(key)
        line = src.peek()
        word = line[len(key) : -1].strip() if line.endswith("{") else ""
        name = STRING.of(src, key, word)
        src.open(key)
        text = "\n".join(src.literal())
        src.close()
        return name, text


PROVENANCE = Record[Provenance](
    Provenance,
    (
        Field("version", STRING),
        Field("program_digest", STRING),
        Field("data_digest", STRING),
        Many("sources", Sources(), "file"),
    ),
)

LEDGER = Rows(
    LedgerEntry,
    (
        ("job", STRING),
        ("name", STRING),
        ("kl_forward", FLOAT),
        ("kl_reverse", FLOAT),
        ("sd_error", FLOAT),
        ("mean_error", FLOAT),
        ("correlation_error", FLOAT),
        ("basis", STRING),
        ("note", STRING),
    ),
    left=("job", "name", "basis", "note"),
)

STATE_ITEMS: tuple[Item, ...] = (
    Field("provenance", PROVENANCE),
    Field("device", DEVICE),
    Field("source", SHARED_ENERGY),
    Field("model", SHARED_ENERGY),
    Turn(lambda out, whole: show.enter(out, whole.source)),
    Many("steps", STEP, "step"),
    Turn(lambda out, whole: show.enter(out, whole.model)),
    Many("jobs", JOB, "job"),
    Field("ledger", LEDGER),
)
PROGRAM_ITEMS: tuple[Item, ...] = (Field("pipeline", STRING), *STATE_ITEMS)
