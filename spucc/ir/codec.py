"""From a frozen dataclass to its block of text and back: one schema an item, both directions from it.

A `Record` lists the items of a class in the order of the text; each item knows which fields it carries, how they are
written and how they are read. Nothing here knows what a stage is: `spucc.ir.schema` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from spucc.diagnostics import Diagnostic, SpuccError, did_you_mean
from spucc.ir.text import Reader, Writer, aligned, tokens

T = TypeVar("T")
Check = Callable[[Any, Reader], Iterator[str]]


class Codec(Protocol):
    """What stands at a key."""

    def write(self, out: Writer, key: str, value: Any) -> None: ...

    def read(self, src: Reader, key: str) -> Any: ...


class Item(Protocol):
    """A part of a record that carries some of its fields."""

    @property
    def carries(self) -> tuple[str, ...]: ...

    def write_to(self, out: Writer, owner: Any) -> None: ...

    def read_into(self, src: Reader, got: dict[str, Any]) -> None: ...


_REQUIRED = object()


@dataclass(frozen=True)
class Field:
    """One field at one key. A value that equals `default` is left out."""

    name: str
    codec: Codec
    default: Any = _REQUIRED
    key: str = ""
    absent: Callable[[Any], bool] | None = None
    """Whether a value is as good as the default (for values that `==` does not compare)."""
    remark: Callable[[Writer, Any], str] | None = None
    """What the comment at the end of the line says."""

    @property
    def carries(self) -> tuple[str, ...]:
        return (self.name,)

    def write_to(self, out: Writer, owner: Any) -> None:
        value = getattr(owner, self.name)
        if self.default is not _REQUIRED:
            gone = self.absent(value) if self.absent else value is self.default or _equal(value, self.default)
            if gone:
                return
        self.codec.write(out, self.key or self.name, value)
        if self.remark and (text := self.remark(out, value)):
            out.lines[-1] += f"   # {text}"

    def read_into(self, src: Reader, got: dict[str, Any]) -> None:
        key = self.key or self.name
        if self.default is not _REQUIRED and src.key() != key:
            got[self.name] = self.default
        else:
            got[self.name] = self.codec.read(src, key)


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and isinstance(a, str | int | bool | tuple) and a == b


@dataclass(frozen=True)
class Many:
    """A tuple: its elements one after the other at the same key."""

    name: str
    codec: Codec
    key: str

    @property
    def carries(self) -> tuple[str, ...]:
        return (self.name,)

    def write_to(self, out: Writer, owner: Any) -> None:
        for k, value in enumerate(getattr(owner, self.name)):
            out.number = k
            self.codec.write(out, self.key, value)
        out.number = None

    def read_into(self, src: Reader, got: dict[str, Any]) -> None:
        values = []
        while src.key() == self.key:
            values.append(self.codec.read(src, self.key))
        got[self.name] = tuple(values)


@dataclass(frozen=True)
class Turn:
    """No field: from here on, numbers refer to something else, which the writer's comments have to know."""

    enter: Callable[[Writer, Any], None]
    carries: tuple[str, ...] = ()

    def write_to(self, out: Writer, owner: Any) -> None:
        self.enter(out, owner)

    def read_into(self, src: Reader, got: dict[str, Any]) -> None:
        """Nothing stands in the text."""


@dataclass(frozen=True)
class Record(Generic[T]):
    """A block `key … {` with the items of `cls`. `check` yields what is wrong with a value that was read (E0614); `scope`
    tells the writer whose names the numbers inside refer to."""

    cls: Callable[..., T]
    items: tuple[Item, ...]
    check: Check | None = None
    scope: Callable[[Writer, Any], None] | None = None
    comment: Callable[[Writer, Any], Sequence[str]] | None = None

    def write(self, out: Writer, key: str, value: T, tag: str = "") -> None:
        with out.block(f"{key} {tag}".rstrip(), key):
            if self.scope:
                self.scope(out, value)
            for text in self.comment(out, value) if self.comment else ():
                out.line(f"# {text}")
            for item in self.items:
                item.write_to(out, value)

    def read(self, src: Reader, key: str) -> T:
        if src.open(key):
            src.fault("E0609", f"nothing belongs between `{key}` and the brace")
        return self.inside(src)

    def inside(self, src: Reader) -> T:
        """The record from the first line after its opening."""
        opened = src.span()
        got: dict[str, Any] = {}
        for item in self.items:
            item.read_into(src, got)
        if src.peek() != "}":
            self._stray(src)
        value = self.cls(**got)
        if self.check:
            where = (f"in {src.where}",)
            wrong = [Diagnostic("E0614", text, opened, notes=where) for text in self.check(value, src)]
            if wrong:
                raise SpuccError(wrong)
        src.close()
        return value

    def _stray(self, src: Reader) -> None:
        found = src.key()
        if found:
            known = [name for item in self.items for name in item.carries]
            near = did_you_mean(found, known) or "docs/ir.md gives the entries of each block and their order"
            src.fault("E0610", f"`{found[:40]}` does not belong in `{src.where}` at this place", help=near)


