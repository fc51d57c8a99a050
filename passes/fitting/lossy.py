"""Which capacitors a board with losses needs for a wanted law: Λ(C) = W on the couplers that there are (physics §5).

Λ(C) = `lossy_precision`(C) + C E C, where E is what unequal cells add to it: taken from the Lyapunov equation at one C, and of
second order in C as all of the loss is. Newton's method works in the modes of that C, where a change δ of it changes Λ by
(1 + ā(c_i + c_j)) δ_ij to first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from spucc.arrays import FloatArray
from spucc.fidelity.board_law import LYAPUNOV, Parts, lossy_precision, voltage_covariance
from spucc.passes.realising.moments import inverse


@dataclass(frozen=True, eq=False)
class Lossy:
    """The law of a board near one capacitance matrix: its parts, E `unequal` [n, n] in 1/F, and that matrix's `modes` [n, n]
    with the inverse derivative `damping` [n, n] in them."""

    parts: Parts
    unequal: FloatArray
    modes: FloatArray
    damping: FloatArray

    def law(self, c: FloatArray) -> FloatArray:
        """Λ(C) [..., n, n] in F."""
        return np.asarray(lossy_precision(c, self.parts) + c @ self.unequal @ c)

    def slope(self, c: FloatArray) -> tuple[FloatArray, FloatArray]:
        """X and Y [n, n] of dΛ = dC + dC X + Xᵀ dC − Yᵀ dC Y at C [n, n]."""
        parts = self.parts
        a = np.sqrt(parts.series * parts.resistance / parts.inductance)
        rho = parts.series / np.sqrt(parts.inductance)
        inner = c * np.outer(rho, rho) + np.diag(1 + parts.series / parts.resistance)
        solved = np.linalg.solve(inner, a[:, None] * c)
        return a[:, None] * solved + self.unequal @ c, rho[:, None] * solved

    def back(self, c: FloatArray, g: FloatArray) -> FloatArray:
        """The gradient by C [n, n] of a function whose gradient by Λ(C) is the symmetric G [n, n]."""
        x, y = self.slope(c)
        half = x @ g
        return np.asarray(g + half + half.T - y @ g @ y.T)

    def step(self, missing: FloatArray) -> FloatArray:
        """The change of C [..., n, n] that changes Λ by `missing`, to first order."""
        inside = self.modes.T @ missing @ self.modes * self.damping
        return np.asarray(self.modes @ inside @ self.modes.T)


def lossy_near(c: FloatArray, parts: Parts) -> Lossy:
    """The law near C [n, n]; exact at C up to `LYAPUNOV` cells, and for equal cells everywhere."""
    n = c.shape[0]
    unequal = np.zeros((n, n))
    if n <= LYAPUNOV and not parts.equal():
        theta = float(np.mean(parts.noise * parts.resistance))
        half = np.linalg.solve(c, theta * inverse(voltage_covariance(c, parts)) - lossy_precision(c, parts))
        unequal = np.linalg.solve(c, half.T)
    values, vectors = linalg.eigh(c)
    a = float(np.mean(parts.series * parts.resistance / parts.inductance))
    return Lossy(parts, unequal, vectors, 1.0 / (1.0 + a * (values[:, None] + values)))
