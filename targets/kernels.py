"""What the compiled kernels share: the decorator, random numbers by the lane, and single-precision exp and
normals.

A *lane* is one chain. Lanes are the innermost axis of every array, so that the compiler turns each inner loop
into vector instructions; lane k of a run has a random stream of its own that depends on the seed and on k
alone. Hence a chain is the same whatever the number of chains or threads beside it.

Importing this module imports numba (0.4 s): only functions that are about to run a kernel do so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from scipy import special

from spucc.targets.lanes import lane_state as lane_state

# Contraction and reassociation leave every comparison and special value as it is.
COMPILED: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}
"""How kernels are compiled: without the interpreter's lock, and by the processor's rules."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile, and keep the machine code beside the source."""
    return numba.njit(cache=True, **COMPILED)(function)


def inline(function: Callable[..., Any]) -> Any:
    """A kernel's helper, expanded where it is called so that the loop around it can be vectorised."""
    return numba.njit(cache=True, inline="always", **COMPILED)(function)


@intrinsic
def float_of_bits(context, bits):  # type: ignore[no-untyped-def]
    """The float32 whose bits are an int32's."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], context.get_value_type(types.float32))

    return types.float32(types.int32), generate


@intrinsic
def bits_of_float(context, value):  # type: ignore[no-untyped-def]
    """The int32 whose bits are a float32's."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(args[0], context.get_value_type(types.int32))

    return types.int32(types.float32), generate


_EXP2 = tuple(
    float(c)
    for c in np.polynomial.Chebyshev.interpolate(np.exp2, 5, domain=[-0.5, 0.5])
    .convert(kind=np.polynomial.Polynomial)
    .coef
)
"""Coefficients of a polynomial for 2^r on [−½, ½]."""


@inline
def next32(state, lane):  # type: ignore[no-untyped-def]
    """32 random bits of a lane (xoshiro128+; its lowest bits are weak). Every step is cast back to 32 bits,
    because numba widens sums and shifts of uint32 to 64 bits, which would be another generator and a bad
    one."""
    a, b, c, d = state[0, lane], state[1, lane], state[2, lane], state[3, lane]
    result = np.uint32(a + d)
    t = np.uint32(b << np.uint32(9))
    c = np.uint32(c ^ a)
    d = np.uint32(d ^ b)
    b = np.uint32(b ^ c)
    a = np.uint32(a ^ d)
    c = np.uint32(c ^ t)
    d = np.uint32(np.uint32(d << np.uint32(11)) | np.uint32(d >> np.uint32(21)))
    state[0, lane], state[1, lane], state[2, lane], state[3, lane] = a, b, c, d
    return result


@inline
def uniform(bits):  # type: ignore[no-untyped-def]
    """A float32 at the centre of one of 2²³ equal cells of (0, 1), from 32 random bits."""
    return np.float32(np.float32(np.int32(bits >> np.uint32(9))) + np.float32(0.5)) * np.float32(2.0**-23)


@inline
def exp32(x):  # type: ignore[no-untyped-def]
    """e^x to about 3e-7, relatively, for |x| up to 10 (3e-6 at the ends); x is clipped to ±87. As 2^k 2^r
    with |r| ≤ ½ and the polynomial of degree 5 that interpolates 2^r at the Chebyshev points."""
    t = np.float32(np.float32(1.4426950408889634) * min(max(x, np.float32(-87.0)), np.float32(87.0)))
    k = np.float32(np.floor(np.float32(t + np.float32(0.5))))
    r = np.float32(t - k)
    p = np.float32(_EXP2[5])
    p = np.float32(p * r + np.float32(_EXP2[4]))
    p = np.float32(p * r + np.float32(_EXP2[3]))
    p = np.float32(p * r + np.float32(_EXP2[2]))
    p = np.float32(p * r + np.float32(_EXP2[1]))
    p = np.float32(p * r + np.float32(_EXP2[0]))
    return np.float32(p * float_of_bits(np.int32(np.int32(np.int32(k) + np.int32(127)) << np.int32(23))))


