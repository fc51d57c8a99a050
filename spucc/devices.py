"""Finding a device by its name, file or parameters, and checking the file.

A target is one of
    spu8                       a built-in device (`spucc/targets/devices/*.toml`), or a third party's (entry point group
                               `spucc.devices`, each naming a package that holds device files)
    ./boards/mine.toml         a device file
    king(12,12)                a lattice by its numbers
    resistive-64+ideal-spin    two of them, for a model with real variables and spins
followed, if wanted, by changes in braces: `spu8{bits=10 coupling.max=2e-9}`. `bits` sets the self bank (of p-bits:
the fields) and the couplers; any other field goes by its dotted name.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from spucc.arrays import frozen
from spucc.device import Bank, Calibration, Device, DeviceSpec, Family, Topology
from spucc.diagnostics import Diagnostic, Span, SpuccError, did_you_mean, fail
from spucc.topology import KINDS, OFFSET_RULES, OFFSET_SOURCES, beside, build, check_pairs, read_arrays

# The device whose figures a lattice by parameters starts from.
_BASE = {
    Family.CAPACITIVE: "grid-16x16",
    Family.RESISTIVE: "resistive-64",
    Family.INDUCTIVE: "inductive-64",
    Family.PBIT: "pbit-grid",
    Family.IDEAL: "ideal",
}
_NUMBERS = {
    "complete": ("nodes",),
    "grid": ("rows", "cols"),
    "king": ("rows", "cols"),
    "torus": ("rows", "cols"),
    "bipartite": ("rows", "cols"),
    "offset": ("rows", "cols"),
    "chimera": ("rows", "cols", "shore"),
    "pegasus": ("rows",),
}
_TARGET = re.compile(r"\s*(?P<base>[^{}]*?)\s*(?:\{(?P<changes>[^{}]*)\})?\s*\Z", re.DOTALL)
# A change in braces: anything up to a blank or comma that is in no brackets, two deep.
_SETTING = re.compile(r"(?:[^\s,\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])+|[\[\]]")
_PLUS = re.compile(r"\+(?![^{]*\})")
_CALL = re.compile(r"(?P<kind>[A-Za-z]\w*)\s*\((?P<numbers>[\d\s,]*)\)\Z")


def load_device(name_or_path: str) -> Device:
    """The device that a target names; see the module's docstring for the forms.

    Raises E0501 for an unknown name, E0502 for a file that is not there or not TOML, E0503 for a field that is not right (with
    its line), E0504 for an impossible graph, E0505 for parameters that cannot be read, E0506 for a bad file beside the TOML,
    E0515 for a pair that is not one device of reals and one of spins.
    """
    both = _PLUS.split(name_or_path)
    if len(both) > 1 and not os.path.exists(name_or_path):
        return _pair([load_device(one) for one in both])
    match = _TARGET.match(name_or_path)
    if match is None:
        fail("E0505", f"cannot read the target `{name_or_path}`", help="write name{field=value field=value}")
    base, changes = match["base"], match["changes"]
    call = _CALL.match(base)
    table, file, folder = _lattice(call, changes or "") if call else _find(base)
    if changes is not None:
        _change(table, changes)
        table["name"] = name_or_path.strip()
    return _device(table, file, folder)


def _pair(devices: list[Device]) -> Device:
    """The device of the real variables, the one of the spins its partner; E0515 for anything but one of each."""
    reals = [d for d in devices if d.family is not Family.PBIT]
    spins = [d for d in devices if d.family is Family.PBIT]
    if len(reals) != 1 or len(spins) != 1:
        names = ", ".join(f"`{d.name}` ({d.family})" for d in devices)
        fail(
            "E0515",
            f"a pair is one device of real cells and one of p-bits, not {names}",
            help="such as `resistive-64+ideal-spin`; `spucc targets` lists the devices",
        )
    return replace(reals[0], partner=spins[0])


def list_devices() -> list[tuple[str, str]]:
    """(name, one-line description) of every built-in and installed device, in the order of their names."""
    return [
        (name, str(tomllib.loads(read()).get("description", ""))) for name, read in sorted(_shelf().items())
    ]


def parametrised_targets() -> list[tuple[str, str]]:
    """(form, what it is) of every lattice that `load_device` makes from numbers."""
    forms = [
        (f"{kind}({','.join(numbers)})", _sentence(KINDS[kind].__doc__)) for kind, numbers in _NUMBERS.items()
    ]
    return forms + [
        (f"{name}(rows,cols)", f"offset lattice with the rules {rules}")
        for name, rules in OFFSET_RULES.items()
    ]


def device_schema() -> dict[str, Any]:
    """The JSON Schema of a device file, as published in `targets/devices/schema.json`."""
    schema = msgspec.json.schema(DeviceSpec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "spucc device", **schema}


def check_device(table: Mapping[str, Any], text: str = "", file: str = "") -> DeviceSpec:
    """A device file's content, checked field by field. Raises E0503 with the line in `text` of everything that is wrong."""
    try:
        spec = msgspec.convert(table, DeviceSpec)
    except msgspec.ValidationError as error:
        raise SpuccError(_field_error(str(error), table, text, file)) from None
    found = [
        Diagnostic("E0503", title, _line_span(path, text, file), help=way)
        for path, title, way in _faults(spec, table)
    ]
    if found:
        raise SpuccError(found)
    return spec


