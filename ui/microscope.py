"""One step under the microscope: each assignment of an update rule as equation, code, numbers of one weight, and words.

All of it follows from the rule's registry entry: the lines are run, one after the other, on what the optimizer held
before the step, and written down with the values they met. No Streamlit.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.carry import half_life
from core.chunk import Chunk
from core.config import Config
from core.optimizers import RULES
from core.optimizers.base import Context, Named, Rule, Update
from core.optimizers.listing import WORDS, Names, evaluated, names, run
from core.plan import plan_of
from core.spec import Layout
from core.state import Recording, State
from ui.equations import assignments, bare

ADD, TIMES, POWER, ATOM = range(4)  # how tightly a text holds together
SHORT = {"sqrt": "√", "abs": "abs", "maximum": "max", "minimum": "min", "fmax": "max"}
Text = tuple[str, int]


# ---------------------------------------------------------------- the step


@dataclass(frozen=True)
class Step:
    """One step of one run as its rule met it, and what the rule left: tables of one row, in double precision.

    `before` and `after` are the slots, `gradient` is as the rule got it, scaled and clipped. `asked` is what it asked
    for beside it: the gradient on drawn labels, or uphill, and the length of a line search.
    """

    rule: Rule
    layout: Layout
    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    p: Tensor  # [1, P], before
    new_p: Tensor
    gradient: Tensor
    settings: Mapping[str, Tensor]
    ages: Mapping[str, Tensor]
    asked: Mapping[str, Tensor]
    now: int  # 1, 2, …
    total_steps: int
    batch: int
    project: Callable[[Tensor], Tensor]

    def names(self) -> Names:
        """What the rule's lines may name, before the first of them."""
        return names(
            self.rule, self.layout, p=self.p, g=self.gradient, slots=self.before, ages=self.ages,
            settings=self.settings, now=self.now, total_steps=self.total_steps, batch=self.batch,
            **{name: torch.full_like(self.p, math.nan) for name in ("drawn", "uphill", "length")} | dict(self.asked),
        )  # fmt: skip


class _Listening:
    """The context of a rule, and what it is asked for."""

    def __init__(self, inner: Context, heard: dict[str, Tensor]):
        self._inner, self._heard = inner, heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def gradient(self, at: Tensor, rows: Tensor | slice | None = None, *, drawn: bool = False) -> tuple[Tensor, Tensor]:
        found = self._inner.gradient(at, rows, drawn=drawn)
        self._heard["drawn" if drawn else "uphill"] = found[1].double()
        return found

    def but(self, *, g: Tensor) -> _Listening:
        return _Listening(self._inner.but(g=g), self._heard)


def step_of(config: Config, state: State, racer: int, seed: int = 0) -> Step:
    """The step after this state, of one racer on one of the race's seeds (by its index): really taken, and looked at.

    Raises:
        ValueError: there is no such step; one readable sentence.
    """
    plan = plan_of(config)
    row = int(plan.table_row[racer * len(config.seeds) + seed])
    if state.step >= config.steps:
        raise ValueError(f"The run ends with step {config.steps:,}: there is none after it to look at.")
    if int(state.stopped[row]) >= 0:
        raise ValueError(f"This run diverged at step {int(state.stopped[row]):,} and takes no more steps.")
    chunk = Chunk(plan, state, slice(row, row + 1), Recording(evaluations=1, probes=1, names=()))
    block, heard, taken = chunk.blocks[0], dict[str, Tensor](), list[dict[str, Any]]()

    def watched(ctx: Context, s: Named, age: Named, h: Named) -> Update:
        # The memory of guests is no table, and what a spike leaves is taken through the same rule once more.
        if taken:
            return found.update(ctx, s, age, h)
        met = {
            "before": _doubled(vars(s)),
            "ages": _doubled(vars(age)),
            "settings": _doubled({hyper.name: getattr(h, hyper.name) for hyper in found.hypers}),
            "gradient": ctx.g.double(),
            "p": ctx.p.double(),
            "batch": ctx.batch,
        }
        update, slots, trace = found.update(_Listening(ctx, heard), s, age, h)
        if "length" in trace:
            heard["length"] = trace["length"].double()
        taken.append(met | {"after": _doubled(slots)})
        return update, slots, trace

    found = block.rule
    block.rule = replace(found, update=watched)
    chunk.run(1)
    return Step(
        found, plan.task.layout, new_p=chunk.p.double(), asked=heard, now=state.step + 1, total_steps=config.steps,
        project=plan.task.project, **taken[0],
    )  # fmt: skip


