"""A problem of a visitor's own: what was brought, how it is taken, what it will cost, and the race on it.

One value of a session's state holds it all (`Own`). It belongs to this session alone: a link to it means nothing to
another, and it goes when the session does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import streamlit as st

from core.config import race, racer
from core.spec import Value, complete
from core.tasks import TASKS, Level, Task, brought, build
from core.tasks.brought import Brought
from core.tasks.corpus import UNKNOWN
from core.tasks.decoding import decoded
from core.tasks.inputs import Treated
from core.tasks.language import FeedForward
from core.tasks.own_table import TargetKind, target_kind
from ui import limits, live
from ui.numbers import duration_text
from ui.scenario import Scenario, scenario
from ui.store import store

log = logging.getLogger(__name__)
KEY = "own"
TABS = {"text": "Text", "table": "Table", "network": "Network"}
UNTUNED = "Their rates are usual ones that nobody has tuned for this problem."
_RACERS: Mapping[str, tuple[tuple[str, float], ...]] = {
    "words": (("adam", 0.003), ("sgd", 1.0), ("momentum", 0.3)),
    "letters": (("adam", 0.003), ("sgd", 1.0), ("momentum", 0.3)),
    "table": (("adam", 0.01), ("sgd", 0.1), ("momentum", 0.03)),
}
LOST = "The server could not keep or read this just now: try again in a moment, or bring a smaller one."


@dataclass(frozen=True)
class Draft:
    """Something brought: what it is called, how its bytes are taken, the settings of its problem that were changed.

    `notes` are sentences about how it was read.
    """

    label: str
    brought: Brought
    changed: Mapping[str, Value] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[tuple[str, Value], ...]:
        """All settings of its problem."""
        return complete(TASKS[self.brought.name].hypers, self.changed, self.label)

    @property
    def task(self) -> Task:
        """The problem; `ValueError` where it cannot be made so."""
        return build(self.brought.name, self.settings)

    def race(self) -> Scenario:
        """A race on it, of three racers at usual rates.

        Raises:
            ValueError: it would be too large, or the problem cannot be made.
        """
        kind, task = TASKS[self.brought.name], self.task
        batch = min(kind.batch, task.examples or kind.batch)
        racers = [racer(rule, lr=rate) for rule, rate in _RACERS[self.brought.what]]
        return scenario(race((kind.name, dict(self.settings)), racers, steps=kind.steps, batch=batch, seeds=kind.seeds))


@dataclass(frozen=True)
class Own:
    """All that a session has of its own.

    `drafts` are by tab; `offered` are the problems that stand in the menu of the Race page, a label for each name.
    """

    session: str
    tab: str = "text"
    letters: bool = False  # how the next text is taken
    drafts: Mapping[str, Draft] = field(default_factory=dict)
    offered: tuple[tuple[str, str], ...] = ()
    problem: str = ""  # why what was brought last, or a change, was not taken
    generation: int = 0  # of the widgets: a new one is empty

    @property
    def draft(self) -> Draft | None:
        """What is looked at."""
        return self.drafts.get(self.tab)


def own() -> Own:
    """What this session has of its own."""
    if KEY not in st.session_state:
        st.session_state[KEY] = Own(live.viewer())
    found: Own = st.session_state[KEY]
    return found


def put(**changes: object) -> None:
    """Change some of it; what nothing speaks of any more is let go."""
    now = replace(own(), **changes)  # type: ignore[arg-type]
    st.session_state[KEY] = now
    named = [brought.content_of(name) for name, _ in now.offered]
    store().hold(now.session, [*named, *(draft.brought.content for draft in now.drafts.values())])


def offered() -> dict[str, str]:
    """The problems of this session in the menu of the Race page: a label for each name."""
    return dict(st.session_state[KEY].offered) if KEY in st.session_state else {}


# ---------------------------------------------------------------- what a visitor does


def bring(label: str, content: bytes) -> None:
    """Take a text or a table, whichever is looked at, in place of the one before; or say why not, and keep nothing."""
    now = own()
    name = re.sub(r"[^\w .+-]", "", label)[:40].strip() or TABS[now.tab]
    try:
        draft = _text(now, name, content) if now.tab == "text" else _table(now, name, content)
        put(drafts={**now.drafts, now.tab: draft}, problem="", generation=now.generation + 1)
    except (ValueError, OSError, MemoryError) as error:
        put(problem=_why(error), generation=now.generation + 1)


def _why(error: Exception) -> str:
    """A sentence; an error that brings none is the server's, and is logged."""
    if isinstance(error, ValueError):
        return str(error)
    log.error("what a visitor brought was lost", exc_info=error)
    return LOST


