"""A quicker start of SciPy for the command line."""

from __future__ import annotations


def import_sparse_quickly() -> None:
    """Import `scipy.sparse` without a third of its start-up time.

    SciPy copies all of NumPy's public names into a namespace of its own, which loads NumPy's lazy submodules: the Fortran
    wrapper generator, the test tools, masked arrays. None of them is used by what spucc calls; they are left out of NumPy's
    list of names while SciPy takes its copy, and are put back at once. Only the process of the command line does this.
    """
    import numpy as np

    unused = {"f2py", "testing", "ma", "char", "rec", "core", "ctypeslib"}
    names, listing = np.__all__, vars(np).get("__dir__")
    if listing is None:
        return
    try:
        np.__all__ = [n for n in names if n not in unused]
        vars(np)["__dir__"] = lambda: [n for n in listing() if n not in unused]
        import scipy.sparse  # noqa: F401
    finally:
        np.__all__ = names
        vars(np)["__dir__"] = listing
