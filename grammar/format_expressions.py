"""Expressions and types as documents for the layout, with the fewest parentheses that keep the tree."""

from __future__ import annotations

from collections.abc import Iterable

from spucc.grammar import tree
from spucc.grammar.layout import Break, Concat, Doc, Fill, Group, Nest, concat

# How tightly an expression binds; an operand that binds less tightly than its place asks for gets
# parentheses.
VALUE, OR, AND, NOT, COMPARISON, SUM, PRODUCT, SIGN, POWER, POSTFIX = range(10)

_LEVELS = {"or": OR, "and": AND, "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "@": PRODUCT, "**": POWER}
_SOFT = Break("")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"})


def expression(node: tree.Expr, level: int = VALUE) -> Doc:
    """An expression for a place that asks for a level of binding."""
    body = _bare(node)
    return _round(body) if _level(node) < level else body


def level_of(op: str) -> int:
    return _LEVELS.get(op, COMPARISON)


def _level(node: tree.Expr) -> int:
    if isinstance(node, tree.Binary):
        return level_of(node.op)
    if isinstance(node, tree.Unary):
        return NOT if node.op == "not" else SIGN
    return VALUE if isinstance(node, tree.IfElse) else POSTFIX


def _bare(node: tree.Expr) -> Doc:
    match node:
        case tree.Number(text=text):
            return text
        case tree.String(value=text):
            return f'"{text.translate(_ESCAPES)}"'
        case tree.Boolean(value=value):
            return "true" if value else "false"
        case tree.NoneLiteral():
            return "None"
        case tree.Name(id=name):
            return name
        case tree.Array(items=items):
            return _filled("[", [expression(item) for item in items], "]")
        case tree.Tuple(items=(item,)):
            return concat("(", expression(item), ",)")
        case tree.Tuple(items=items):
            return _filled("(", [expression(item) for item in items], ")")
        case tree.Unary(op="not", operand=operand):
            return concat("not ", expression(operand, NOT))
        case tree.Unary(op=op, operand=operand):
            return concat(op, expression(operand, SIGN))
        case tree.Binary():
            return _binary(node)
        case tree.IfElse(then=then, condition=condition, otherwise=otherwise):
            parts = expression(then, OR), " if ", expression(condition, OR), " else ", expression(otherwise)
            return concat(*parts)
        case tree.Call(function=function, args=args, keywords=keywords):
            given = [expression(arg) for arg in args]
            given += [concat(k.name, "=", expression(k.value)) for k in keywords]
            return concat(function.id, _listed("(", given, ")"))
        case tree.Comprehension():
            return _comprehension(node)
        case tree.Index(value=value, items=subscripts):
            return concat(
                expression(value, POSTFIX), _listed("[", [_subscript(item) for item in subscripts], "]")
            )
        case tree.Attribute(value=value, name=name):
            return concat(_before_dot(value), ".", name)


def _binary(node: tree.Binary) -> Doc:
    """A chain of operators of one level as one group, so that it breaks after each of them or after none."""
    level = level_of(node.op)
    if node.op == "**":
        return concat(expression(node.left, POSTFIX), "**", expression(node.right, SIGN))
    if level == COMPARISON:
        return concat(expression(node.left, SUM), f" {node.op} ", expression(node.right, SUM))
    tail: list[Doc] = []
    left: tree.Expr = node
    while isinstance(left, tree.Binary) and level_of(left.op) == level:
        tail += [expression(left.right, level + 1), Break(), f" {left.op}"]
        left = left.left
    return Group(Nest(Concat((expression(left, level), *reversed(tail)))))


def _comprehension(node: tree.Comprehension) -> Doc:
    over = concat(f"for {names(node.targets)} in ", expression(node.iterable, OR))
    parts: list[Doc] = [expression(node.body), Break(), over]
    if node.condition is not None:
        parts += [Break(), concat("if ", expression(node.condition, OR))]
    return concat(node.function.id, Group(concat("(", Nest(concat(_SOFT, *parts)), _SOFT, ")")))


def names(targets: Iterable[str]) -> str:
    listed = tuple(targets)
    return listed[0] if len(listed) == 1 else f"({', '.join(listed)})"


def _subscript(item: tree.Expr | tree.Slice) -> Doc:
    if not isinstance(item, tree.Slice):
        return expression(item)
    parts: list[Doc] = [expression(item.start) if item.start else "", ":"]
    parts.append(expression(item.stop) if item.stop else "")
    if item.step:
        parts += [":", expression(item.step)]
    return Concat(tuple(parts))


def _before_dot(value: tree.Expr) -> Doc:
    """A number before a dot would swallow it."""
    return _round(_bare(value)) if isinstance(value, tree.Number) else expression(value, POSTFIX)


def _round(body: Doc) -> Doc:
    return Group(concat("(", Nest(concat(_SOFT, body)), _SOFT, ")"))


def _listed(opener: str, items: list[Doc], closer: str) -> Doc:
    """Items on one line, or each on its own with a comma after the last."""
    if not items:
        return opener + closer
    parts: list[Doc] = [items[0]]
    for item in items[1:]:
        parts += [",", Break(), item]
    return Group(concat(opener, Nest(Concat((_SOFT, *parts))), Break("", ","), closer))


def _filled(opener: str, items: list[Doc], closer: str) -> Doc:
    """Items on one line, or as many on each line as fit: the way of arrays of numbers."""
    if not items:
        return opener + closer
    commas = [*(concat(item, ",") for item in items[:-1]), items[-1]]
    return Group(concat(opener, Nest(concat(_SOFT, Fill(tuple(commas)))), Break("", ","), closer))


def type_(node: tree.Type) -> Doc:
    bounds = [
        (word, value) for word, value in (("lower", node.lower), ("upper", node.upper)) if value is not None
    ]
    parts: list[Doc] = [node.name]
    if bounds:
        inner: list[Doc] = []
        for word, value in bounds:
            inner += [", " if inner else "<", concat(f"{word}=", expression(value, SUM))]
        parts += [*inner, ">"]
    if node.shape:
        parts.append(_listed("[", [expression(size) for size in node.shape], "]"))
    return Concat(tuple(parts))
