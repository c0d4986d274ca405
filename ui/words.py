"""A verdict in plain English: true at every moment, and no stronger than the evidence.

"Leads", "beats" and "is behind" are said only of pairs whose answer is a difference. Everything else is put
as what was measured (a best median, a number) next to what is not known about it.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Context

from core.analysis import Answer, Pair, Verdict, seeds_needed

NAMED = 3  # of a long list, the racers called by name
FEW = 5  # racers of a race in which each is called by name in the headline
LENGTH = 220  # characters of a detail; a longer one leaves out the wins
CLOSE = 1.1  # medians within this ratio are described as level; a description, not a test of equality
SETTINGS = {
    "same rate": "all at the same rate",
    "library defaults": "each at its library's default rate",
    "each tuned": "each at its rate tuned on validation",
}


def race_words(
    labels: Sequence[str],
    verdict_train: Verdict,
    verdict_val: Verdict | None,
    *,
    step: int,
    steps: int,
    seeds: int,
    loss_name: str = "training loss",
    val_name: str = "validation accuracy",
    marks: Sequence[tuple[str, str]] = (),
    worse: tuple[Sequence[str], str] = ((), ""),
    setting: str | None = None,
) -> tuple[str, str]:
    """Say what the race shows at a step: a headline, and a line with its conditions and what is proved.

    Args:
        labels: [k], the racers' names, as they stand in the verdicts' rows.
        verdict_train, verdict_val: of the losses and of a second quantity at this step, on the same seeds;
            None where there is no second one. Quantities named "accuracy" are shares, shown in percent: judge
            them with higher_is_better, for the medians of negated ones would show their sign.
        step, steps: trained so far, and in all.
        seeds: n, as in the verdicts.
        marks: (label, predicate) of racers that diverged or blew up by this step, such as
            ("Adam", "diverged at step 41"). Without one, a diverged racer is told from the verdict.
        worse: labels of racers whose loss stands above guessing, and what guessing is called with its loss, such as
            "guessing (ln 332 = 5.81)".
        setting: how the rates were chosen: None, a key of SETTINGS, or a clause to be used as it is.

    Returns:
        (headline, detail), the detail of about 220 characters at most for 3 racers with short names.

    Raises:
        ValueError: labels, seeds and the verdicts do not belong to one race.
    """
    for verdict in (verdict_train, verdict_val):
        if verdict is not None and (len(verdict.order), verdict.seeds) != (len(labels), seeds):
            raise ValueError(
                f"a verdict of {len(verdict.order)} racers on {verdict.seeds} seeds does not fit "
                f"{len(labels)} labels and {seeds} seeds"
            )
    race = _Race(labels, verdict_train, loss_name, dict(marks))
    val = None if verdict_val is None else _Race(labels, verdict_val, val_name, {})
    conditions = f"Step {step:,} of {steps:,}; {_conditions(race, setting)}."
    if step == 0:
        return _headline(race, step), conditions
    start = " ".join(filter(None, [conditions, _worse(*worse)]))
    full, brief = (" ".join([start, *_evidence(race, val, short)]) for short in (False, True))
    return _headline(race, step), full if len(full) <= LENGTH else brief


def overfitting_words(racers: Sequence[tuple[str, int]], loss_name: str) -> str:
    """A sentence on racers whose held-out loss has risen since a step, while their training loss fell on; "" if none.

    Args:
        racers: (label, step of the lowest held-out loss).
        loss_name: what that loss is called.
    """
    if not racers:
        return ""
    if len(racers) == 1:
        ((label, step),) = racers
        return f"{label}: {loss_name} has risen since step {step:,} while training loss fell: it overfits."
    since = _series([f"{label} since step {step:,}" for label, step in racers])
    return f"{_capital(loss_name)} has risen for {since} while training loss fell: they overfit."


def lowest_words(value: float, step: int, loss_name: str) -> str:
    """ "held-out loss was lowest here (4.08 at step 320)" """
    return f"{loss_name} was lowest here ({_number(value)} at step {step:,})"


class _Race:
    """One quantity of a race, with what the sentences ask of it."""

    def __init__(self, labels: Sequence[str], verdict: Verdict, name: str, marks: Mapping[str, str]) -> None:
        self.labels, self.verdict, self.name, self.marks = labels, verdict, name, marks
        self.pairs = {(pair.first, pair.second): pair for pair in verdict.pairs}
        self.running = [r for r in verdict.order if abs(verdict.medians[r]) != float("inf")]
        self.out = [r for r in verdict.order if r not in self.running]

    def names(self, racers: Sequence[int], limit: int = NAMED) -> str:
        return _series([self.labels[r] for r in racers], limit)

    def value(self, racer: int) -> str:
        return _number(self.verdict.medians[racer], percent="accuracy" in self.name.lower())

    def values(self, racers: Sequence[int], limit: int = NAMED) -> str:
        """The numbers of a few racers, the range of many."""
        if len(racers) <= limit:
            return _series([self.value(r) for r in racers])
        return f"{self.value(racers[0])} to {self.value(racers[-1])}"

    def against(self, racers: Sequence[int]) -> str:
        """Names with numbers, to stand next to the leader's; all of a small race, whose last may be its point."""
        limit = FEW if len(self.labels) <= FEW else NAMED - 1
        return "against " + _series([f"{self.labels[r]} {self.value(r)}" for r in racers], limit)

    def answer(self, first: int, second: int) -> Answer:
        """Of two racers in the order of the verdict."""
        return self.pairs[first, second].answer

    def leads(self, first: int, second: int) -> bool:
        """Whether the first is established to be ahead of the second."""
        pair = self.pairs.get((first, second))
        return pair is not None and pair.answer is Answer.DIFFERENCE

    def close(self, racers: Sequence[int]) -> bool:
        """Whether the medians look level: equal, or of one sign and within a small ratio."""
        low, high = sorted(abs(self.verdict.medians[r]) for r in (racers[0], racers[-1]))
        same_sign = self.verdict.medians[racers[0]] * self.verdict.medians[racers[-1]] >= 0
        return same_sign and high <= CLOSE * low


