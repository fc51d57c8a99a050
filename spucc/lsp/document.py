"""One open program: its text, what every name in it refers to, and, once it has been run, types, shapes and errors.

Places count from 1, columns in characters, as spans do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spucc.diagnostics import Diagnostic, Span, SpuccError
from spucc.grammar import tree
from spucc.grammar.builder import TYPES
from spucc.grammar.context import BUILTIN_CONSTANTS, Context, Declared
from spucc.grammar.distributions import DISTRIBUTIONS
from spucc.grammar.format import format_text
from spucc.grammar.functions import BUILTINS, load_all
from spucc.grammar.kernels import NAMES as KERNELS
from spucc.grammar.parser import parse
from spucc.grammar.queries import _PARAMS as QUERIES
from spucc.grammar.scanner import KEYWORDS
from spucc.grammar.source import normalised
from spucc.grammar.values import Random
from spucc.lsp.names import Names, Symbol, covers, resolve
from spucc.lsp.needed import Needs
from spucc.lsp.summary import energy_at

STATEMENTS = "data let var param fn energy observe temperature for if train import query".split()


@dataclass(frozen=True, slots=True)
class Setting:
    """Where an open program stands and what data it gets."""

    name: str
    folder: Path | None = None
    files: tuple[Path, ...] = ()
    allow_paths: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A program whose statements have been run: the context that they left and, by place, what they declared."""

    ctx: Context
    declared: dict[tuple[str, int, int], Declared]


def diagnosed(model: Model) -> tuple[Diagnostic, ...]:
    """All that is wrong with a program, as `spucc check` would say."""
    from spucc.grammar.compose import energy_of
    from spucc.grammar.model import calm

    ctx = model.ctx
    found = list(ctx.diagnostics)
    if not any(d.is_error for d in found) and (ctx.variables or ctx.queries):
        with calm():
            try:
                found += energy_of(ctx)[1]
            except SpuccError as error:
                found += error.diagnostics
    return tuple({(d.code, d.title, d.span): d for d in found}.values())


