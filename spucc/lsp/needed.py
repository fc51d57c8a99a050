"""What of a program has to be run to know about one of its statements: that statement, and backwards what it reads.

A variable that is only read has a type without its law, so a long chain of laws need not be followed.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from spucc.diagnostics import Span
from spucc.grammar import tree
from spucc.lsp.names import Names, covers


class Needs:
    """Which top-level statements of a program read what which others declare."""

    def __init__(self, program: tree.Program, names: Names) -> None:
        self.program = program
        self.body = program.statements
        self._begins = [(s.span.line, s.span.column) for s in self.body]
        self._reads: list[list[tuple[Span, int]]] = [[] for _ in self.body]
        declared: dict[str, int] = {}
        for symbol in names.symbols:
            k = self._index(symbol.span)
            declared.setdefault(symbol.name, k)
            for use in symbol.uses:
                self._reads[self._index(use)].append((use, k))
        imports = [k for k, s in enumerate(self.body) if isinstance(s, tree.Import)]
        before = range(imports[-1] + 1 if imports else 0)
        declaring = (tree.Import, tree.Data, tree.Let, tree.Var, tree.Param, tree.Function)
        elsewhere = [k for k in before if isinstance(self.body[k], declaring)]
        for name in names.unknown:
            # What a function reads may be declared below it. Another file may declare any name, and read what stands before.
            found = [declared[name.id]] if name.id in declared else elsewhere
            self._reads[self._index(name.span)] += [(name.span, k) for k in found]

    def _index(self, span: Span) -> int:
        return bisect_right(self._begins, (span.line, span.column)) - 1

    def root(self, line: int, column: int) -> int | None:
        """The number of the top-level statement at a place."""
        k = bisect_right(self._begins, (line, column)) - 1
        return k if k >= 0 and covers(self.body[k].span, line, column) else None

    def of(self, root: int) -> tree.Program:
        """The program without all that a top-level statement does not need."""
        wanted = {root}
        stack = [root]
        while stack:
            k = stack.pop()
            law = None if k == root else _law(self.body[k])
            for use, declared in self._reads[k]:
                if declared not in wanted and not (law and covers(law.span, use.line, use.column)):
                    wanted.add(declared)
                    stack.append(declared)
        kept = [self.body[k] if k == root else _without_law(self.body[k]) for k in sorted(wanted)]
        return tree.Program(self.program.span, tuple(kept))


def _law(node: tree.Statement) -> tree.Call | None:
    return node.distribution if isinstance(node, tree.Var) else None


def _without_law(node: tree.Statement) -> tree.Statement:
    return msgspec.structs.replace(node, distribution=None) if _law(node) is not None else node