# --- where files are ------------------------------------------------------------------------------------------------------


@cache
def _shelf() -> dict[str, Any]:
    """A function that reads the text of each device that goes by name. Built-in names cannot be taken by others."""
    shelf: dict[str, Any] = {}
    for entry in metadata.entry_points(group="spucc.devices"):
        # An entry point names a package that holds *.toml files; nothing of it is called.
        package = entry.value.partition(":")[0]
        try:
            items = list(resources.files(package).iterdir())
        except Exception as error:
            owner = entry.dist.name if entry.dist else package
            fail(
                "E0623",
                f"the device files of the installed package `{owner}` cannot be found: {type(error).__name__}: {error}",
                help=f"mend or remove `{owner}`; its entry point names the package {package}",
            )
        for item in items:
            if item.name.endswith(".toml"):
                shelf[item.name.removesuffix(".toml")] = partial(item.read_text, encoding="utf-8")
    for item in resources.files("spucc.targets.devices").iterdir():
        if item.name.endswith(".toml"):
            shelf[item.name.removesuffix(".toml")] = partial(item.read_text, encoding="utf-8")
    return shelf


def _find(name: str) -> tuple[dict[str, Any], tuple[str, str], Path | None]:
    """The table of a named device or of a file, its (file, text), and the folder of a user's file."""
    shelf = _shelf()
    if name in shelf:
        text = shelf[name]()
        return _parse(text, f"{name}.toml"), (f"{name}.toml", text), None
    path = Path(name)
    if name.endswith(".toml") or "/" in name or "\\" in name:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            near = (
                did_you_mean(path.name, [p.name for p in path.parent.glob("*.toml")])
                if path.parent.is_dir()
                else ""
            )
            fail(
                "E0502",
                f"cannot read the device file `{name}`: {reason}",
                help=near or "`spucc targets` lists the built-in ones",
            )
        return _parse(text, name), (name, text), path.parent
    known = [*shelf, *_NUMBERS, *OFFSET_RULES]
    near = did_you_mean(name, known)
    if name in _NUMBERS or name in OFFSET_RULES:
        numbers = _NUMBERS.get(name, ("rows", "cols"))
        near = f"give its size: `{name}({','.join('4' for _ in numbers)})` ({', '.join(numbers)})"
    hint = "`spucc targets` lists the devices; a device file is given by its path"
    fail("E0501", f"there is no target `{name}`", help=f"{near} {hint}".strip() if near else hint)


def _parse(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(place[1]), int(place[2])) if place else (text.count("\n") + 1, 1)
        said = str(error).partition(" (at ")[0]
        span = Span(file, line, column, line, column + 1)
        fail(
            "E0502", f"the device file is not TOML: {said}", span, help="see https://toml.io for the notation"
        )


# --- lattices by parameters -----------------------------------------------------------------------------------------------