def _text(now: Own, label: str, content: bytes) -> Draft:
    _check_size(content)
    text, encoding = decoded(content)
    notes = [] if encoding == "UTF-8" else [f"Its encoding was taken to be {encoding}."]
    if len(text) > limits.CHARACTERS:
        notes.append(f"Of its {len(text):,} characters the first {limits.CHARACTERS:,} are used.")
    kept = store().keep(now.session, text[: limits.CHARACTERS].encode())
    draft = Draft(label, Brought(kept, "letters" if now.letters else "words"), notes=tuple(notes))
    _check(draft)
    return draft


def _table(now: Own, label: str, content: bytes) -> Draft:
    _check_size(content)
    kept = store().keep(now.session, content)
    columns = brought.table(kept).columns
    draft = _aimed(Draft(label, Brought(kept, "table")), len(columns) - 1)
    _check(draft)
    return draft


def _check_size(content: bytes) -> None:
    if len(content) > limits.UPLOAD_MB * 10**6:
        raise ValueError(
            f"This is {len(content) / 10**6:.0f} MB, and {limits.UPLOAD_MB} MB is the most that is taken here: "
            "bring a part of it."
        )


def _check(draft: Draft) -> None:
    """Refuse what makes no problem."""
    if draft.task.examples is None or draft.task.examples < 2:
        raise ValueError("Only one example is left to train on: bring more.")


def _aimed(draft: Draft, column: int, kind: TargetKind | None = None) -> Draft:
    table = brought.table(draft.brought.content)
    told = kind or target_kind(table, table.columns[column])
    return replace(draft, brought=replace(draft.brought, column=column, kind=told))


def leave_out() -> None:
    """Let go of what is looked at; what stands in the menu stays there."""
    now = own()
    put(drafts={tab: draft for tab, draft in now.drafts.items() if tab != now.tab}, problem="",
        generation=now.generation + 1)  # fmt: skip


def turn(tab: str) -> None:
    """Look at another kind."""
    put(tab=tab, problem="")


def by_letters(letters: bool) -> None:
    """Take the text by letters, or by words; and the next one."""
    put(letters=letters)
    what = "letters" if letters else "words"
    _attempt(lambda draft: replace(draft, brought=Brought(draft.brought.content, what), changed={}))


def target(column: int) -> None:
    """Tell another column of the table; whether it is classes is told from what is in it."""
    _attempt(lambda draft: _aimed(draft, column))


def taken_for(kind: TargetKind) -> None:
    """Take the target for classes, or for a number."""
    _attempt(lambda draft: _aimed(draft, draft.brought.column, kind))


def setting_changed(name: str, value: Value) -> None:
    """One setting of the problem."""
    _attempt(lambda draft: replace(draft, changed={**draft.changed, name: value}))


def _attempt(change: Callable[[Draft], Draft]) -> None:
    """Change what is looked at, where it can be so; else say why not."""
    now = own()
    if now.draft is None:
        return
    try:
        changed = change(now.draft)
        _check(changed)
        put(drafts={**now.drafts, now.tab: changed}, problem="")
    except (ValueError, OSError, MemoryError) as error:
        put(problem=_why(error), generation=now.generation + 1)


