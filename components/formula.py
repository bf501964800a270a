"""Formulas over graders' scores: arithmetic and nine functions, parsed into a tree and evaluated in float64. Nothing is run."""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

LONGEST = 2_000  # characters
LARGEST = 400  # nodes of the tree, so that neither reading nor evaluating it can exhaust Python's stack

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: math.pow,  # of floats alone: ** of integers could take forever
}
_FUNCTIONS: dict[str, tuple[Callable[..., float], int, int]] = {  # with the fewest and the most arguments
    "min": (min, 1, 100),
    "max": (max, 1, 100),
    "abs": (abs, 1, 1),
    "floor": (lambda x: float(math.floor(x)), 1, 1),
    "ceil": (lambda x: float(math.ceil(x)), 1, 1),
    "exp": (math.exp, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "log": (math.log, 1, 1),
}


class FormulaError(Exception):
    """A formula without a value at these scores: a division by zero, an overflow, a logarithm of a negative number."""


@dataclass(frozen=True)
class Formula:
    """A parsed formula: ``names`` are the graders that it reads."""

    text: str
    tree: ast.expr
    names: frozenset[str]

    def __call__(self, scores: Mapping[str, float]) -> float:
        """Its value.

        Raises:
            FormulaError: if it has none that is finite.
        """
        try:
            value = _value(self.tree, scores)
        except (ArithmeticError, ValueError) as error:
            raise FormulaError(f"{self.text}: {error}") from error
        if not math.isfinite(value):
            raise FormulaError(f"{self.text} is {value}")
        return value


@lru_cache(maxsize=256)
def parse_formula(text: str) -> Formula:
    """Parse a formula of names, numbers, ``+ - * / ^``, parentheses, and min max abs floor ceil exp sqrt log.

    Raises:
        ValueError: naming what else stands in it.
    """
    if len(text) > LONGEST:
        raise ValueError(f"the formula has {len(text)} characters; write at most {LONGEST}")
    try:
        tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{text!r:.80} is not a formula; write, for example, 0.9 * right + 0.1 * fields") from error
    if sum(1 for _ in ast.walk(tree)) > LARGEST:
        raise ValueError(f"the formula has more than {LARGEST} parts; write a shorter one")
    return Formula(text, tree, frozenset(_names(tree)))


def _names(node: ast.expr) -> list[str]:
    """The names in a formula; refuses every kind of node that a formula does not have."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            _float(value)
            return []
        case ast.Name(id=name):
            return [name]
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            return _names(operand)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _names(left) + _names(right)
        case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]) if function in _FUNCTIONS:
            _, fewest, most = _FUNCTIONS[function]
            if not fewest <= len(arguments) <= most:
                raise ValueError(f"{function} takes {fewest} argument{'' if most == 1 else ' or more'}, not {len(arguments)}")
            return [name for argument in arguments for name in _names(argument)]
    raise ValueError(
        f"{ast.unparse(node)!r:.60} cannot stand in a formula; write graders' names, numbers, + - * / ^ ( ), "
        f"and {', '.join(_FUNCTIONS)}"
    )


def _value(node: Any, scores: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return _float(value)
        case ast.Name():
            return float(scores[node.id])
        case ast.UnaryOp():
            value = _value(node.operand, scores)
            return -value if isinstance(node.op, ast.USub) else value
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_value(node.left, scores), _value(node.right, scores))
        case _:
            return _FUNCTIONS[node.func.id][0](*(_value(argument, scores) for argument in node.args))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("a number in the formula is beyond float64; write a smaller one") from error
