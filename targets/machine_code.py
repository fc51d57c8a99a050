"""Compiled kernels without the compiler: numba is imported the first time ever, later runs load machine code.

numba keeps what it compiled, but to load it takes numba itself (0.2 s) and its types (0.2 s). Here the optimised code of a
kernel is kept as an object file, which llvmlite (0.04 s) loads in milliseconds. It is called as numba calls it: a pointer
for the result, one for an exception, and for each array its owner, parent, entries, bytes of an entry, address, shape and
strides.

Such a kernel takes C-contiguous arrays and numbers, returns nothing, raises nothing and allocates nothing: then its code
needs nothing of numba's runtime.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Kind = tuple[str, int]
"""numpy's name of a type and the number of axes; −1 for a number."""

_lock = threading.Lock()


class Native:
    """The kernel `name` of a module of kernels (`spucc.targets.kernels.kernel`), compiled for the types that it is called
    with. Its code is kept in `NUMBA_CACHE_DIR`, or beside the module, or in the user's cache folder."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name
        self._ready: dict[tuple[Kind, ...], Callable[..., None]] = {}

    def __call__(self, *args: Any) -> None:
        self.bind(*args)()

    def bind(self, *args: Any) -> Callable[..., None]:
        """The kernel with its first arguments given: a function of the whole numbers that are left. To take an array apart
        costs as much as to update a few spins, so what is called often is bound once."""
        kinds, flat = tuple(map(_kind, args)), _flat(args)

        def call(*left: int) -> None:
            # `args` are named here, so that the arrays live as long as this function
            assert len(flat) >= len(args)
            self._ready_for(kinds + (("int64", -1),) * len(left))(*flat, *left)

        return call

    def _ready_for(self, kinds: tuple[Kind, ...]) -> Callable[..., None]:
        run = self._ready.get(kinds)
        if run is None:
            with _lock:
                run = self._ready.get(kinds) or self._open(kinds)
                self._ready[kinds] = run
        return run

    def _open(self, kinds: tuple[Kind, ...]) -> Callable[..., None]:
        source = Path(__file__).parent.joinpath(*self._module.split(".")[2:]).with_suffix(".py")
        digest = hashlib.sha256(
            b"\0".join([source.read_bytes(), _shared(), repr((self._name, kinds)).encode()])
        ).hexdigest()
        file = f"{source.stem}.{self._name}-{digest[:32]}.kernel"
        kept = next((found for f in _folders(source) if (found := _read(f / file)) is not None), None)
        if kept is None:
            kept = _compiled(getattr(import_module(self._module), self._name).py_func, kinds)
            for folder in _folders(source):
                if _write(folder / file, *kept):
                    break
        return _loaded(*kept, kinds)


def _kind(value: Any) -> Kind:
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise ValueError("kernels take contiguous arrays")
        return value.dtype.name, value.ndim
    if isinstance(value, np.generic):
        return value.dtype.name, -1
    return ("int64" if isinstance(value, int) else "float64"), -1


def _flat(args: tuple[Any, ...]) -> list[Any]:
    """The arguments as numba's own functions take them."""
    flat: list[Any] = []
    for value in args:
        if isinstance(value, np.ndarray):
            flat += (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)
        else:
            flat.append(value.item() if isinstance(value, np.generic) else value)
    return flat


# --- what is kept on the disk --------------------------------------------------------------------------


@cache
def _shared() -> bytes:
    """All but the kernel itself that its code hangs on: what kernels share, the compiler, the processor."""
    import llvmlite
    import llvmlite.binding as llvm

    own = [Path(__file__).with_name("kernels.py").read_bytes(), Path(__file__).read_bytes()]
    host = llvm.get_host_cpu_name() + llvm.get_host_cpu_features().flatten() + llvm.get_process_triple()
    words = f"{host} {llvmlite.__version__} {sys.version_info[:2]} {np.__version__.split('.')[0]}"
    return b"\0".join([*own, words.encode()])


def _folders(source: Path) -> list[Path]:
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return [Path(given)]
    home = os.environ.get("XDG_CACHE_HOME") or Path("~").expanduser() / ".cache"
    return [source.parent / "__pycache__", Path(home) / "spucc"]


def _read(path: Path) -> tuple[str, bytes] | None:
    """(symbol, object file), or None where there is none, or a damaged one."""
    try:
        head, _, code = path.read_bytes().partition(b"\n")
        told = json.loads(head)
        whole = told["sha256"] == hashlib.sha256(code).hexdigest()
        return (told["symbol"], code) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, symbol: str, code: bytes) -> bool:
    """Write whole or not at all. A folder that cannot be written to is no fault: the next run compiles again."""
    head = json.dumps({"symbol": symbol, "sha256": hashlib.sha256(code).hexdigest()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(head.encode() + b"\n" + code)
        os.replace(part.name, path)
    except OSError:
        return False
    return True


# --- to machine code, and from it ----------------------------------------------------------------------


def _compiled(function: Callable[..., Any], kinds: tuple[Kind, ...]) -> tuple[str, bytes]:
    """(symbol, object file) of a kernel, by numba."""
    import llvmlite.binding as llvm
    import numba

    from spucc.targets.kernels import COMPILED

    def numba_type(kind: Kind) -> Any:
        one = numba.from_dtype(np.dtype(kind[0]))
        return one if kind[1] < 0 else numba.types.Array(one, kind[1], "C")

    # neither of the ways in from Python: they would need numba's runtime
    bare = numba.njit(**COMPILED, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    signature = tuple(map(numba_type, kinds))
    bare.compile(signature)
    symbol = str(bare.overloads[signature].fndesc.llvm_func_name)
    module = llvm.parse_assembly(bare.inspect_llvm(signature))
    for needed in list(module.functions):
        # arrays without an owner are never freed: what would free one does nothing
        if needed.is_declaration and needed.name == "NRT_MemInfo_call_dtor":
            empty = re.sub(r"declare ([^)]*\)).*", r"define \1 { ret void }", str(needed).strip())
            module.link_in(llvm.parse_assembly(empty))
    code = bytes(_machine().emit_object(module))
    foreign = set(re.findall(rb"\b(?:NRT|numba|Py[A-Z]\w*)_\w+", code))
    foreign -= {b"NRT_incref", b"NRT_decref", b"NRT_MemInfo_call_dtor"}
    assert not foreign, f"{function.__name__} allocates or raises: {foreign}"
    return symbol, code


@cache
def _machine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )


_engines: list[Any] = []
"""Own the code that is in use."""


def _loaded(symbol: str, code: bytes, kinds: tuple[Kind, ...]) -> Callable[..., None]:
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    word, double, single = ctypes.c_ssize_t, ctypes.c_double, ctypes.c_float
    types: list[Any] = []
    for name, axes in kinds:
        number = {"float64": double, "float32": single}.get(name, word)
        types += [number] if axes < 0 else [word] * (5 + 2 * axes)
    # a foreign function gives the interpreter's lock away while it runs
    native = ctypes.CFUNCTYPE(ctypes.c_int32, word, word, *types)(engine.get_function_address(symbol))

    def run(*flat: Any) -> None:
        back = (ctypes.c_void_p * 2)()
        where = ctypes.addressof(back)
        if native(where, where + ctypes.sizeof(ctypes.c_void_p), *flat):
            raise RuntimeError(f"the kernel {symbol} failed")

    return run