def _headline(race: _Race, step: int) -> str:
    if not race.running:
        return _all_out(race)
    out = f"{_fate(race)}; " if race.out else ""
    if step > 0 or race.out:
        return out + (_standing(race, step) if len(race.running) == 1 else _ranking(race))
    return "Same first guess, same data: ready." if len(race.labels) > 1 else f"{race.labels[0]} is ready."


def _all_out(race: _Race) -> str:
    if len(race.out) == 1:
        return f"{_fate(race)}."
    everyone = {2: "Both", 3: "All three"}.get(len(race.out), f"All {len(race.out)}")
    return f"{everyone} {_divergence(race)}."


def _fate(race: _Race) -> str:
    """What became of the racers that cannot be ranked, in their own words if it is one."""
    mark = race.marks.get(race.labels[race.out[0]]) if len(race.out) == 1 else None
    return f"{race.names(race.out)} {mark or _divergence(race)}"


def _divergence(race: _Race) -> str:
    if all(race.verdict.diverged[r] == race.verdict.seeds for r in race.out):
        return "diverged"
    return "diverged on at least half of the seeds"


def _standing(race: _Race, step: int) -> str:
    """The only racer that runs, or still runs: its number, and no claim."""
    (racer,) = race.running
    if race.out:
        return f"{race.labels[racer]} is at {race.name} {race.value(racer)}."
    return f"{race.labels[racer]}: {race.name} {race.value(racer)} after {step:,} {_plural(step, 'step')}."