def _lattice(call: re.Match[str], changes: str) -> tuple[dict[str, Any], tuple[str, str], None]:
    """A lattice's table: the figures of its family's base device with another topology."""
    kind, numbers = call["kind"].lower(), [int(n) for n in re.findall(r"\d+", call["numbers"])]
    fields = _NUMBERS.get(kind, ("rows", "cols") if kind in OFFSET_RULES else None)
    if fields is None:
        near = (
            did_you_mean(kind, [*_NUMBERS, *OFFSET_RULES])
            or f"lattices are {', '.join([*_NUMBERS, *OFFSET_RULES])}"
        )
        fail("E0501", f"there is no lattice `{kind}`", help=near)
    least = len(fields) - ("shore" in fields)
    if not least <= len(numbers) <= len(fields):
        fail(
            "E0505",
            f"`{kind}` takes {', '.join(fields)}; {len(numbers)} numbers were given",
            help=f"write {kind}({','.join(['4'] * least)})",
        )
    family = Family.PBIT if kind in OFFSET_RULES or kind == "offset" else Family.CAPACITIVE
    for key, value in _settings(changes):
        if key == "family":
            family = _as_family(value)
    base = _BASE.get(family, "")
    table, file, _ = _find(base) if base in _shelf() else ({}, (call[0], ""), None)
    topology: dict[str, Any] = {
        "kind": "offset" if kind in OFFSET_RULES else kind,
        **dict(zip(fields, numbers)),
    }
    if kind in OFFSET_RULES:
        topology["rules"] = [list(rule) for rule in OFFSET_RULES[kind]]
        table["provenance"] = {**table.get("provenance", {}), "topology": OFFSET_SOURCES[kind]}
    table |= {"name": call[0], "family": str(family), "topology": topology, "dead": {}, "faults": {}}
    table["description"] = (
        f"{call[0]}, with the figures of {base}" if base in _shelf() else f"{call[0]}, without limits"
    )
    return table, file, None


def _as_family(text: str) -> Family:
    try:
        return Family(text)
    except ValueError:
        fail(
            "E0505",
            f"there is no family `{text}`",
            help=did_you_mean(text, list(Family)) or f"families: {', '.join(Family)}",
        )


def _settings(changes: str) -> Iterator[tuple[str, str]]:
    for item in _SETTING.findall(changes):
        key, equals, value = item.partition("=")
        if not equals or not key or not value:
            fail(
                "E0505",
                f"cannot read `{item}` in the target's braces",
                help="write field=value, separated by spaces",
            )
        yield key, value


def _change(table: dict[str, Any], changes: str) -> None:
    """Write the changes of a target's braces into the file's table."""
    for key, raw in _settings(changes):
        value: Any = raw
        if key == "rules" or key == "topology.rules":
            try:
                value = [[int(n) for n in rule.split(":")] for rule in raw.split("+")]
            except ValueError:
                fail("E0505", f"cannot read the rules `{raw}`", help="write rules=0:1+4:1")
        else:
            try:
                value = tomllib.loads(f"v={raw}")["v"]
            except tomllib.TOMLDecodeError:
                value = raw
        # Levels would hide the bits that the user asks for.
        own = ("bias" if "bias" in table else "coupling") if table.get("family") == "pbit" else "ground"
        paths = {"bits": [f"{own}.bits", "coupling.bits"], "rules": ["topology.rules"]}.get(key, [key])
        for path in paths:
            *sections, last = path.split(".")
            at = table
            for section in sections:
                at = at.setdefault(section, {})
                if not isinstance(at, dict):
                    fail(
                        "E0505",
                        f"`{key}` is no field of a device",
                        help=f"`{section}` has no fields of its own",
                    )
            at[last] = value
            if last == "bits":
                at.pop("levels", None)


# --- checks ---------------------------------------------------------------------------------------------------------------


def _device(table: dict[str, Any], file: tuple[str, str], folder: Path | None) -> Device:
    spec = check_device(table, file[1], file[0])
    try:
        topology = build(spec.topology, folder)
        device = Device(spec, topology)
        if spec.calibration is not None:
            device = calibrated(device, beside(folder, spec.calibration, "calibration"))
        _check_parts(device.spec, topology)
    except SpuccError as error:
        span = _line_span("topology", file[1], file[0])
        raise SpuccError([d if d.span else replace(d, span=span) for d in error.diagnostics]) from None
    return device