def _doubled(tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: table.double().clone() for name, table in tables.items()}


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Row:
    """One assignment: KaTeX, PyTorch, the same with numbers, and a sentence."""

    equation: str
    code: str
    numbers: str
    says: str


def table(step: Step, coordinate: int) -> list[Row]:
    """The step's assignments in order, with the numbers of one weight; none where the rule lists no lines.

    Raises:
        ValueError: there is no such weight.
    """
    width = step.layout.width
    if not 0 <= coordinate < width:
        raise ValueError(f"There is no weight {coordinate:,}: this network has {width:,}, counted from 0.")
    known, rows = step.names(), []
    equations = iter(assignments(RULES[step.rule.name.split("+")[0]].equation) if step.rule.listing else ())
    for line in step.rule.listing:
        equation = bare(line.equation or next(equations))
        scene = _Scene(known, set(step.settings), width, coordinate)
        shown = not line.when or bool(scene.value(line.when))
        says = scene.filled(line.says)
        right = scene.rights(line.code)
        run(line, known, step.project)
        if shown:
            rows.append(Row(equation, line.code, scene.numbers(right), says))
    return rows


def note(rule: Rule) -> str:
    """What the table does not show of this rule; "" where it shows all."""
    if not rule.listing:
        return f"{rule.label} takes its step in code of its own, which is not written out here."
    return rule.unlisted


def place(layout: Layout, coordinate: int) -> str:
    """A weight's name: its tensor, and where it stands in it, counted from 0."""
    for (name, shape), size in zip(layout.shapes, layout.sizes, strict=True):
        if coordinate < size:
            return f"{name}[{', '.join(str(int(i)) for i in np.unravel_index(coordinate, shape))}]"
        coordinate -= size
    raise ValueError(f"There is no weight {coordinate + layout.width:,}: this network has {layout.width:,}.")


def markdown(rows: list[Row]) -> str:
    """The rows as a table for `st.markdown`."""
    lines = ["| Equation | PyTorch | With this weight's numbers | What it does |", "|---|---|---|---|"]
    for row in rows:
        equation = re.sub(r"(?<!\\)\|", r"\\vert ", row.equation)
        code, numbers, says = (text.replace("|", r"\|") for text in (row.code, row.numbers, row.says))
        lines.append(f"| ${equation}$ | `{code}` | {numbers} | {says} |")
    return "\n".join(lines)