def _ranking(race: _Race) -> str:
    """Two or more racers with numbers: who leads, or what keeps us from saying so."""
    leader, *others = race.running
    answers = {r: race.answer(leader, r) for r in others}
    if any(answer is Answer.IDENTICAL for answer in answers.values()):
        return _identical(race, [leader, *(r for r in others if answers[r] is Answer.IDENTICAL)])
    if all(answer is Answer.DIFFERENCE for answer in answers.values()):
        return _lead(race)
    if race.verdict.seeds == 1:
        return (
            f"{race.labels[leader]} is ahead on this one seed: {race.name} {race.value(leader)}, "
            f"{race.against(others)}. One seed proves nothing."
        )
    if any(answer is Answer.TOO_FEW for answer in answers.values()):
        return f"{_best_median(race)}; too few seeds to say."
    return _undecided(race, [leader, *(r for r in others if answers[r] is Answer.NONE_FOUND)])


def _lead(race: _Race) -> str:
    leader, *others = race.running
    start = f"{race.labels[leader]} leads"
    if race.out:  # then the lead is over those that still run, and they are named
        numbers = f"{race.value(leader)} against {race.values(others, NAMED - 1)}"
        return f"{start} {race.names(others, NAMED - 1)}: {race.name} {numbers}."
    return f"{start}: {race.name} {race.value(leader)}, {race.against(others)}."


def _best_median(race: _Race) -> str:
    medians = race.verdict.medians
    best = [r for r in race.running if medians[r] == medians[race.running[0]]]
    others = race.running[len(best) :]
    text = f"Best median: {race.names(best)}, {race.name} {race.value(best[0])}"
    return f"{text}, {race.against(others)}" if others else text


def _identical(race: _Race, group: Sequence[int]) -> str:
    """The leader and its doubles; of the rest only what is known."""
    text = f"{race.names(group)} are identical here: {race.name} {race.value(group[0])}"
    rest = [r for r in race.running if r not in group]
    behind = [r for r in rest if race.leads(group[0], r)]
    unknown = [r for r in rest if r not in behind]
    if unknown and race.verdict.seeds == 1:
        return f"{text}, {race.against(unknown)}. One seed proves nothing."
    if unknown:
        doubt = race.answer(group[0], unknown[0]).value
        text += f", {race.against(unknown)} ({doubt})"
    return f"{text}{_behind(race, group, behind)}."


def _undecided(race: _Race, group: Sequence[int]) -> str:
    """The leader and those it was not found to differ from; they may differ among themselves."""
    if any(race.leads(a, b) for a in group for b in group):
        return f"{_best_median(race)}; no leader found."
    behind = _behind(race, group, [r for r in race.running if r not in group])
    if race.close(group):
        start, end = f"{race.names(group)} are level", f", no difference found{behind}."
    else:
        between = "between" if len(group) == 2 else "among"
        start, end = f"No difference found {between} {race.names(group)}", f"{behind}."
    return f"{start}: {race.name} {race.values(group)}{end}"


def _behind(race: _Race, group: Sequence[int], racers: Sequence[int]) -> str:
    """The tail of a headline about `group`: racers behind its leader, named if not all of it is ahead."""
    if not racers:
        return ""
    whom = "" if all(race.leads(a, r) for a in group for r in racers) else f" {race.labels[group[0]]}"
    verb = _plural(len(racers), "is", "are")
    if len(racers) > 2:
        return f"; {len(racers)} more {verb} behind{whom}"
    if len(group) + len(racers) > NAMED:
        return f"; {race.names(racers)} {verb} behind{whom}"
    return f"; {race.names(racers)} {verb} behind{whom} at {race.values(racers)}"


def _worse(labels: Sequence[str], guessing: str) -> str:
    """Racers that do worse than guessing."""
    return f"{_series(labels)} {_plural(len(labels), 'stands', 'stand')} above {guessing}." if labels else ""