def _chebyshev(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]], low: float, high: float, degree: int
) -> Any:
    """Coefficients, in powers of x, of the polynomial that interpolates a function on [low, high] at
    Chebyshev points."""
    fit = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return tuple(float(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


# ln(1 + r)/r on [−¼, ½]
_LOG = _chebyshev(
    lambda r: np.where(np.abs(r) < 1e-12, 1.0, np.log1p(r) / np.where(r == 0, 1.0, r)), -0.25, 0.5, 8
)


@inline
def log32(x):  # type: ignore[no-untyped-def]
    """ln x for a positive, normal float32: x = 2^k m with m in [¾, 3⁄2) and a polynomial for ln m, to about
    2e-7."""
    bits = bits_of_float(x)
    k = np.int32(np.int32(bits - np.int32(0x3F400000)) >> np.int32(23))
    r = np.float32(float_of_bits(np.int32(bits - np.int32(k << np.int32(23)))) - np.float32(1.0))
    p = np.float32(_LOG[8])
    p = np.float32(p * r + np.float32(_LOG[7]))
    p = np.float32(p * r + np.float32(_LOG[6]))
    p = np.float32(p * r + np.float32(_LOG[5]))
    p = np.float32(p * r + np.float32(_LOG[4]))
    p = np.float32(p * r + np.float32(_LOG[3]))
    p = np.float32(p * r + np.float32(_LOG[2]))
    p = np.float32(p * r + np.float32(_LOG[1]))
    p = np.float32(p * r + np.float32(_LOG[0]))
    return np.float32(np.float32(k) * np.float32(0.6931471805599453) + p * r)


def _probit_of(w: NDArray[np.float64]) -> NDArray[np.float64]:
    """√2 erfinv(x)/x as a function of w = −ln(1 − x²)."""
    x2 = -np.expm1(-w)
    # erfinv(x) from the complement where x is near 1
    inverse = special.erfinv(np.sqrt(np.maximum(x2, 1e-18)))
    near = w > 20
    inverse[near] = np.nan
    return np.asarray(
        np.sqrt(2.0) * np.where(x2 < 1e-16, np.sqrt(np.pi) / 2, inverse / np.sqrt(np.maximum(x2, 1e-18)))
    )


# Two stretches as in Giles (2010): in w − 2.5 up to 5, in √w − 3 beyond.
_BODY = _chebyshev(lambda t: _probit_of(t + 2.5), -2.5, 2.5, 9)
_TAIL = _chebyshev(lambda t: _probit_of((t + 3.0) ** 2), np.sqrt(5.0) - 3.0, 1.0, 8)


@inline
def normal32(bits):  # type: ignore[no-untyped-def]
    """A standard normal float32 from 32 random bits: the inverse of its distribution function at the centre
    of one of 2²³ equal cells, so that |z| < 5.3 and every moment up to the eighth is right to 1e-5."""
    u = uniform(bits)
    x = np.float32(np.float32(2.0) * u - np.float32(1.0))
    w = -log32(np.float32(np.float32(4.0) * u * np.float32(np.float32(1.0) - u)))
    t = np.float32(w - np.float32(2.5))
    p = np.float32(_BODY[9])
    p = np.float32(p * t + np.float32(_BODY[8]))
    p = np.float32(p * t + np.float32(_BODY[7]))
    p = np.float32(p * t + np.float32(_BODY[6]))
    p = np.float32(p * t + np.float32(_BODY[5]))
    p = np.float32(p * t + np.float32(_BODY[4]))
    p = np.float32(p * t + np.float32(_BODY[3]))
    p = np.float32(p * t + np.float32(_BODY[2]))
    p = np.float32(p * t + np.float32(_BODY[1]))
    p = np.float32(p * t + np.float32(_BODY[0]))
    t = np.float32(np.sqrt(max(w, np.float32(0.0))) - np.float32(3.0))
    q = np.float32(_TAIL[8])
    q = np.float32(q * t + np.float32(_TAIL[7]))
    q = np.float32(q * t + np.float32(_TAIL[6]))
    q = np.float32(q * t + np.float32(_TAIL[5]))
    q = np.float32(q * t + np.float32(_TAIL[4]))
    q = np.float32(q * t + np.float32(_TAIL[3]))
    q = np.float32(q * t + np.float32(_TAIL[2]))
    q = np.float32(q * t + np.float32(_TAIL[1]))
    q = np.float32(q * t + np.float32(_TAIL[0]))
    return np.float32(x * (p if w < np.float32(5.0) else q))


@kernel
def lane_normals(state, out):  # type: ignore[no-untyped-def]
    """out [m, lanes] = standard normal float32, row after row."""
    for k in range(out.shape[0]):
        row = out[k]
        for q in range(row.size):
            row[q] = normal32(next32(state, q))


@kernel
def lane_uniforms(state, out):  # type: ignore[no-untyped-def]
    """out [lanes] = uniform float32 in (0, 1)."""
    for q in range(out.size):
        out[q] = uniform(next32(state, q))
