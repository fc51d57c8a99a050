"""Walking the syntax tree without recursion, so that no tree is too deep for it."""

from __future__ import annotations

from collections.abc import Iterator

from spucc.grammar import tree

# Operators in one chain `a + b + …`; elaboration adds the terms up one after the other.
LONGEST_CHAIN = 10_000


def children(node: tree.Node) -> Iterator[tree.Node]:
    """The nodes directly below a node, in the order of its fields."""
    for name in node.__struct_fields__[1:]:
        value = getattr(node, name)
        if isinstance(value, tree.Node):
            yield value
        elif type(value) is tuple:
            for item in value:
                if isinstance(item, tree.Node):
                    yield item


def walk(node: tree.Node) -> Iterator[tree.Node]:
    """A node and all below it, parents first, from left to right."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(list(children(node))))


def deeper_than(statement: tree.Statement, limit: int) -> bool:
    """Whether a path from a statement down goes through more than `limit` nodes, or a chain of operators is longer
    than `LONGEST_CHAIN`.

    A chain `a + b + …` is one level: it is walked by a loop everywhere.
    The statements in its blocks are left out: they were measured when they were made, and brackets bound
    their depth. Only the branches of an `else if` chain, which no bracket bounds, are followed.
    """
    span = statement.span
    if span.line == span.end_line and span.end_column - span.column <= limit:
        return False  # each level takes a character at least
    stack: list[tuple[tree.Node, int]] = [(statement, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > limit:
            return True
        if isinstance(node, tree.Binary) and node.op not in ("and", "or"):
            length = 0
            inner: tree.Expr = node
            while isinstance(inner, tree.Binary) and inner.op not in ("and", "or"):
                stack.append((inner.right, depth + 1))
                inner = inner.left
                length += 1
            if length > LONGEST_CHAIN:
                return True
            stack.append((inner, depth + 1))
        elif isinstance(node, tree.For):
            stack.append((node.iterable, depth + 1))
        elif isinstance(node, tree.If):
            stack.append((node.condition, depth + 1))
            stack.extend((other, depth + 1) for other in node.otherwise if isinstance(other, tree.If))
        else:
            stack.extend((child, depth + 1) for child in children(node))
    return False
