"""Circuits as SPICE netlists: physical values, switch states, injected noise.

A coupling capacitor between two nodes is the Maxwell entry −c. A negative coupler is the same capacitor behind an
ideal 1:−1 transformer, an E and an F source: the E source shows the capacitor minus the other node's voltage, and
the F source draws the capacitor's current from that node too (physics §6). Coupled coils are K elements, of
either sign; the noise is a voltage in each loop, and an H source shows the loop's current as the cell's voltage.
Values are written in base units as `%.9g`, since SPICE reads M as milli.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spucc.arrays import FloatArray
from spucc.device import Bank, Device, Family
from spucc.diagnostics import fail
from spucc.energy import Energy
from spucc.stages import Quantized, Role
from spucc.targets.circuits import Board, board, levels_of
from spucc.targets.noise_file import Noise

# The circuit is linear, so that every step is solved exactly whatever the tolerances: looser ones, and tighter ones with
# which ngspice still keeps its steps, give the same bytes (tests/targets/test_spice.py). Loose they have to be: ngspice cuts
# a step by reltol and chgtol (beside XSPICE parts it does not heed trtol), and noise that is white at a step is so rough that
# any usual tolerance cuts them all; cut steps leave the rows of the noise file.
FIXED_STEP = "method=trap reltol=0.1 abstol=1e-3 vntol=1 chgtol=1e-6 trtol=1000"
_WHY_LOOSE = (
    "* The circuit is linear: each step is solved exactly whatever the tolerances. Loose ones only keep ngspice from",
    "* cutting steps, which have to stay on the rows of the noise; with usual ones (reltol=1e-5) they do not.",
)

# Steps that follow a waveform to some 1e-4 of it (physics §6).
ACCURATE = "method=trap reltol=1e-5 abstol=1e-15 vntol=1e-9 chgtol=1e-18"


# How couplers of either sign are made. Positive ones attract, as a negative mutual inductance does.
_WAYS = {
    Family.CAPACITIVE: ("", ", transformer"),
    Family.RESISTIVE: ("", ", inverted"),
    Family.INDUCTIVE: (", windings opposed", ", windings aiding"),
}


@dataclass(frozen=True, eq=False)
class Load:
    """A circuit with its place in a netlist: nodes and parts are called `<prefix><cell>`. `cells` are the numbers of
    the device's cells, `stands_for` [n] what each is to the user, `ground_note` [n] and `coupling_note` [edges] the
    switch states by which the banks make the values, `edges` [m, 2] positions."""

    board: Board
    prefix: str
    cells: tuple[int, ...]
    stands_for: tuple[str, ...]
    ground_note: tuple[str, ...]
    coupling_note: dict[tuple[int, int], str]

    def node(self, k: int) -> str:
        """The node of position k."""
        return f"{self.prefix}{self.cells[k]}"

    @property
    def nodes(self) -> list[str]:
        return [self.node(k) for k in range(self.board.n)]


def load(codes: Quantized, member: int, device: Device, energy: Energy, prefix: str) -> Load:
    """One member of a configuration, ready to be written.

    Raises:
        SpuccError: E0731 for a family whose cells are not a linear circuit; E0722 as `board` does.
    """
    if not device.family.electric:
        fail(
            "E0731",
            f"`{device.name}` is not a circuit that SPICE could simulate: its family is `{device.family}`",
            help="compile for a capacitive, a resistive or an inductive device, e.g. --target spu8",
        )
    spec, measured, cells = device.spec, device.calibration, codes.cell
    table = measured.coupling_levels
    if table is not None and codes.edges.size:
        table = table[device.coupler_ids(cells[codes.edges])]
    values = levels_of(spec.coupling, codes.coupling[member], table)
    positive, negative = _WAYS[device.family]
    notes = {
        (int(p), int(q)): _switches(spec.coupling, code, value, negative if code < 0 else positive)
        for (p, q), code, value in zip(codes.edges, codes.coupling[member], values)
    }
    table = None if measured.ground_levels is None else measured.ground_levels[cells]
    values = levels_of(spec.ground, codes.ground[member], table)
    ground = tuple(_switches(spec.ground, code, value) for code, value in zip(codes.ground[member], values))
    sign = {Role.PLUS: "+", Role.MINUS: "-"}
    names = tuple(
        (energy.label(int(c)) if c >= 0 else Role(int(r)).name.lower()) + sign.get(Role(int(r)), "")
        for c, r in zip(codes.coordinate, codes.role)
    )
    where = tuple(int(c) for c in cells)
    return Load(board(codes, member, device), prefix, where, names, ground, notes)


def _switches(bank: Bank, code: float, value: float, way: str = "") -> str:
    """What a bank is set to and in which `way`, for a comment."""
    unit = bank.unit
    if bank.continuous:
        return f"set to {value:.6g} {unit}{way if value else ''}"
    magnitude = abs(int(code))
    if magnitude == 0 and value == 0:
        return "switch open"
    bits = f" = {magnitude:0{bank.bits}b}" if bank.bits else ""
    return f"code {magnitude}{bits}{way}: {value:.6g} {unit}"


def netlist(
    loads: Sequence[Load],
    noises: Sequence[Noise],
    *,
    title: str,
    header: Sequence[str] = (),
    options: str = FIXED_STEP,
    tail: Sequence[str] = (),
) -> str:
    """A netlist with every load and its noise file, all with the same time step, ready for `ngspice -b`.

    Nodes: cell k of a load is `<prefix><k>`; its noise is the node `<prefix><k>_w`, in ampere shown as volt. Of
    coils the cells are ampere shown as volt, and the noise is volt.
    """
    rows = [f"* {title}", *(f"* {line}" for line in header)]
    for one, noise in zip(loads, noises):
        rows += ["*", f"* --- {one.prefix}: {one.board.n} cells, {one.board.family}"]
        rows += _cells(one) + _couplers(one) + _noise(one, noise)
    step = noises[0].step
    steps = max(noise.steps for noise in noises)
    rows += [
        "*",
        *(_WHY_LOOSE if options == FIXED_STEP else ()),
        f".options {options}",
        ".save " + " ".join(f"v({node})" for one in loads for node in one.nodes),
        f".tran {step:.9g} {steps * step:.12g} 0 {step:.9g} uic",
        *tail,
        ".end",
    ]
    return "\n".join(rows) + "\n"


def _cells(one: Load) -> list[str]:
    circuit = one.board
    matrix = circuit.matrix.tocsr()
    diagonal = matrix.diagonal()
    if circuit.family is Family.CAPACITIVE:
        off = abs(matrix)
        ground = diagonal - (np.asarray(off.sum(axis=1)).ravel() - np.abs(diagonal))
    else:
        ground = diagonal
    own = "its coil" if circuit.family is Family.INDUCTIVE else "bank to ground"
    rows = []
    for k in range(circuit.n):
        node = one.node(k)
        rows.append(f"* cell {one.cells[k]} stands for {one.stands_for[k]}; {own}: {one.ground_note[k]}")
        if circuit.family is Family.INDUCTIVE:
            # A loop of noise source, ammeter, resistors and coil; what is read is the ammeter's current.
            rows.append(f"V{node} {node}_e {node}_r DC 0")
            rows.append(f"R{node} {node}_r {node}_l {circuit.loop[k]:.9g}")
            rows.append(f"L{node} {node}_l 0 {ground[k]:.9g}")
            rows.append(f"H{node} {node} 0 V{node} 1")
        elif circuit.family is Family.CAPACITIVE:
            # Strays included. What couplers with a stray take from it may leave none or less.
            if ground[k] != 0:
                rows.append(f"C{node} {node} 0 {ground[k]:.9g}")
            rows.append(f"R{node} {node} 0 {circuit.resistance[k]:.9g}")
            if circuit.series_resistance[k] > 0:
                rows.append(f"L{node} {node} {node}_s {circuit.inductance[k]:.9g}")
                rows.append(f"R{node}_s {node}_s 0 {circuit.series_resistance[k]:.9g}")
            else:
                rows.append(f"L{node} {node} 0 {circuit.inductance[k]:.9g}")
        else:
            rows.append(f"C{node} {node} 0 {circuit.capacitance:.9g}")
            rows.append(f"R{node} {node} 0 {1.0 / ground[k]:.9g}")
            if circuit.bias[k] != 0:
                rows.append(f"I{node} 0 {node} DC {circuit.bias[k]:.9g}")
    return rows


def _couplers(one: Load) -> list[str]:
    circuit = one.board
    upper = circuit.matrix.tocoo()
    keep = upper.row < upper.col
    rows = []
    entries = sorted(zip(upper.row[keep].tolist(), upper.col[keep].tolist(), upper.data[keep].tolist()))
    for p, q, entry in entries:
        if entry == 0:
            continue
        a, b = one.node(p), one.node(q)
        name = f"{one.prefix}{one.cells[p]}_{one.cells[q]}"
        note = one.coupling_note.get((p, q), "stray only")
        rows.append(f"* coupler {one.cells[p]}-{one.cells[q]}: {note}")
        if circuit.family is Family.INDUCTIVE:
            own = circuit.matrix[p, p] * circuit.matrix[q, q]
            rows.append(f"K{name} L{a} L{b} {entry / np.sqrt(own):.12g}")
        elif circuit.family is Family.RESISTIVE:
            # An active conductance of either sign: each side draws entry times the other's voltage.
            rows += [f"G{name}a {a} 0 {b} 0 {entry:.9g}", f"G{name}b {b} 0 {a} 0 {entry:.9g}"]
        elif entry < 0:
            rows.append(f"C{name} {a} {b} {-entry:.9g}")
        else:
            rows += [
                f"C{name} {a} {name}_m {entry:.9g}",
                f"E{name} {name}_m 0 0 {b} 1",
                f"F{name} {b} 0 E{name} 1",
            ]
    return rows


def _noise(one: Load, noise: Noise) -> list[str]:
    nodes = [f"{node}_w" for node in one.nodes]
    zeros = " ".join("0" for _ in nodes)
    scales = " ".join(f"{unit:.9g}" for unit in noise.unit)
    loops = one.board.family is Family.INDUCTIVE
    shown = "voltages" if loops else "currents"
    unit = "" if loops else ", as ampere"
    rows = [f"* noise {shown}: a row of {noise.name} every {noise.step:.9g} s{unit} on nodes *_w"]
    rows.append(f"A{one.prefix}noise %v([{' '.join(nodes)}]) {one.prefix}source")
    rows.append(
        f'.model {one.prefix}source filesource (file="{noise.name}" amploffset=[{zeros}] amplscale=[{scales}] '
        f"timeoffset=0 timescale={noise.step:.12g} timerelative=false amplstep=false)"
    )
    if loops:
        return rows + [f"E{node}_w {node}_e 0 {node}_w 0 1" for node in one.nodes]
    return rows + [f"G{node}_w 0 {node} {node}_w 0 1" for node in one.nodes]


def currents(circuit: Board, step: float) -> FloatArray:
    """Standard deviation [n] in A (of loops in V) of noise that is white at a step [s]: √(2κ/h)."""
    return np.asarray(np.sqrt(2.0 * circuit.noise / step))
