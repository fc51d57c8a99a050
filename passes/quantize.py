"""Pass 7: component values become integer codes, with as little divergence as the search finds (mapping.md §1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import sparse

from spucc import circuit
from spucc.arrays import FloatArray, IntArray, frozen
from spucc.device import Bank, Device
from spucc.diagnostics import fail
from spucc.energy import Domain
from spucc.passes.quantizing import lossy_book, quantize_board
from spucc.passes.quantizing.quantize_search import Search, search
from spucc.pipeline import Context, JobPass, Outcome
from spucc.readback import Affine, HostLoop
from spucc.stages import Job, Placed, Quantized, Stage

HOPELESS = 0.2
"""KL per cell [nat] that rounding may cost before a device is said not to hold a model."""

METHODS = ("auto", "round", "descent", "babai", "lll", "exact")


@dataclass(frozen=True)
class Quantize(JobPass):
    """`Placed` → `Quantized`: integer codes, and the read-out scales and offsets that fit them best.

    `method`: auto (by size and conditioning), round, descent, babai, lll, exact (at most six cells: proves that no codes are
    better at the scales that it ends with, which are the best for these codes, or by how much they could be). `ensemble` K > 1
    makes K programs by unbiased rounding whose merged draws err in second order. `seconds` bounds the search (process time);
    without it the effort follows `--optimize`. `bits` uses only 2^bits codes of every bank.
    """

    name: ClassVar[str] = "quantize"
    takes: ClassVar[Stage] = Stage.PLACED
    gives: ClassVar[Stage] = Stage.QUANTIZED
    why: ClassVar[str] = "after `fit`, which chose values within the ranges; nothing may change a value later"

    method: str = "auto"
    ensemble: int = 1
    seconds: float | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method is one of {', '.join(METHODS)}")
        if self.ensemble < 1:
            raise ValueError("ensemble is at least 1")
        if self.bits is not None and not 1 <= self.bits <= 16:
            raise ValueError("bits is between 1 and 16")

    def apply(self, job: Job, device: Device, context: Context) -> Outcome:
        placed = job.value
        assert isinstance(placed, Placed)
        if placed.domain is not Domain.REAL or placed.quartic is not None:
            return _nearest(placed, device, self.bits)
        spec = device.spec
        if spec.ground.continuous and spec.coupling.continuous and self.bits is None:
            return _untouched(placed, device)
        book = quantize_board.board(placed, device, self.bits)
        matrix = circuit.network(device, placed.cell, placed.edges, placed.ground, placed.coupling)
        deadline = None if self.seconds is None else time.process_time() + self.seconds
        read = quantize_board.reading(job, placed)
        found = search(
            *lossy_book.by_law(book, matrix, placed, device, self.method),
            read=read,
            method=self.method,
            effort=context.optimize,
            members=self.ensemble,
            rng=context.rng(0x9A7),
            stop=_stopper(context, deadline),
        )
        found = lossy_book.judged(found, matrix, placed, device, read)
        if found.kl / max(book.n, 1) > HOPELESS and not any(isinstance(b, HostLoop) for b in job.readbacks()):
            fail(
                "E0573",
                f"the codes of `{device.name}` cannot be this model: the nearest that were found lose "
                f"{found.kl / book.n:.2g} nat a cell",
                notes=(
                    f"its ranges are too narrow, or its steps too coarse, for the values of job `{job.name}`",
                ),
                help="a device with more bits or wider ranges, `realise{ways=split}`, which pays in sweeps, or `--optimize 2`",
            )
        return _outcome(placed, device, matrix, found, self.bits)


def _stopper(context: Context, deadline: float | None) -> Callable[[], bool]:
    def stop() -> bool:
        return context.stop.is_set() or (deadline is not None and time.process_time() > deadline)

    return stop


def _outcome(
    placed: Placed, device: Device, matrix: sparse.csr_array, found: Search, bits: int | None
) -> Outcome:
    book = found.book
    sign = np.where(placed.coupling < 0, -1.0, 1.0) if placed.family.springs else None
    codes = [quantize_board.codes_of(book, k, sign) for k in found.k]
    ground, coupling = np.stack([g for g, _ in codes]), np.stack([c for _, c in codes])
    bias, offsets = _bias(placed, device, matrix, found, bits)
    members = len(found.k)
    value = placed.quantized(
        ground=_coded(ground, device.spec.ground),
        coupling=_coded(coupling, device.spec.coupling),
        bias=bias,
        scale=frozen(np.full(members, placed.scale)),
        weight=frozen(np.full(members, 1.0 / members)),
        readback=tuple(Affine.diagonal(frozen(r), frozen(o)) for r, o in zip(found.r, offsets)),
    )
    return Outcome(value, None, (found.note,) if found.note else ())


def _coded(codes: FloatArray, bank: Bank) -> IntArray | FloatArray:
    """Codes of a bank, asserted legal; values of a continuous one."""
    if bank.continuous:
        return frozen(codes)
    whole = np.rint(codes).astype(np.int64)
    legal = (np.abs(whole) < bank.codes) & ((whole >= 0) | bank.signed)
    assert legal.all() and (whole == codes).all(), "an illegal code"
    return frozen(whole, np.int64)


def _bias(
    placed: Placed, device: Device, matrix: sparse.csr_array, found: Search, bits: int | None
) -> tuple[IntArray | FloatArray, list[FloatArray]]:
    """Bias codes [members, n] and the read-out offsets [n] that put the means right."""
    n, bank = placed.n, device.spec.bias
    members = len(found.k)
    if not placed.bias.any() or bank is None:
        return frozen(np.zeros((members, n)) if bank is None or bank.continuous else np.zeros((members, n), np.int64),
                      np.float64 if bank is None or bank.continuous else np.int64), [np.zeros(n)] * members  # fmt: skip
    wanted = _solve(matrix, placed.bias)
    codes, offsets = [], []
    for k, r in zip(found.k, found.r):
        realised = found.book.sparse(found.book.levels.value(k))
        code, value = nearest_code(bank, (realised @ (wanted / r)), bits)
        codes.append(code)
        offsets.append(wanted - r * _solve(realised, value))
    return frozen(np.stack(codes), np.float64 if bank.continuous else np.int64), offsets


def nearest_code(
    bank: Bank, values: FloatArray, bits: int | None = None
) -> tuple[IntArray | FloatArray, FloatArray]:
    """Nearest codes of a bank for values, and the values that they stand for."""
    low = -bank.max if bank.signed else bank.min
    if bank.continuous:
        size = np.clip(np.abs(values), bank.min, bank.max)
        clipped = np.where(values < 0, -size, size) if bank.signed else np.clip(values, low, bank.max)
        return clipped, clipped
    magnitude = np.abs(values) if bank.signed else np.maximum(values, low)
    if bank.levels is None:
        stride = 1 if bits is None else max(1, round((bank.codes - 1) / (2**bits - 1)))
        code = np.rint((magnitude - bank.min) / (bank.step * stride or 1.0)).astype(np.int64) * stride
        code = np.clip(code, 0, bank.codes - 1)
    else:
        order = np.argsort(bank.table(), kind="stable")
        middle = 0.5 * (bank.table()[order][1:] + bank.table()[order][:-1])
        code = order[np.searchsorted(middle, magnitude)]
    code = np.where(bank.signed & (values < 0), -code, code)
    return code, bank.decode(code)


def _solve(matrix: sparse.csr_array, right: FloatArray) -> FloatArray:
    if matrix.shape[0] <= 400:
        return np.asarray(np.linalg.solve(matrix.toarray(), right))
    from scipy.sparse.linalg import splu

    return np.asarray(
        splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(right)
    )


def _untouched(placed: Placed, device: Device) -> Outcome:
    """A continuous board takes the values as they are; only its bias may have codes."""
    n, bank = placed.n, device.spec.bias
    bias: FloatArray | IntArray = placed.bias[None]
    offset = np.zeros(n)
    if bank is not None and not bank.continuous and placed.bias.any():
        matrix = circuit.network(device, placed.cell, placed.edges, placed.ground, placed.coupling)
        code, value = nearest_code(bank, placed.bias)
        bias, offset = code[None], _solve(matrix, placed.bias - value)
    elif bank is not None and not bank.continuous:
        bias = np.zeros((1, n), dtype=np.int64)
    return Outcome(_single(placed, placed.ground[None], placed.coupling[None], bias, None, offset))


def _nearest(placed: Placed, device: Device, bits: int | None) -> Outcome:
    """Every value to its nearest code: spins and quartic cells, whose laws are not Gaussian."""
    spec = device.spec
    ground = nearest_code(spec.ground, placed.ground, bits)[0][None]
    coupling = nearest_code(spec.coupling, placed.coupling, bits)[0][None]
    bias = placed.bias[None] if spec.bias is None else nearest_code(spec.bias, placed.bias, bits)[0][None]
    quartic = None
    if placed.quartic is not None:
        bank = spec.quartic
        quartic = placed.quartic[None] if bank is None else nearest_code(bank, placed.quartic, bits)[0][None]
    return Outcome(_single(placed, ground, coupling, bias, quartic, np.zeros(placed.n)))


def _single(
    placed: Placed,
    ground: IntArray | FloatArray,
    coupling: IntArray | FloatArray,
    bias: IntArray | FloatArray,
    quartic: IntArray | FloatArray | None,
    offset: FloatArray,
) -> Quantized:
    def keep(codes: IntArray | FloatArray) -> IntArray | FloatArray:
        return frozen(codes, codes.dtype)

    return placed.quantized(
        ground=keep(ground),
        coupling=keep(coupling),
        bias=keep(bias),
        scale=frozen([placed.scale]),
        weight=frozen([1.0]),
        readback=(Affine.diagonal(frozen(np.ones(placed.n)), frozen(offset)),),
        quartic=None if quartic is None else keep(quartic),
    )
