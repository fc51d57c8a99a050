"""A device's specification in the language of device files, TOML, so that it reads like the file it came from."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from spucc.device import DeviceSpec
from spucc.ir.text import Reader, Writer

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def to_toml(spec: DeviceSpec) -> list[str]:
    """The lines of a specification; values that are the defaults of their fields are left out."""
    # Through the types once, so that an int in a float's place prints as what it will be read as.
    typed = msgspec.convert(msgspec.to_builtins(spec), DeviceSpec)
    return list(_section(_changed(typed), ""))


def _changed(struct: msgspec.Struct) -> dict[str, Any]:
    """Field → value where it is not the default, nested structs as such dictionaries."""
    found: dict[str, Any] = {}
    for f in msgspec.structs.fields(struct):
        value = getattr(struct, f.name)
        default = f.default_factory() if f.default_factory is not msgspec.NODEFAULT else f.default
        if value is not None and repr(value) != repr(default):  # −0.0 is not 0.0
            found[f.encode_name] = _changed(value) if isinstance(value, msgspec.Struct) else value
    return found


def _section(values: dict[str, Any], path: str) -> Iterator[str]:
    """Plain values first, then each table under its dotted name."""
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        if isinstance(value, dict):
            name = f"{path}.{_key(key)}" if path else _key(key)
            yield f"[{name}]"
            yield from _section(value, name)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML's basic strings are JSON's but for U+007F, which must be escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


@dataclass(frozen=True)
class SpecText:
    """The block `spec { | … }`."""

    def write(self, out: Writer, key: str, value: DeviceSpec) -> None:
        with out.block(key, key):
            for line in to_toml(value):
                out.line(f"| {line}")

    def read(self, src: Reader, key: str) -> DeviceSpec:
        opened = src.here()
        src.open(key)
        lines = src.literal()
        try:
            values = tomllib.loads("\n".join([*lines, ""]))
            spec = msgspec.convert(values, DeviceSpec)
            "".join(to_toml(spec)).encode()
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            src.goto(opened, 0)
            reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
            src.fault(
                "E0615",
                f"the device's specification cannot be read: {reason}",
                help="it is a device file in TOML",
            )
        src.close()
        return spec
