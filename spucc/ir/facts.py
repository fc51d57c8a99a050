"""A job's value as named facts, which two stages, two programs or a person can compare: `x[0] x[1]` → `80 → 800 pF`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from spucc.device import Bank, Device, Family
from spucc.energy import Domain, Energy
from spucc.fidelity.ledger import decode
from spucc.ir.show import bits, names_of, si
from spucc.readback import Affine, HostLoop, ReadBack
from spucc.stages import Configuration, Couplings, JobValue, Placed, Quantized, edge_list

NAMED = 1000
"""Cells above which entries are counted and bounded, not named one by one."""

Facts = dict[str, str]

# What double precision leaves of errors that are none.
ROUNDING = 1e-12


def figure(value: float, sign: str = "", digits: int = 2) -> str:
    """An error for the eye: 0 for what is rounding alone."""
    if math.isnan(value):
        return "unknown"
    return "0" if abs(value) < ROUNDING else f"{value:{sign}.{digits}g}"


def percent(value: float, sign: str = "", digits: int = 2) -> str:
    """The same in percent."""
    if math.isnan(value):
        return "unknown"
    return "0 %" if abs(value) < ROUNDING else f"{100 * value:{sign}.{digits}g} %"


def facts(value: JobValue, energy: Energy, device: Device) -> Facts:
    """What there is to say of a value: settings of the whole, then one fact a cell and a coupler, by the user's names."""
    if isinstance(value, Configuration):
        return {**_settings(value.codes), **_schedule(value), **_entries(value.codes, energy, device)}
    return {**_settings(value), **_entries(value, energy, device)}


def _settings(value: Any) -> Facts:
    if isinstance(value, Energy):
        found = {"variables": str(value.n), "temperature": f"{value.temperature:g}"}
        higher = sum(t.index.shape[0] for t in value.higher)
        return {**found, "terms of degree 3 or more": str(higher)} if higher else found
    found = {"family": str(value.family), "cells": str(value.n)}
    if isinstance(value, Placed) and not value.dimensionless:
        found["scale"] = scale(value.family, value.scale)
    if isinstance(value, Quantized):
        found["members"] = str(value.members)
        found["scale"] = ", ".join(dict.fromkeys(scale(value.family, s) for s in value.scale.tolist()[:4]))
    return found


def scale(family: Family, value: float) -> str:
    """The scale with its unit: θ in joules for capacitors and coils."""
    return si(value, "J" if family in (Family.CAPACITIVE, Family.INDUCTIVE) else "1")


def _schedule(value: Configuration) -> Facts:
    s = value.schedule
    return {
        "settle": duration(s.settle, value.codes.family),
        "interval": duration(s.interval, value.codes.family),
        "draws": f"{s.draws} x {s.chains} chains",
        "effective draws": f"{s.ess_per_draw:.3g} a draw",
        "host operations": f"{s.host_operations:g} a draw",
    }


def duration(time: float, family: Family) -> str:
    """A time of a schedule, which on families without a clock is counted in sweeps."""
    if family is Family.IDEAL:
        return "at once"
    return si(time, "s") if family.electric else f"{time:g} sweeps"


def _entries(value: Any, energy: Energy, device: Device) -> Facts:
    n = value.n
    if n > NAMED:
        return _summary(value)
    names = list(energy.labels()) if isinstance(value, Energy) else names_of(value, energy)
    return dict(_named(value, names, device))


def _named(value: Any, names: list[str], device: Device) -> Iterator[tuple[str, str]]:
    if isinstance(value, Energy | Couplings):
        matrix = value.quadratic.tocsr() if isinstance(value, Energy) else value.matrix
        linear = value.linear if isinstance(value, Energy) else -value.bias
        quartic = None if isinstance(value, Energy) else value.quartic
        fourth = np.zeros(value.n) if quartic is None else quartic
        for name, own, slope, four in zip(
            names, matrix.diagonal().tolist(), linear.tolist(), fourth.tolist()
        ):
            yield (
                name,
                f"{own:.6g}"
                + (f", linear {slope:.6g}" if slope else "")
                + (f", quartic {four:.6g}" if four else ""),
            )
        pairs, entries = edge_list(matrix)
        for (i, j), entry in zip(pairs.tolist(), entries.tolist()):
            yield f"{names[i]} {names[j]}", f"{entry:.6g}"
        return
    own, between = settings_of(value, device)
    for name, cell, setting in zip(names, value.cell.tolist(), own):
        yield name, f"cell {cell}: {setting}"
    for (p, q), setting in zip(value.edges.tolist(), between):
        yield f"{names[p]} {names[q]}", setting


