"""Compiled steps of Langevin dynamics over one block of trajectories, lanes innermost.

    overdamped:   dx = −μ ∇V dt + √(2μkT) dW                                   (physics §3)
    underdamped:  dx = v dt,  m dv = −∇V dt − γ m v dt + √(2γ m kT) dW

x is [n + 1, lanes] in double precision; its last row is the number 1, which shorter products of
`Potential.slopes` point at. Random numbers are single-precision normals, far finer than any step's error.
"""

from __future__ import annotations

import numpy as np

from spucc.targets.kernels import inline, kernel, next32, normal32, uniform


@kernel
def slope(linear, diagonal, quartic, rows, slopes, x, out):  # type: ignore[no-untyped-def]
    """out [n, lanes] += ∂V/∂x of all but what a dense product has put into `out` already."""
    indptr, indices, weight = rows
    starts, factor, coefficient = slopes
    lanes = x.shape[1]
    for i in range(linear.size):
        g, here = out[i], x[i]
        b, d, c = linear[i], diagonal[i], 4.0 * quartic[i]
        for q in range(lanes):
            g[q] += b + here[q] * (d + c * here[q] * here[q])
        for k in range(indptr[i], indptr[i + 1]):
            there, w = x[indices[k]], weight[k]
            for q in range(lanes):
                g[q] += w * there[q]
        for k in range(starts[i], starts[i + 1]):
            r, s, t, w = x[factor[k, 0]], x[factor[k, 1]], x[factor[k, 2]], coefficient[k]
            for q in range(lanes):
                g[q] += w * r[q] * s[q] * t[q]


@inline
def _normals(state, out):  # type: ignore[no-untyped-def]
    for q in range(out.size):
        out[q] = normal32(next32(state, q))


@kernel
def leimkuhler_matthews(x, g, noise, state, drift, spread):  # type: ignore[no-untyped-def]
    """x ← x − μh ∇V + √(2μkT h) (R_k + R_{k+1})/2 with `drift` = μh [n], `spread` = √(2μkT h)/2 [n]; `noise`
    [n, lanes] keeps R from step to step (Leimkuhler and Matthews 2013: one gradient a step, second order in
    the stationary law)."""
    fresh = np.empty(x.shape[1], np.float32)
    for i in range(g.shape[0]):
        here, slope_, old, a, s = x[i], g[i], noise[i], drift[i], spread[i]
        _normals(state, fresh)
        for q in range(here.size):
            here[q] += s * np.float64(old[q] + fresh[q]) - a * slope_[q]
            old[q] = fresh[q]


@inline
def _held(move, spread):  # type: ignore[no-untyped-def]
    """A drift of at most three standard deviations of the noise: without the bound a start far up a quartic wall would
    overshoot for ever and be refused for ever. Any drift that is a function of x keeps the chain exact."""
    return min(max(move, -3.0 * spread), 3.0 * spread)


@kernel
def propose(x, g, y, state, drift, spread, log_forward):  # type: ignore[no-untyped-def]
    """y = x − μh ∇V (bounded) + √(2μkT h) R, lane by lane with that lane's step: `drift` = μh, `spread` = √(2μkT h),
    both [lanes]; log_forward[lane] = −½ |R|²."""
    fresh = np.empty(x.shape[1], np.float32)
    log_forward[:] = 0.0
    for i in range(g.shape[0]):
        here, slope_, there = x[i], g[i], y[i]
        _normals(state, fresh)
        for q in range(here.size):
            r = np.float64(fresh[q])
            there[q] = here[q] - _held(drift[q] * slope_[q], spread[q]) + spread[q] * r
            log_forward[q] -= 0.5 * r * r


@kernel
def reverse(x, y, gy, drift, spread, log_reverse):  # type: ignore[no-untyped-def]
    """log_reverse[lane] = −½ |(x − y + μh ∇V(y), bounded) / √(2μkT h)|²."""
    log_reverse[:] = 0.0
    for i in range(gy.shape[0]):
        here, there, slope_ = x[i], y[i], gy[i]
        for q in range(here.size):
            r = (here[q] - there[q] + _held(drift[q] * slope_[q], spread[q])) / spread[q]
            log_reverse[q] -= 0.5 * r * r


