"""The one way a program is written: `spucc fmt`.

Four spaces in blocks, at most one blank line between statements, lines of at most 100 columns as far as
brackets and operators allow, the fewest parentheses that keep the tree, numbers as written. Comments keep
their place, alone above a statement or behind it; one within brackets moves above the statement. Formatting
twice changes nothing, and the tree is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from spucc.diagnostics import Span
from spucc.grammar import tree
from spucc.grammar.format_expressions import SUM, expression, names, type_
from spucc.grammar.layout import INDENT, Break, Concat, Doc, Group, Nest, concat, lay_out
from spucc.grammar.parser import parse_or_raise

__all__ = ["WIDTH", "format_program", "format_text"]

WIDTH = 100

Comment = tuple[int, int, str, bool]


def format_text(text: str, file: str) -> str:
    """A program's text in the standard form; a `SpuccError` if it has syntax errors."""
    return format_program(parse_or_raise(text, file))


def format_program(program: tree.Program) -> str:
    """A program as text, with the comments that it carries."""
    return _Writer(program.comments).write(program)


class _Writer:
    def __init__(self, comments: Sequence[Comment]) -> None:
        self.comments = comments
        self.next = 0  # the first comment not yet written
        self.lines: list[str] = []
        self.source_line = (
            0  # where in the source the last thing written ended; 0 where no blank line may follow
        )

    def write(self, program: tree.Program) -> str:
        self.statements(program.statements, None, 0)
        self.comments_before(None, 0)
        return "".join(line + "\n" for line in self.lines)

    # --- comments and blank lines ---

    def emit(self, text: str, indent: int, begin: int, end: int) -> None:
        """Write what stood on some lines of the source, after a blank line if there was one."""
        if self.source_line and begin > self.source_line + 1:
            self.lines.append("")
        self.lines.append(" " * indent + text)
        self.source_line = end

    def comments_before(self, place: tuple[int, int] | None, indent: int) -> None:
        """Write the comments before a place, or all that are left, each on a line of its own."""
        while (comment := self.peek(place)) is not None:
            self.next += 1
            self.emit(comment[2], indent, comment[0], comment[0])

    def comments_within(self, begin: int, place: tuple[int, int], indent: int) -> None:
        """Move the comments within a statement that begins on some line above it."""
        while (comment := self.peek(place)) is not None:
            self.next += 1
            self.emit(comment[2], indent, begin, begin)

    def comment_behind(self, line: int, place: tuple[int, int] | None = None) -> None:
        """Write a comment on the line just written, if that is where it stood."""
        comment = self.peek(place)
        if comment is not None and comment[0] == line and not comment[3]:
            self.next += 1
            self.lines[-1] += "  " + comment[2]

    def peek(self, place: tuple[int, int] | None) -> Comment | None:
        """The next comment, if it stands before a place."""
        if self.next >= len(self.comments):
            return None
        comment = self.comments[self.next]
        return comment if place is None or comment[:2] < place else None

    # --- statements ---

    def statements(
        self, statements: Sequence[tree.Statement], end: tuple[int, int] | None, indent: int
    ) -> None:
        """Write statements in turn; each may have a comment behind it, before the next or the end."""
        ends = [*(_begin(statement.span) for statement in statements[1:]), end]
        for statement, limit in zip(statements, ends):
            self.comments_before(_begin(statement.span), indent)
            if isinstance(statement, tree.For | tree.If):
                self.compound(statement, indent)
            else:
                self.comments_within(statement.span.line, _end(statement.span), indent)
                text = lay_out(_simple(statement), WIDTH, indent)
                self.emit(text, indent, statement.span.line, statement.span.end_line)
            self.comment_behind(statement.span.end_line, limit)

    def compound(self, statement: tree.For | tree.If, indent: int) -> None:
        """A loop or a condition: on one line if it was written so and has one short statement in it."""
        span = statement.span
        single = self.single_line(statement)
        if single is not None and indent + len(single) <= WIDTH:
            self.emit(single, indent, span.line, span.end_line)
            return
        if isinstance(statement, tree.For):
            over = f"for {names(t.id for t in statement.targets)} in "
            self.header(
                concat(over, expression(statement.iterable)), span.line, statement.iterable.span, indent
            )
            self.body(statement.body, _end(span), indent)
            self.close("}", span.end_line, indent)
            return
        self.header(
            concat("if ", expression(statement.condition)), span.line, statement.condition.span, indent
        )
        self.branches(statement, indent)

    def branches(self, statement: tree.If, indent: int) -> None:
        """What follows the header of an `if`: its block, and each `else`."""
        while True:
            place = statement.else_span
            if not statement.otherwise:
                self.body(statement.then, _end(statement.span), indent)
                break
            self.body(statement.then, _begin(place) if place else (0, 0), indent)
            line = place.line if place else 0
            match statement.otherwise:
                case (tree.If() as chained,):
                    header = concat("} else if ", expression(chained.condition))
                    self.header(header, line, chained.condition.span, indent, blank=False)
                    statement = chained
                case otherwise:
                    self.close("} else {", line, indent)
                    self.comment_behind(line, _begin(otherwise[0].span))
                    self.source_line = 0
                    self.body(otherwise, _end(statement.span), indent)
                    break
        self.close("}", statement.span.end_line, indent)

    def header(self, doc: Doc, line: int, last: Span, indent: int, blank: bool = True) -> None:
        """The line that opens a block."""
        if blank:
            self.comments_within(line, _end(last), indent)
        else:
            self.source_line = 0
        self.emit(lay_out(concat(doc, " {"), WIDTH, indent), indent, line, last.end_line)
        self.comment_behind(last.end_line)
        self.source_line = 0

    def body(self, statements: Sequence[tree.Statement], end: tuple[int, int], indent: int) -> None:
        self.statements(statements, end, indent + INDENT)
        self.comments_before(end, indent + INDENT)

    def close(self, text: str, line: int, indent: int) -> None:
        self.lines.append(" " * indent + text)
        self.source_line = line

    def single_line(self, statement: tree.For | tree.If) -> str | None:
        """The statement on one line, if it stood on one and holds one simple statement."""
        span = statement.span
        if span.line != span.end_line:
            return None
        body = statement.body if isinstance(statement, tree.For) else statement.then
        if len(body) != 1 or isinstance(body[0], tree.For | tree.If):
            return None
        inner = lay_out(_simple(body[0]), 10**9)
        if isinstance(statement, tree.For):
            over = lay_out(expression(statement.iterable), 10**9)
            return f"for {names(t.id for t in statement.targets)} in {over} {{ {inner} }}"
        text = f"if {lay_out(expression(statement.condition), 10**9)} {{ {inner} }}"
        if not statement.otherwise:
            return text
        other = statement.otherwise
        if len(other) != 1 or isinstance(other[0], tree.For | tree.If):
            return None
        return f"{text} else {{ {lay_out(_simple(other[0]), 10**9)} }}"