@dataclass(frozen=True)
class OneOf:
    """A block whose tag says which record it is: `value placed {`."""

    by_tag: dict[str, Record[Any]]

    def write(self, out: Writer, key: str, value: Any) -> None:
        tag, record = next((t, r) for t, r in self.by_tag.items() if isinstance(value, r.cls))  # type: ignore[arg-type]
        record.write(out, key, value, tag)

    def read(self, src: Reader, key: str) -> Any:
        src.expect(key)
        words = src.peek().rstrip("{").split()[1:]
        if len(words) != 1 or words[0] not in self.by_tag:
            src.fault(
                "E0618", f"cannot read which kind of `{key}` this is", help=f"one of {', '.join(self.by_tag)}"
            )
        src.open(key)
        return self.by_tag[words[0]].inside(src)


@dataclass(frozen=True)
class Shared:
    """A value that is often the same as an earlier one: then it is one line, `model = source`, or, where only a part is
    gone, `target = model without queries`."""

    codec: Codec
    same: Callable[[Any, Any], bool]
    part: str
    """The field, a tuple, that may be gone."""

    def write(self, out: Writer, key: str, value: Any) -> None:
        how = self._borrowed(out, value)
        if how is None:
            self.codec.write(out, key, value)
        else:
            out.line(f"{key} = {how}")
        out.shared = [(n, v) for n, v in out.shared if n != key] + [(key, value)]

    def _borrowed(self, out: Writer, value: Any) -> str | None:
        for name, earlier in reversed(out.shared):
            if value is earlier or self.same(value, earlier):
                return str(name)
            if not getattr(value, self.part) and self.same(value, replace(earlier, **{self.part: ()})):
                return f"{name} without {self.part}"
        return None

    def read(self, src: Reader, key: str) -> Any:
        src.expect(key)
        if src.peek().endswith("{"):
            value = self.codec.read(src, key)
        else:
            name, *rest = src.entry(key).split() or [""]
            if name not in src.shared or rest not in ([], ["without", self.part]):
                src.fault(
                    "E0618", f"`{key}` cannot be the same as `{name[:40]}`", help="name an earlier block"
                )
            value = replace(src.shared[name], **{self.part: ()}) if rest else src.shared[name]
        src.shared[key] = value
        return value


@dataclass(frozen=True)
class Rows:
    """A tuple of small records as a table of words: one column a field, text to the left."""

    cls: Callable[..., Any]
    columns: tuple[tuple[str, Any], ...]
    """Field and `Atom`."""
    left: tuple[str, ...] = ()

    def write(self, out: Writer, key: str, value: Sequence[Any]) -> None:
        with out.block(key, key):
            rows = [[name for name, _ in self.columns]]
            rows += [[atom.format(getattr(v, name)) for name, atom in self.columns] for v in value]
            for line in aligned(rows, lambda k: self.columns[k][0] in self.left):
                out.line(line)

    def read(self, src: Reader, key: str) -> tuple[Any, ...]:
        if src.open(key):
            src.fault("E0609", f"nothing belongs between `{key}` and the brace")
        header = [name for name, _ in self.columns]
        if src.peek().split() != header:
            src.fault("E0610", f"the columns of `{key}` are not these", help=f"they are {' '.join(header)}")
        src.take()
        values = []
        while (line := src.peek()) and line != "}":
            words = tokens(line)
            if len(words) != len(header):
                src.fault("E0609", f"this row has {len(words)} words, but there are {len(header)} columns")
            given = {name: atom.of(src, name, word) for (name, atom), word in zip(self.columns, words)}
            src.take()
            values.append(self.cls(**given))
        src.close()
        return tuple(values)