@kernel
def accept(x, g, y, gy, take):  # type: ignore[no-untyped-def]
    """Move the lanes with take[lane] to y."""
    for i in range(g.shape[0]):
        here, slope_, there, other = x[i], g[i], y[i], gy[i]
        for q in range(here.size):
            here[q] = there[q] if take[q] else here[q]
            slope_[q] = other[q] if take[q] else slope_[q]


@kernel
def reflect(linear, rows, single, x, state, temperature):  # type: ignore[no-untyped-def]
    """Each unit's x → −x (with `single`), then that of all together, by the heat bath's rule: own terms are even, so that
    couplings and linear terms decide. No step of a gradient crosses the barrier of a deep double well."""
    indptr, indices, weight = rows
    lanes = x.shape[1]
    field, whole = np.empty(lanes), np.zeros(lanes)
    for i in range(linear.size):
        here, b = x[i], linear[i]
        if single:
            field[:] = b
            for k in range(indptr[i], indptr[i + 1]):
                there, w = x[indices[k]], weight[k]
                for q in range(lanes):
                    field[q] += w * there[q]
            for q in range(lanes):
                gain = 2.0 * here[q] * field[q] / temperature
                if uniform(next32(state, q)) < 1.0 / (1.0 + np.exp(-gain)):
                    here[q] = -here[q]
        for q in range(lanes):
            whole[q] += b * here[q]
    for q in range(lanes):
        gain = 2.0 * whole[q] / temperature
        if uniform(next32(state, q)) < 1.0 / (1.0 + np.exp(-gain)):
            for i in range(linear.size):
                x[i, q] = -x[i, q]


@kernel
def energy(linear, diagonal, quartic, rows, slopes, coupled, x, out):  # type: ignore[no-untyped-def]
    """out[lane] = V; `coupled` [n, lanes] holds the dense product J x (zeros without one)."""
    indptr, indices, weight = rows
    starts, factor, coefficient = slopes
    lanes = x.shape[1]
    out[:] = 0.0
    field = np.empty(lanes)
    for i in range(linear.size):
        here, dense = x[i], coupled[i]
        for q in range(lanes):
            field[q] = dense[q]
        for k in range(indptr[i], indptr[i + 1]):
            there, w = x[indices[k]], weight[k]
            for q in range(lanes):
                field[q] += w * there[q]
        b, d, c = linear[i], 0.5 * diagonal[i], quartic[i]
        for q in range(lanes):
            s = here[q] * here[q]
            out[q] += here[q] * (b + 0.5 * field[q]) + s * (d + c * s)
        for k in range(starts[i], starts[i + 1]):
            r, s_, t, w = x[factor[k, 0]], x[factor[k, 1]], x[factor[k, 2]], coefficient[k]
            # a term of degree 3 stands in three rows, one of degree 4 in four
            share = w / 3.0 if factor[k, 2] == linear.size else w / 4.0
            for q in range(lanes):
                out[q] += share * here[q] * r[q] * s_[q] * t[q]


@kernel
def kick(v, g, half):  # type: ignore[no-untyped-def]
    """B of BAOAB: v ← v − (h/2m) ∇V."""
    for i in range(g.shape[0]):
        speed, slope_ = v[i], g[i]
        for q in range(speed.size):
            speed[q] -= half * slope_[q]


@kernel
def drift_and_bath(x, v, state, half, keep, spread):  # type: ignore[no-untyped-def]
    """AOA of BAOAB (Leimkuhler and Matthews 2013): half a step of flight, the exact bath v ← keep·v +
    spread·R, half a step of flight."""
    fresh = np.empty(x.shape[1], np.float32)
    for i in range(v.shape[0]):
        here, speed = x[i], v[i]
        _normals(state, fresh)
        for q in range(speed.size):
            here[q] += half * speed[q]
            speed[q] = keep * speed[q] + spread * np.float64(fresh[q])
            here[q] += half * speed[q]