def _conditions(race: _Race, setting: str | None) -> str:
    if len(race.labels) == 1:
        return f"median of {race.verdict.seeds} seeds" if race.verdict.seeds > 1 else "one seed"
    return ", ".join(filter(None, [SETTINGS.get(setting or "", setting), "same first guess", "same data"]))


def _evidence(race: _Race, val: _Race | None, brief: bool) -> Iterator[str]:
    """Sentences on diverged seeds, and on what is proved of each quantity."""
    yield from _notes(race, brief)
    if len(race.labels) == 1 or not race.running:
        return
    needed = seeds_needed(len(race.pairs), race.verdict.alpha)
    if race.verdict.seeds < needed:
        yield f"Too few seeds to say ({needed} needed for {len(race.labels)} racers)."
        return
    yield _proved(race, brief, "Holm") or _nothing_proved(race)
    if val is not None:
        yield f"{_capital(val.name)}: {_proved(val, brief=True) or 'no difference found.'}"


def _notes(race: _Race, brief: bool) -> Iterator[str]:
    """Racers that are ranked although some seeds diverged, or that blew up."""
    noted = [r for r in race.running if race.verdict.diverged[r] or race.labels[r] in race.marks]
    if len(noted) > (1 if brief else 2):
        yield f"{race.names(noted)} diverged on some seeds or blew up."
        return
    for r in noted:
        lost = f"diverged on {race.verdict.diverged[r]} of {race.verdict.seeds} seeds"
        yield f"{race.labels[r]} {race.marks.get(race.labels[r], lost)}."


def _proved(race: _Race, brief: bool, correction: str = "") -> str:
    """The differences of the best racer that has any, with wins unless brief, and p; empty if none."""
    for winner in race.verdict.order:
        beaten = [p for p in race.verdict.pairs if p.first == winner and p.answer is Answer.DIFFERENCE]
        if beaten:
            claim = f"{race.labels[winner]} beats {race.names([p.second for p in beaten])}"
            wins = "" if brief else f" {_wins(beaten)}"
            return f"{claim}{wins} ({', '.join(filter(None, [_p_value(beaten), correction]))})."
    return ""


def _nothing_proved(race: _Race) -> str:
    if all(pair.answer is Answer.IDENTICAL for pair in race.verdict.pairs):
        return f"{_capital(race.name)}: identical on all {race.verdict.seeds} seeds."
    smallest = min(race.verdict.pairs, key=lambda pair: pair.adjusted)
    return f"{_capital(race.name)}: no difference found (smallest {_p_value([smallest])}, Holm)."


def _wins(pairs: Sequence[Pair]) -> str:
    wins = {pair.comparison.wins for pair in pairs}
    least = "" if len(wins) == 1 else "at least "
    return f"on {least}{min(wins)} of {pairs[0].comparison.n} seeds{' each' if len(pairs) > 1 else ''}"


def _p_value(pairs: Sequence[Pair]) -> str:
    """Two significant digits; of unequal ones the largest, rounded up."""
    values = {pair.adjusted for pair in pairs}
    largest = max(values)
    if largest < 0.001:
        return "p < 0.001"
    if len(values) == 1:
        return f"p = {largest:.2g}"
    return f"p ≤ {Context(prec=2, rounding=ROUND_CEILING).create_decimal_from_float(largest):f}"


def _number(value: float, percent: bool = False) -> str:
    """Three significant digits, in full between 0.001 and 9,999; a share as 96.7%."""
    if percent:
        return f"{100 * value:.1f}%"
    if value == 0:
        return "0"
    if not 0.001 <= abs(value) < 9_999.5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def _series(items: Sequence[str], limit: int = NAMED) -> str:
    """ "a", "a and b", "a, b and c", "a, b, c and 5 more"; a single one more is named."""
    if len(items) > limit + 1:
        items = [*items[:limit], f"{len(items) - limit} more"]
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _plural(count: int, one: str, many: str | None = None) -> str:
    return one if count == 1 else many or f"{one}s"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