def _simple(statement: tree.Statement) -> Doc:
    """A statement without blocks."""
    match statement:
        case tree.Data(name=name, type=kind, default=value):
            return _assigned(concat(f"data {name.id}: ", type_(kind)), value)
        case tree.Param(name=name, type=kind, value=value):
            return _assigned(concat(f"param {name.id}: ", type_(kind)), value)
        case tree.Let(name=name, value=value):
            return _assigned(f"let {name.id}", value)
        case tree.Var(name=name, type=kind, distribution=None):
            return concat(f"var {name.id}: ", type_(kind))
        case tree.Var(name=name, type=kind, distribution=tree.Call() as distribution):
            return concat(f"var {name.id}: ", type_(kind), " ~ ", expression(distribution))
        case tree.Function(name=name, params=params, body=body):
            return _assigned(f"fn {name.id}({', '.join(p.id for p in params)})", body)
        case tree.Tilde(left=left, distribution=distribution):
            return concat(expression(left, SUM), " ~ ", expression(distribution))
        case tree.EnergyTerm(value=value):
            return concat("energy ", expression(value))
        case tree.Observe(target=target, value=value):
            return _assigned(concat("observe ", expression(target, SUM)), value)
        case tree.Temperature(value=value):
            return concat("temperature ", expression(value))
        case tree.Import(path=path):
            return concat("import ", expression(path))
        case tree.Train(names=trained):
            parts: list[Doc] = [trained[0].id]
            for name in trained[1:]:
                parts += [",", Break(), name.id]
            return Group(concat("train ", Nest(Concat(tuple(parts)))))
        case tree.Query(name=name, call=call):
            return _assigned(f"query {name.id}", call)
        case _:
            raise TypeError(f"a statement with blocks is no line: {type(statement).__name__}")


def _assigned(left: Doc, value: tree.Expr | None) -> Doc:
    return left if value is None else concat(left, " = ", expression(value))


def _begin(span: Span) -> tuple[int, int]:
    return span.line, span.column


def _end(span: Span) -> tuple[int, int]:
    return span.end_line, span.end_column