class Document:
    """A version of an open program. Cheap to make: what is asked for is found when it is asked for.

    `model` is all of it, run; `needed_by` runs what one statement needs, which is mostly little.
    """

    def __init__(self, text: str, setting: Setting) -> None:
        self.text = normalised(text)
        self.setting = setting
        self._running: list[Context] = []

    @cached_property
    def model(self) -> Model:
        """All statements run; what is wrong is in the context. Only one thread may ask for it first."""
        program, faults = self.parsed
        model = self._run(program)
        model.ctx.diagnostics += faults
        return model

    def needed_by(self, root: int) -> Model:
        """The top-level statement number `root` run, with what it reads. Types, shapes and energies are those of the whole."""
        return self._run(self.needs.of(root))

    def _run(self, program: tree.Program) -> Model:
        from spucc.grammar.model import run_program

        ctx = Context(self.setting.folder, self.setting.allow_paths, sources={self.setting.name: self.text})
        self._running.append(ctx)
        run_program(ctx, program, None, self.setting.files)
        return Model(ctx, {(d.span.file, d.span.line, d.span.column): d for d in ctx.declared})

    def abandon(self) -> None:
        """Let runs that are under way in other threads end at their next statement: nobody wants them any more."""
        for ctx in self._running:
            ctx.halted = True

    @cached_property
    def parsed(self) -> tuple[tree.Program, list[Diagnostic]]:
        return parse(self.text, self.setting.name)

    @property
    def program(self) -> tree.Program:
        return self.parsed[0]

    @cached_property
    def names(self) -> Names:
        return resolve(self.program, self.text)

    @cached_property
    def needs(self) -> Needs:
        return Needs(self.program, self.names)

    # --- what stands at a place ---

    def symbol(self, line: int, column: int) -> Symbol | None:
        return self.names.at(line, column)

    def statement(self, line: int, column: int) -> tree.Statement | None:
        """The innermost statement at a place."""
        found: tree.Statement | None = None
        body = self.program.statements
        while True:
            inner = next((s for s in body if covers(s.span, line, column)), None)
            if inner is None:
                return found
            found = inner
            match inner:
                case tree.For(body=body):
                    pass
                case tree.If(then=then, otherwise=otherwise):
                    body = (*then, *otherwise)
                case _:
                    return found

    def word(self, line: int, column: int) -> str:
        """The name at a place, or the empty string."""
        row = self.row(line)
        for match in re.finditer(r"[A-Za-z_]\w*", row):
            if match.start() < column <= match.end() + 1:
                return match[0]
        return ""

    def row(self, line: int) -> str:
        rows = self.text.split("\n")
        return rows[line - 1] if line <= len(rows) else ""

    # --- hover ---

    def hover(self, line: int, column: int, model: Model | None) -> str:
        """Markdown about the name and the statement at a place."""
        blocks = []
        symbol = self.symbol(line, column)
        word = self.word(line, column)
        if symbol is not None:
            blocks.append(self.about(symbol, model))
        elif word:
            blocks.append(self.imported(word, model) or about_builtin(word))
        statement = self.statement(line, column)
        if statement is not None and model is not None and not isinstance(statement, tree.For | tree.If):
            blocks.append(_code(energy_at(model.ctx, statement.span)))
        return "\n\n---\n\n".join(b for b in blocks if b)

    def about(self, symbol: Symbol, model: Model | None) -> str:
        """Kind, name, type with its shape, and for random variables the number of coordinates."""
        if symbol.kind == "fn":
            assert isinstance(symbol.node, tree.Function)
            return _code(f"fn {symbol.name}({', '.join(p.id for p in symbol.node.params)})")
        known = None
        if model is not None:
            known = model.declared.get((symbol.span.file, symbol.span.line, symbol.span.column))
        if known is not None and model is not None:
            return _known(known, model)
        return _code(f"{symbol.kind} {symbol.name}{_written_type(symbol.node)}")

    def imported(self, word: str, model: Model | None) -> str:
        found = self.elsewhere(word, model)
        return (
            "" if found is None or model is None else _known(found, model) + f"\n\nfrom `{found.span.file}`"
        )

    def elsewhere(self, word: str, model: Model | None) -> Declared | None:
        """What an imported file declares under a name."""
        if model is None:
            return None
        others = (d for d in model.ctx.declared if d.name == word and d.span.file != self.setting.name)
        return next(others, None)

    # --- definition, rename ---

    def definition(self, line: int, column: int, model: Model | None) -> Span | None:
        symbol = self.symbol(line, column)
        if symbol is not None:
            return symbol.span
        word = self.word(line, column)
        found = self.elsewhere(word, model)
        if found is not None:
            return found.span
        if model is not None and word in model.ctx.functions:
            return model.ctx.functions[word].name.span
        return None

    def rename(self, line: int, column: int, new: str) -> list[Span] | str:
        """The places to change, or why it cannot be done."""
        symbol = self.symbol(line, column)
        if symbol is None:
            return "only names that this file declares can be renamed"
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", new, re.ASCII) or new in KEYWORDS:
            return f"`{new}` cannot be a name"
        load_all()
        if symbol.kind == "fn" and new in BUILTINS:
            return f"`{new}` is a function of the language"
        alike = "fn" if symbol.kind == "fn" else "query" if symbol.kind == "query" else ""
        for other in self.names.symbols:
            same = (other.kind if other.kind in ("fn", "query") else "") == alike
            if other is not symbol and other.name == new and same and _meet(symbol, other):
                return f"`{new}` is declared already, in line {other.span.line}"
        if any(name.id == new for name in self.names.unknown):
            return f"`{new}` is used already, for something that this file does not declare"
        return sorted(symbol.places())

    # --- completion ---

    def completion(self, line: int, column: int, model: Model | None) -> list[tuple[str, str, str]]:
        """What may stand at a place: word, kind (keyword, variable, function, type), detail."""
        before = self.row(line)[: column - 1]
        head = re.sub(r"[A-Za-z_]\w*$", "", before)
        load_all()
        if "#" in head or head.count('"') % 2:
            return []
        if re.search(r"~\s*$", head):
            return [(n, "function", signature(n, d.params, d.required)) for n, d in DISTRIBUTIONS.items()]
        if re.search(r"^\s*query\s+\w+\s*=\s*$", head):
            return [(n, "function", signature(n, *p)) for n, p in QUERIES.items()]
        if re.search(r"^\s*(data|var|param)\s+\w+\s*:\s*$", head):
            chosen = ("real", "spin", "bit") if head.split()[0] == "var" else TYPES
            return [(n, "type", "") for n in chosen]
        found: dict[str, tuple[str, str, str]] = {}
        for s in self.names.symbols:
            if s.kind not in ("query", "fn") and s.visible(line, column):
                found[s.name] = (s.name, "variable", f"{s.kind}{_written_type(s.node)}")
            elif s.kind == "fn":
                found[s.name] = (s.name, "function", "fn")
        for d in model.ctx.declared if model is not None else ():
            if d.span.file != self.setting.name:
                found.setdefault(d.name, (d.name, "variable", f"{d.kind}: {d.type}"))
        if not head.strip() or re.search(r"[;{]\s*$", head):
            found |= {w: (w, "keyword", "") for w in STATEMENTS if w not in found}
            return list(found.values())
        for n, b in BUILTINS.items():
            found.setdefault(n, (n, "function", signature(n, b.params, b.required)))
        for n in BUILTIN_CONSTANTS:
            found.setdefault(n, (n, "variable", "constant"))
        found |= {w: (w, "keyword", "") for w in ("and", "or", "not", "if", "else", "in", "true", "false")}
        return list(found.values())

    def formatted(self) -> str | None:
        """The text in the standard form; None while it has syntax errors."""
        try:
            return format_text(self.text, self.setting.name)
        except SpuccError:
            return None