def settings_of(value: Placed | Quantized, device: Device, member: int = 0) -> tuple[list[str], list[str]]:
    """What each cell and each coupler is set to, in every bank that says something of it: values with their units, or one
    member's codes, bits and values."""
    spec = device.spec
    codes = isinstance(value, Quantized)
    if isinstance(value, Quantized):
        ground, coupling = decode(value, member, device)
    else:
        ground, coupling = value.ground, value.coupling
    parts: list[list[str]] = []
    for name, bank in (("ground", spec.ground), ("quartic", spec.quartic), ("bias", spec.bias)):
        set_to = getattr(value, name)
        if (
            set_to is None
            or (name == "bias" and not set_to.any())
            or (name == "ground" and _fieldless(value))
        ):
            continue
        bank = bank or Bank()
        row = set_to[member] if codes else set_to
        nominal = ground if name == "ground" else bank.decode(row) if codes else row
        parts.append([f"{name} {word}" for word in _words(value, set_to, nominal, bank, member)])
    own = [", ".join(words) for words in zip(*parts)] if parts else [""] * value.n
    if _fieldless(value) and not parts:
        own = ["no bias"] * value.n
    return own, _words(value, value.coupling, coupling, spec.coupling, member)


def _fieldless(value: Placed | Quantized) -> bool:
    """Whether cells have no term of their own but the bias, as spins have."""
    return value.domain is not Domain.REAL


def _words(
    value: Placed | Quantized, set_to: np.ndarray, nominal: np.ndarray, bank: Bank, member: int
) -> list[str]:
    """`31 = 0001_1111 = 310 pF`, with how far members differ; on a continuous bank, and before there are codes, the value
    alone."""
    unit = "1" if isinstance(value, Placed) and value.dimensionless else bank.unit
    if isinstance(value, Placed) or bank.continuous or not np.issubdtype(set_to.dtype, np.integer):
        return [si(v, unit) for v in (nominal + 0.0).tolist()]
    words = [
        f"{c} = {bits(c, bank)} = {si(v, unit)}" for c, v in zip(set_to[member].tolist(), nominal.tolist())
    ]
    if len(set_to) > 1:
        low, high = set_to.min(axis=0).tolist(), set_to.max(axis=0).tolist()
        words = [
            w + (f" ({a} … {b} in {len(set_to)} members)" if a < b else "")
            for w, a, b in zip(words, low, high)
        ]
    return words


def _summary(value: Any) -> Facts:
    """Sizes and bounds of what is too large to be named."""
    if isinstance(value, Energy | Couplings):
        matrix = value.quadratic.tocsr() if isinstance(value, Energy) else value.matrix
        return {
            "own terms": _bounds(matrix.diagonal()),
            "pairs": _bounds(edge_list(matrix)[1]),
            "linear terms": _bounds(value.linear if isinstance(value, Energy) else value.bias),
        }
    return {
        "placed on": _bounds(value.cell),
        "ground": _bounds(value.ground),
        "couplers": _bounds(value.coupling),
    }


def _bounds(values: np.ndarray) -> str:
    flat = values.ravel()
    return (
        "none"
        if flat.size == 0
        else f"{flat.size}, {flat.min():.6g} … {flat.max():.6g}, norm {np.linalg.norm(flat):.9g}"
    )


def describe(back: ReadBack) -> str:
    """A read-back in a few words."""
    if isinstance(back, HostLoop):
        return f"host loop, {back.sweeps} sweeps a draw, contraction {back.contraction:.3g}"
    if not isinstance(back, Affine):
        return f"majority of {back.n_in} cells for {back.n_out} spins"
    size = f"{back.n_in} → {back.n_out}"
    shifted = ", shifted" if back.offset.any() else ""
    if back.is_diagonal:
        kind = "unchanged" if (back.matrix.data == 1.0).all() else "scaled"
        return f"{size} {kind}{shifted}"
    return f"{size} linear, {back.matrix.nnz} entries{shifted}"