def _check_parts(spec: DeviceSpec, topology: Topology) -> None:
    """Raises E0504 for parts that are named as dead or faulty and are not on the device."""
    dead, faults = spec.dead, spec.faults
    named: list[tuple[str, str, Sequence[int], Sequence[tuple[int, int]]]] = [
        ("dead", "dead", dead.cells, dead.couplers),
        ("faults", "dead", faults.dead_cells, faults.dead_couplers),
        (
            "faults",
            "stuck",
            [c for c, _ in faults.stuck_cells],
            [(i, j) for i, j, _ in faults.stuck_couplers],
        ),
    ]
    n = topology.nodes
    for section, kind, cells, couplers in named:
        if n is None:
            if cells or couplers:
                fail(
                    "E0504",
                    f"a device without a fixed number of cells cannot have {kind} ones",
                    help=f"remove [{section}]",
                )
            continue
        for cell in cells:
            if not 0 <= cell < n:
                fail("E0504", f"{kind} cell {cell} is not on the device", help=f"its cells are 0 … {n - 1}")
        if not couplers:
            continue
        check_pairs(couplers, f"{kind} coupler")
        pairs = np.asarray(couplers, dtype=np.int64)
        key = topology.edges[:, 0] * n + topology.edges[:, 1]
        missing = ~np.isin(pairs.min(axis=1) * n + pairs.max(axis=1), key)
        if missing.any():
            i, j = pairs[missing][0]
            fail(
                "E0504",
                f"{kind} coupler ({i}, {j}) is not on the device",
                help=f"each entry names a pair of coupled cells{', then the code' if kind == 'stuck' else ''}",
            )


def calibrated(device: Device, path: Path) -> Device:
    """The device with what was measured of it: tables of `Calibration` in an `.npz` or `.json`, each of its proper shape, and
    `dead_cells` [k] and `dead_couplers` [k, 2]. Raises E0506 for a file that cannot be used."""
    spec, topology = device.spec, device.topology
    cells, couplers = topology.nodes or 0, topology.edges.shape[0]
    shapes: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("resistance", "inductance", "series_resistance", "stray_ground"), (cells,)),
        "stray_coupling": (couplers,),
        "ground_levels": (cells, spec.ground.codes),
        "coupling_levels": (couplers, spec.coupling.codes),
    }
    tables = read_arrays(path)
    for name, values in tables.items():
        dead = name in ("dead_cells", "dead_couplers")
        if name not in shapes and not dead:
            near = did_you_mean(name, shapes) or f"it may hold {', '.join(shapes)}, dead_cells, dead_couplers"
            fail("E0506", f"`{path.name}` holds an unknown table `{name}`", help=near)
        wanted = (len(values), 2)[: 1 + (name == "dead_couplers")] if dead else shapes[name]
        if values.shape != wanted and not (dead and values.size == 0):
            fail(
                "E0506",
                f"`{name}` in `{path.name}` has the shape {values.shape}",
                help=f"it has to be {wanted}",
            )
        real = np.issubdtype(values.dtype, np.integer if dead and values.size else np.number)
        positive = name in ("resistance", "inductance")
        fine = real and values.dtype.kind != "c" and bool((np.isfinite(values) & (values >= 0)).all())
        if not fine or (positive and not values.all()):
            sign = "numbers of cells" if dead else "finite and > 0" if positive else "finite and ≥ 0"
            fail(
                "E0506",
                f"`{name}` in `{path.name}` holds values that are not {sign}",
                help="measure them again",
            )
    gone = [np.asarray(tables.pop(name, ()), dtype=np.int64) for name in ("dead_cells", "dead_couplers")]
    measured = Calibration(**{name: frozen(values) for name, values in tables.items()})
    found = replace(device, calibration=measured)
    if not any(g.size for g in gone):
        return found
    found = found.without(
        cells=gone[0].tolist(), couplers=[(int(i), int(j)) for i, j in gone[1].reshape(-1, 2)]
    )
    _check_parts(found.spec, topology)
    return found


_SI = "no part has such a value; figures are in SI units"


def _plausible(value: float) -> bool:
    """Whether arithmetic with a figure of a part keeps clear of overflow: 0, or of a size that some quantity might have."""
    return value == 0 or 1e-60 < abs(value) < 1e60