def signature(name: str, params: tuple[str, ...], required: int) -> str:
    """`name(a, b, c=…)`"""
    return f"{name}({', '.join(p if k < required or p.startswith('*') else p + '=…' for k, p in enumerate(params))})"


def about_builtin(word: str) -> str:
    """What a function, distribution or query of the language is."""
    load_all()
    if word in DISTRIBUTIONS:
        import spucc.grammar.covariances as covariances

        d = DISTRIBUTIONS[word]
        text = getattr(covariances, word, d.run).__doc__ or ""
        return _code("x ~ " + signature(word, d.params, d.required)) + f"\n\nenergy: {text.strip()}"
    blocks = []
    if word in BUILTINS:
        b = BUILTINS[word]
        blocks.append(_code(signature(word, b.params, b.required)) + f"\n\n{b.text.strip()}")
    if word in QUERIES:
        blocks.append(_code("query … = " + signature(word, *QUERIES[word])))
    if word in KERNELS and not blocks:
        blocks.append(_code(word))
    return "\n\n".join(blocks)


def _known(d: Declared, model: Model) -> str:
    text = f"{d.kind} {d.name}: {d.type}"
    info = next((v for v in model.ctx.variables if v.span == d.span), None)
    if info is not None:
        size = 1
        for n in info.shape:
            size *= n
        noun = "coordinate" if size == 1 else "coordinates"
        return _code(text) + f"\n\nrandom, {size:,} {noun}"
    if isinstance(d.value, Random) and d.kind == "let":
        return _code(text) + "\n\nan expression of random variables"
    return _code(text)


def _written_type(node: tree.Node) -> str:
    """The type as the declaration writes it, where it has one."""
    type_ = getattr(node, "type", None)
    if not isinstance(type_, tree.Type):
        return ""
    from spucc.grammar.format_expressions import type_ as document_of
    from spucc.grammar.layout import lay_out

    return ": " + lay_out(document_of(type_), 200)


def _meet(a: Symbol, b: Symbol) -> bool:
    """Whether the blocks of two names overlap, so that they could be taken for each other."""
    end_a, end_b = a.until or (1 << 60, 0), b.until or (1 << 60, 0)
    return (a.span.line, a.span.column) < end_b and (b.span.line, b.span.column) < end_a


def _code(text: str) -> str:
    return f"```spu\n{text}\n```" if text else ""
