"""What comments say beside the numbers: the user's names, SI values with a prefix, codes in bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spucc.device import Bank, Device
from spucc.energy import Energy
from spucc.ir.text import COMMENTED, Writer
from spucc.stages import Couplings, Placed, Quantized, Role

_PREFIXES = {
    -24: "y",
    -21: "z",
    -18: "a",
    -15: "f",
    -12: "p",
    -9: "n",
    -6: "µ",
    -3: "m",
    0: "",
    3: "k",
    6: "M",
    9: "G",
    12: "T",
}
_MARK = {Role.PLAIN: "", Role.PLUS: "+", Role.MINUS: "-", Role.BORDER: "border", Role.AUXILIARY: "hidden"}


def si(value: float, unit: str) -> str:
    """A value for the eye, four digits: 1.234e-11 F → `12.34 pF`."""
    if unit in ("", "1") or value == 0 or not math.isfinite(value):
        return f"{value:.4g}" + ("" if unit in ("", "1") else f" {unit}")
    power = 3 * math.floor(math.log10(abs(value) * (1 + 1e-9)) / 3)
    power = min(max(power, min(_PREFIXES)), max(_PREFIXES))
    return f"{value / 10.0**power:.4g} {_PREFIXES[power]}{unit}"


def bits(code: int, bank: Bank) -> str:
    """A code as the bits of its bank, after its sign: `-0110 0101`."""
    width = max((bank.codes - 1).bit_length(), 1)
    digits = f"{abs(code):0{width}b}"
    head = len(digits) % 4
    groups = ([digits[:head]] if head else []) + [digits[k : k + 4] for k in range(head, len(digits), 4)]
    return ("-" if code < 0 else "") + "_".join(groups)


def cell_names(coordinate: np.ndarray, role: np.ndarray, energy: Energy) -> list[str]:
    """The names of logical cells in the user's words: `x[3]`, `x[3]+`, `border`; the numbers of unnamed ones."""
    names = []
    for k, (c, r) in enumerate(zip(coordinate.tolist(), role.tolist())):
        base = energy.label(c) if 0 <= c < energy.n else ""
        mark = _MARK.get(r, "") if r in _MARK else ""
        names.append((base + mark) or f"cell {k}")
    return names


def names_of(value: Couplings | Placed | Quantized, energy: Energy) -> list[str]:
    """One name a cell; the further cells of a chain are told apart: `x[3]`, `x[3]'1`, `x[3]'2`."""
    names = cell_names(value.coordinate, value.role, energy)
    if isinstance(value, Couplings):
        return names
    seen: dict[int, int] = {}
    for p, c in enumerate(value.chain.tolist()):
        seen[c] = seen.get(c, -1) + 1
        names[p] += f"'{seen[c]}" if seen[c] else ""
    return names


def enter(out: Writer, energy: Energy | None) -> None:
    """Numbers from here on are coordinates of this energy, and the next read-back leads to them."""
    out.energy, out.cells = energy, None
    out.rows = out.names()


def enter_cells(out: Writer, value: Couplings | Placed | Quantized) -> None:
    """Numbers inside this block are cells: give them their names."""
    if out.energy is not None and value.n <= COMMENTED:
        out.cells = names_of(value, out.energy)
    out.rows = out.cells


def take_rows(out: Writer, value: Any) -> None:
    """The first read-back after `enter` leads to what was entered; what the next ones lead to has no names."""
    out.labels, out.rows = out.rows, None


def seconds(out: Writer, value: float) -> str:
    """A time with its unit, where the device has a clock."""
    device = out.device
    clock = device is None or (device.partner is None and device.family.electric)
    return si(value, "s") if value and clock else ""


def of_cells(out: Writer, value: Placed | Quantized) -> Sequence[str] | None:
    """Beside a row of cells: the name, and what its ground component is set to."""
    return _beside(out, value, out.cells, value.ground, "ground")


def of_couplers(out: Writer, value: Placed | Quantized) -> Sequence[str] | None:
    """Beside a row of couplers: the two names, and what the coupler is set to."""
    if out.cells is None or len(value.edges) > COMMENTED:
        return None
    pairs = [f"{out.cells[p]} {out.cells[q]}" for p, q in value.edges.tolist()]
    return _beside(out, value, pairs, value.coupling, "coupling")


def _beside(
    out: Writer, value: Any, names: Sequence[str] | None, what: np.ndarray, bank: str
) -> Sequence[str] | None:
    if names is None:
        return None
    width = max(map(len, names), default=0)
    device = None if out.device is None else out.device.of(value.family)
    bare = isinstance(value, Placed) and value.dimensionless
    settings = _settings(None if bare else device, what, bank) or [""] * len(names)
    return [f"{name:<{width}}  {setting}".rstrip() for name, setting in zip(names, settings)]


def _settings(device: Device | None, what: np.ndarray, bank: str) -> list[str] | None:
    """Values with units; for codes of a single member bits and values."""
    found: Bank | None = getattr(device.spec, bank) if device else None
    if found is None or (what.ndim == 2 and what.shape[0] != 1):
        return None
    row = what.reshape(-1)
    if what.ndim == 1 or found.continuous or not np.issubdtype(what.dtype, np.integer):
        if found.unit == "1":
            return None
        return [si(v, found.unit) for v in row.tolist()]
    if row.size and np.abs(row).max() >= found.codes:
        return None
    width = max((len(bits(int(c), found)) for c in row), default=0)
    return [
        f"{bits(int(c), found):>{width}}  {si(float(v), found.unit)}" for c, v in zip(row, found.decode(row))
    ]