def offer(draft: Draft) -> None:
    """Put it into the menu of the Race page; beyond the last few, the oldest goes."""
    others = [(name, label) for name, label in own().offered if name != draft.brought.name]
    put(offered=tuple([*others, (draft.brought.name, title(draft))][-limits.OFFERED :]))


# ---------------------------------------------------------------- what is said of it


def plain(text: str) -> str:
    """Text as it stands, where Markdown is read: a column or a class may be called anything."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|$~:@.-])", r"\\\1", text)


def title(draft: Draft) -> str:
    """What the menu calls it."""
    if draft.brought.what == "table":
        return f"Your table: {draft.label}"
    return f"Your text: {draft.label}{', by letters' * (draft.brought.what == 'letters')}"


def facts(draft: Draft) -> list[tuple[str, str]]:
    """What it is, before it starts: names and numbers."""
    task = draft.task
    known = [("Parameters", f"{task.layout.width:,}"), ("Network", task.network)]
    if isinstance(task, FeedForward):
        corpus = task.corpus
        total = sum(len(part) for part in corpus.parts.values())
        held = len(corpus.parts["validation"])
        known = [
            (f"{corpus.kind.title()}s", f"{total:,}, of which the last {held:,} are held out"),
            ("Vocabulary", f"{corpus.size:,} different {corpus.kind}s, the unknown one included"
             if UNKNOWN in corpus.vocabulary else f"{corpus.size:,} different {corpus.kind}s"),
            ("Examples", f"{task.examples:,} stretches of {task.context} {corpus.kind}s and the one after them"),
            *known,
        ]  # fmt: skip
    else:
        parts = brought.prepared(draft.brought).parts
        sizes = [len(targets) for _, targets in parts.values()]
        known = [("Rows", f"{sizes[0]:,} to train on, " + " and ".join(f"{size:,} for {part}" for part, size in
                  zip(list(parts)[1:], sizes[1:], strict=True))), *known]  # fmt: skip
    if task.initial_loss:
        known.append(("First loss", f"about {task.initial_loss[0]:.2f}"))
    return known


def levels(draft: Draft) -> list[Level]:
    """The lines of its charts, the highest loss first."""
    return sorted(draft.task.levels, key=lambda level: (level.of, -level.value))


def treated(draft: Draft) -> tuple[Treated, ...]:
    """What was done to each column of a table."""
    return brought.prepared(draft.brought).treated if draft.brought.what == "table" else ()


def notes(draft: Draft) -> tuple[str, ...]:
    """Sentences about how it was read."""
    return draft.notes + (brought.prepared(draft.brought).notes if draft.brought.what == "table" else ())


def first_lines(draft: Draft, most: int = 400) -> str:
    """How a text begins."""
    return brought.read(draft.brought.content)[: 4 * most].decode(errors="ignore").strip()[:most]


def cost(shown: Scenario) -> str:
    """What the race will cost: its size, its share of what is allowed, and, where a worker is free to measure it, the
    time it takes.
    """
    config = shown.config
    width = config.build_task().layout.width
    share = max(config.rows * width / limits.NUMBERS, config.rows * width * config.batch / limits.WORK)
    of_all = f"{share:.0%}" if share >= 0.01 else "less than 1%"
    pace = live.races().price(config)
    takes = f" {config.steps:,} steps take about {duration_text(pace * config.steps)}." if pace else ""
    return (
        f"{config.rows} runs of {width:,} weights, {config.batch} examples a step: {of_all} of the largest race there "
        f"may be here.{takes}"
    )


def racers_in_words(shown: Scenario) -> str:
    """Who races unasked."""
    names = [f"{each.spec.label} at {each.get('lr'):g}" for each in shown.config.racers]
    return f"{', '.join(names[:-1])} and {names[-1]} race. {UNTUNED}"
