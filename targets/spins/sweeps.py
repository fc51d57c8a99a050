"""Compiled sweeps over sparse spin graphs: one block of chains, lanes innermost (see
`spucc.targets.kernels`).

The energy is E(s)/T = −½ sᵀJs − h·s, so that P(s_i = +1 | rest) = sigmoid(2 (h_i + Σ_j J_ij s_j)) (physics
§3, p-bits), with J in compressed rows. `beta` [lanes] multiplies E/T lane by lane: tempering and annealing
are the same kernel. `field` [lanes] is scratch. All of it is called through `spucc.targets.machine_code`.
"""

from __future__ import annotations

import numpy as np

from spucc.targets.kernels import exp32, inline, kernel, next32, uniform


@inline
def _field(i, indptr, indices, weight, bias, s, field):  # type: ignore[no-untyped-def]
    """field[lane] = h_i + Σ_j J_ij s_j; four neighbours a pass over the lanes."""
    lanes = field.shape[0]
    k, stop, h = indptr[i], indptr[i + 1], bias[i]
    if stop - k >= 4:
        a, b, c, d = s[indices[k]], s[indices[k + 1]], s[indices[k + 2]], s[indices[k + 3]]
        u, v, w, x = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for q in range(lanes):
            field[q] = h + u * a[q] + v * b[q] + w * c[q] + x * d[q]
        k += 4
    else:
        for q in range(lanes):
            field[q] = h
    while stop - k >= 4:
        a, b, c, d = s[indices[k]], s[indices[k + 1]], s[indices[k + 2]], s[indices[k + 3]]
        u, v, w, x = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for q in range(lanes):
            field[q] += u * a[q] + v * b[q] + w * c[q] + x * d[q]
        k += 4
    while k < stop:
        a, u = s[indices[k]], weight[k]
        for q in range(lanes):
            field[q] += u * a[q]
        k += 1


@kernel
def heat_bath(order, indptr, indices, weight, bias, beta, s, state, field, sweeps):  # type: ignore[no-untyped-def]
    """`sweeps` Gibbs sweeps over the sites in `order`; s [n, lanes] float32 ±1 and the random `state` change
    in place."""
    lanes = s.shape[1]
    for _ in range(sweeps):
        for at in range(order.size):
            i = order[at]
            _field(i, indptr, indices, weight, bias, s, field)
            row = s[i]
            for q in range(lanes):
                e = exp32(np.float32(-2.0) * beta[q] * field[q])
                u = uniform(next32(state, q))
                row[q] = np.float32(1.0) if u * (np.float32(1.0) + e) < np.float32(1.0) else np.float32(-1.0)


@kernel
def metropolis(order, indptr, indices, weight, bias, beta, s, state, field, sweeps):  # type: ignore[no-untyped-def]
    """As `heat_bath`, but each site proposes its flip and takes it with probability min(1, e^−ΔE): sooner at
    low temperature, and periodic at an infinite one."""
    lanes = s.shape[1]
    for _ in range(sweeps):
        for at in range(order.size):
            i = order[at]
            _field(i, indptr, indices, weight, bias, s, field)
            row = s[i]
            for q in range(lanes):
                e = exp32(np.float32(-2.0) * beta[q] * field[q] * row[q])
                u = uniform(next32(state, q))
                row[q] = -row[q] if u < e else row[q]


@kernel
def energies(indptr, indices, weight, bias, s, field, out_pair, out_field):  # type: ignore[no-untyped-def]
    """out_pair[lane] = −½ sᵀJs and out_field[lane] = −h·s, summed in double precision."""
    n, lanes = s.shape
    out_pair[:] = 0.0
    out_field[:] = 0.0
    for i in range(n):
        _field(i, indptr, indices, weight, bias, s, field)
        row, h = s[i], bias[i]
        for q in range(lanes):
            out_pair[q] -= 0.5 * np.float64((field[q] - h) * row[q])
            out_field[q] -= np.float64(h * row[q])


@kernel
def descend(order, indptr, indices, weight, bias, s, field, most):  # type: ignore[no-untyped-def]
    """Flip whatever lowers the energy until nothing does, at most `most` sweeps; every lane on its own."""
    lanes = s.shape[1]
    for _ in range(most):
        changed = np.float32(0.0)
        for at in range(order.size):
            i = order[at]
            _field(i, indptr, indices, weight, bias, s, field)
            row = s[i]
            for q in range(lanes):
                bad = np.float32(1.0) if field[q] * row[q] < np.float32(0.0) else np.float32(0.0)
                row[q] *= np.float32(1.0) - np.float32(2.0) * bad
                changed += bad
        if changed == 0:
            break


@kernel
def greedy_colours(order, indptr, indices, colour, taken):  # type: ignore[no-untyped-def]
    """colour[i] = the least colour that no neighbour has, for i in `order`; `colour` [n] and `taken` [n + 1] start at −1."""
    for at in range(order.size):
        i = order[at]
        for k in range(indptr[i], indptr[i + 1]):
            c = colour[indices[k]]
            if c >= 0:
                taken[c] = i
        c = 0
        while taken[c] == i:
            c += 1
        colour[i] = c


@kernel
def draw_layer(field, beta, state, row_of, s):  # type: ignore[no-untyped-def]
    """s[row_of[k]] ~ its law given field [k, lanes]: a whole layer whose units do not see one another."""
    for k in range(field.shape[0]):
        row, f = s[row_of[k]], field[k]
        for q in range(f.size):
            e = exp32(np.float32(-2.0) * beta[q] * f[q])
            u = uniform(next32(state, q))
            row[q] = np.float32(1.0) if u * (np.float32(1.0) + e) < np.float32(1.0) else np.float32(-1.0)