def _faults(spec: DeviceSpec, table: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(field, what is wrong, the way out) of everything that the types alone do not say."""
    for name in ("ground", "coupling", "bias", "quartic"):
        bank = getattr(spec, name)
        if bank is not None:
            yield from _bank_faults(name, bank)
            for end in ("min", "max"):
                value = getattr(bank, end)
                if np.isfinite(value) and not _plausible(value):
                    yield f"{name}.{end}", f"{name}.{end} is {value:g}", _SI
    for section in ("circuit", "strays", "noise", "timing", "energy"):
        for field, value in msgspec.structs.asdict(getattr(spec, section)).items():
            if isinstance(value, float) and not np.isfinite(value):
                yield f"{section}.{field}", f"{section}.{field} is {value:g}", "give a finite value"
            elif section in ("circuit", "strays") and not _plausible(value):
                yield f"{section}.{field}", f"{section}.{field} is {value:g}", _SI
    if not np.isfinite(spec.adc.noise):
        yield "adc.noise", f"adc.noise is {spec.adc.noise:g}", "give a finite value"
    if spec.circuit.theta_min > spec.circuit.theta_max:
        yield "circuit.theta_min", "theta_min is above theta_max", "swap them"
    if spec.noise.hold not in ("held", "linear"):
        yield "noise.hold", f"noise.hold is `{spec.noise.hold}`", "it is `held` or `linear`"
    if spec.family.springs and spec.ground.signed:
        yield "ground.signed", "a ground capacitor cannot be negative", "remove `signed` from [ground]"
    if spec.family is Family.INDUCTIVE:
        yield from _coil_faults(spec)
    stuck = [("cells", spec.ground, code) for *_, code in spec.faults.stuck_cells]
    stuck += [("couplers", spec.coupling, code) for *_, code in spec.faults.stuck_couplers]
    for parts, bank, code in stuck:
        if why := _no_code(bank, code):
            yield (
                f"faults.stuck_{parts}",
                f"{parts} are stuck at {code:g}, {why}",
                "give a code that the bank has",
            )
    if spec.adc.bits is not None and not 1 <= spec.adc.bits <= 64:
        yield "adc.bits", f"an ADC of {spec.adc.bits} bits", "it takes 1 to 64"
    known = set(_paths(msgspec.to_builtins(spec)))
    for path in spec.provenance:
        if path not in known:
            near = did_you_mean(path, known) or "name the field by its dotted path: `circuit.resistance`"
            yield "provenance", f"provenance of `{path}`, which is no field of the file", near


def _coil_faults(spec: DeviceSpec) -> Iterator[tuple[str, str, str]]:
    """Of coils: no codes may ask for |M| > k √(L_p L_q), and means are not made by sources."""
    own, mutual, limit = spec.ground, spec.coupling, spec.circuit.coil_coupling
    if own.signed:
        yield "ground.signed", "the inductance of a coil cannot be negative", "remove `signed` from [ground]"
    least = (own.min if own.levels is None else min(own.levels, default=0.0)) + spec.strays.ground
    most = (mutual.max if mutual.levels is None else max(mutual.levels, default=0.0)) + spec.strays.coupling
    room = limit * least - spec.strays.coupling
    if not most <= limit * least:
        yield (
            "coupling.max",
            f"a mutual inductance of up to {most:g} H is more than coils of {least:g} H and a coupling of {limit:g} have",
            f"give a `max` of at most {max(room, 0.0):g} H, coils that begin higher, or a larger circuit.coil_coupling",
        )
    if spec.bias is not None:
        yield (
            "bias",
            "sources in series with coils set their mean currents whatever the couplers do",
            "remove [bias]: means are added at the read-out",
        )


def _no_code(bank: Bank, code: float) -> str:
    """Why a bank cannot stand at a code (a continuous one: at a value); empty where it can."""
    if not np.isfinite(code):
        return "which is no number"
    if code < 0 and not bank.signed:
        return "but the bank is not signed"
    good = bank.continuous or (code == int(code) and abs(code) < bank.codes)
    return "" if good else f"but the codes go to {bank.codes - 1}"


def _paths(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        yield prefix + key
        if isinstance(value, Mapping) and key != "provenance":
            yield from _paths(value, f"{prefix}{key}.")


def _bank_faults(name: str, bank: Bank) -> Iterator[tuple[str, str, str]]:
    if not np.isfinite(bank.tolerance):
        yield (
            f"{name}.tolerance",
            f"{name}.tolerance is {bank.tolerance:g}",
            "give a finite value, such as 0.01",
        )
    if bank.bits is not None and bank.levels is not None:
        yield f"{name}.levels", f"[{name}] has both bits and levels", "give one of them"
    if bank.levels is not None:
        steps = np.diff(bank.levels)
        if len(bank.levels) < 1 or not np.isfinite(bank.levels).all() or (steps <= 0).any():
            yield (
                f"{name}.levels",
                f"the levels of [{name}] do not increase",
                "list one or more finite values, least first",
            )
        elif bank.levels[0] < 0:
            yield (
                f"{name}.levels",
                f"[{name}] has a level below 0",
                "levels are magnitudes; `signed = true` adds the signs",
            )
        return
    if bank.min < 0 or not np.isfinite(bank.min):
        yield (
            f"{name}.min",
            f"[{name}] begins at {bank.min:g}",
            "a range holds magnitudes; `signed = true` adds the signs",
        )
    if not bank.max > bank.min:
        yield (
            f"{name}.max",
            f"[{name}] ends at {bank.max:g}, not above its begin {bank.min:g}",
            "give max > min",
        )
    if bank.bits is not None and not np.isfinite(bank.max):
        yield f"{name}.max", f"[{name}] has {bank.bits} bits but no largest value", "give `max`"


def _field_error(message: str, table: Mapping[str, Any], text: str, file: str) -> Diagnostic:
    """msgspec's complaint in words, at the line of the field."""
    said, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(.+?)`", said)
    missing = re.search(r"missing required field `(.+?)`", said)
    if unknown:
        full = f"{path}.{unknown[1]}".lstrip(".")
        known = [p.rpartition(".")[2] for p in _fields_at(path)]
        near = did_you_mean(unknown[1], known) or f"its fields are {', '.join(known)}"
        return Diagnostic(
            "E0503", f"`{full}` is no field of a device", _line_span(full, text, file), help=near
        )
    if missing:
        full = f"{path}.{missing[1]}".lstrip(".")
        section = f"in [{path}]" if path else "at the top of the file"
        return Diagnostic(
            "E0503", f"the device has no `{full}`", _line_span(path, text, file), help=f"add it {section}"
        )
    help_text = ""
    if path == "family":
        help_text = did_you_mean(str(table.get("family")), list(Family)) or f"families: {', '.join(Family)}"
    title = f"`{path or 'the file'}`: {said[0].lower() + said[1:]}"
    return Diagnostic(
        "E0503", title, _line_span(path, text, file), help=help_text or "see targets/devices/schema.json"
    )


def _fields_at(path: str) -> list[str]:
    """The fields that a section of a device file may have."""
    kind: Any = DeviceSpec
    for name in filter(None, path.split(".")):
        hints = {f.name: f.type for f in msgspec.structs.fields(kind)}
        hint = hints.get(name)
        options = [hint, *getattr(hint, "__args__", ())]
        kind = next((o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), None)
        if kind is None:
            return []
    return [f.name for f in msgspec.structs.fields(kind)]


_HEADER = re.compile(r"\s*\[\[?\s*([\w.\"' -]+?)\s*\]\]?\s*(?:#.*)?\Z")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


def _line_span(path: str, text: str, file: str) -> Span | None:
    """Where a field stands in the TOML: its own line, else that of the nearest section around it."""
    wanted = re.sub(r"\[\d*\.*\]", "", path)
    best: tuple[int, int, int, int] | None = None  # depth of the match, line, columns
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            section = full = re.sub(r"[\"' ]", "", header[1])
            begin, end = header.span(1)
        elif key:
            full = f"{section}.{key[1]}".replace('"', "").replace("'", "").lstrip(".")
            begin, end = key.span(1)
        else:
            continue
        if wanted == full or wanted.startswith(full + "."):
            depth = full.count(".") + 1
            if best is None or depth > best[0]:
                best = (depth, number, begin + 1, end + 1)
    if best is None:
        return Span(file, 1, 1, 1, 2) if text else None
    return Span(file, best[1], best[2], best[1], best[3])


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).partition(". ")[0].rstrip(".")
