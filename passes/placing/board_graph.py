"""The live part of a device as a graph, and sets of cells as the bits of integers.

A set of cells is a Python integer whose bit v says whether cell v is in it: intersections of sets of a thousand cells cost
some 50 ns, which is what makes exhaustive searches practical without compiled code.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from spucc.arrays import IntArray
from spucc.device import Device


def adjacency(n: int, pairs: IntArray) -> sparse.csr_array:
    """The symmetric 0/1 matrix of a graph with n nodes."""
    i, j = np.asarray(pairs).reshape(-1, 2).T
    ones = np.ones(2 * i.size)
    matrix = sparse.coo_array((ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(n, n)).tocsr()
    matrix.sort_indices()
    return sparse.csr_array(matrix)


def live_graph(device: Device) -> sparse.csr_array:
    """The 0/1 matrix [nodes, nodes] of the couplers that work; dead cells are isolated."""
    return adjacency(device.topology.nodes or 0, device.topology.edges[device.live_edges])


def neighbours(graph: sparse.csr_array) -> list[IntArray]:
    """The sorted neighbours of every node."""
    return np.split(graph.indices, graph.indptr[1:-1])


def members(value: int) -> list[int]:
    """The nodes of a set, in order."""
    found = []
    while value:
        low = value & -value
        found.append(low.bit_length() - 1)
        value ^= low
    return found


def balls(graph: sparse.csr_array, radius: int) -> list[list[int]]:
    """`ball[k][v]`: the set of nodes at most k steps from v, for k = 0 … radius. Stops early when nothing grows."""
    near = [list(map(int, row)) for row in neighbours(graph)]
    found = [[1 << v for v in range(len(near))]]
    for _ in range(radius):
        last = found[-1]
        grown = []
        for v, row in enumerate(near):
            value = last[v]
            for w in row:
                value |= last[w]
            grown.append(value)
        if grown == last:
            break
        found.append(grown)
    return found