def four(value: float) -> str:
    """A number to four significant digits."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−") if exponent else mantissa.replace("-", "−")


# ---------------------------------------------------------------- one line with numbers


@lru_cache(maxsize=1024)
def _assigned(code: str) -> tuple[tuple[str, ast.expr], ...]:
    """(name, right side) of a line; a line may be several at once, `m, v = …, …`."""
    (line,) = ast.parse(code).body
    assert isinstance(line, ast.Assign)
    (target,) = line.targets
    if isinstance(target, ast.Tuple) and isinstance(line.value, ast.Tuple):
        return tuple((ast.unparse(name), side) for name, side in zip(target.elts, line.value.elts, strict=True))
    return ((ast.unparse(target), line.value),)


class _Scene:
    """What the names of a line stand for at one weight."""

    def __init__(self, known: Names, settings: set[str], width: int, coordinate: int):
        self.known, self.settings, self.width, self.coordinate = known, settings, width, coordinate

    def value(self, expression: str | ast.expr) -> float | None:
        """A value at the weight; None where it is of a table without a number for each weight."""
        return self._here(evaluated(expression if isinstance(expression, str) else ast.unparse(expression), self.known))

    def filled(self, says: str) -> str:
        """The sentence with its numbers."""
        known = self.known | {"half": _half}

        def number(match: re.Match[str]) -> str:
            found = evaluated(match[1], known)
            return found if isinstance(found, str) else four(float(found))

        return re.sub(r"\{([^{}]+)\}", number, says)

    def rights(self, code: str) -> list[tuple[str, str, float | None]]:
        """(name, its right side with numbers, what that comes to), before the line is run."""
        return [(name, self._text(side)[0], self.value(side)) for name, side in _assigned(code)]

    def numbers(self, rights: list[tuple[str, str, float | None]]) -> str:
        """The whole assignments, after the line was run."""
        found = []
        for name, right, came_to in rights:
            result = self._here(self.known[name])
            if result is None:
                found.append(f"‖{name}‖ = {four(float(torch.linalg.vector_norm(self.known[name])))}")
                continue
            assert came_to is not None
            ends = [] if right == four(came_to) else [four(came_to)]
            whole = " = ".join([name, right, *ends])
            found.append(whole if four(result) == four(came_to) else f"{whole}, put back to {four(result)}")
        return ", ".join(found)

    def _here(self, value: Any) -> float | None:
        if not isinstance(value, Tensor) or value.numel() == 1:
            return float(value)
        if value.dim() == 2 and value.shape[1] != self.width and "spread" in self.known:
            value = self.known["spread"](value)
        if value.dim() != 2 or value.shape[1] != self.width:
            return None
        return float(value[0, self.coordinate])

    def _still(self, node: ast.expr) -> bool:
        """Made of settings and numbers alone."""
        named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        return named <= self.settings | {"sqrt"}

    def _is(self, node: ast.expr, number: float) -> bool:
        """A setting or number of this value; or, of 0, a product with such a one."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and number == 0:
            return self._is(node.left, 0) or self._is(node.right, 0)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "where":
            return self._is(self._branch(node), number)
        return self._still(node) and self.value(node) == number

    def _branch(self, node: ast.Call) -> ast.expr:
        return node.args[1] if self.value(node.args[0]) else node.args[2]

    def _text(self, node: ast.expr) -> Text:
        if self._still(node):
            return self._number(node)
        if isinstance(node, ast.BinOp):
            return self._operation(node)
        if isinstance(node, ast.UnaryOp):
            return f"−{self._within(node.operand, POWER)}", TIMES
        if isinstance(node, ast.Call) and (function := ast.unparse(node.func)) in WORDS:
            if function == "where":
                return self._text(self._branch(node))
            inside = ", ".join(self._text(argument)[0] for argument in node.args)
            return f"{SHORT.get(function, function)}({inside})", ATOM
        return self._number(node)

    def _number(self, node: ast.expr) -> Text:
        found = self.value(node)
        if found is None:
            return ast.unparse(node), ATOM
        text = four(found)
        return text, TIMES if text.startswith("−") else ATOM

    def _operation(self, node: ast.BinOp) -> Text:
        left, right = node.left, node.right
        if isinstance(node.op, ast.Add | ast.Sub):
            if self._is(right, 0):
                return self._text(left)
            if self._is(left, 0) and isinstance(node.op, ast.Add):
                return self._text(right)
            sign = "+" if isinstance(node.op, ast.Add) else "−"
            return f"{self._within(left, ADD)} {sign} {self._within(right, TIMES, after=True)}", ADD
        if isinstance(node.op, ast.Pow):
            base = self._within(left, ATOM)
            squared = isinstance(right, ast.Constant) and right.value == 2
            return f"{base}²" if squared else f"{base}^{self._within(right, ATOM)}", POWER
        if isinstance(node.op, ast.Mult):
            if self._is(left, 1):
                return self._text(right)
            if self._is(node, 0):
                return "0", ATOM
            return f"{self._within(left, TIMES)} · {self._within(right, TIMES, after=True)}", TIMES
        sign = {ast.Div: "/", ast.Mod: "mod"}[type(node.op)]
        return f"{self._within(left, TIMES)} {sign} {self._within(right, POWER, after=True)}", TIMES

    def _within(self, node: ast.expr, least: int, after: bool = False) -> str:
        """In brackets where it holds less tightly than that, or where a minus would follow another sign."""
        text, tightness = self._text(node)
        return f"({text})" if tightness < least or (after and text.startswith("−")) else text


def _half(beta: Any) -> str:
    """Half-life of a moving average in words."""
    steps = half_life(float(beta))
    said = f"{steps:,.0f}" if steps >= 10 else f"{steps:.2g}"
    return f"{said} step{'' if said == '1' else 's'}"
