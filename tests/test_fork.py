"""Forks share their trunk's past to the bit, whether they are trained again or grafted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core import RULES, Config, Edit, State, advance, edit, race, racer, start
from core.config import Reset
from core.fork import branch, graft, twins
from tests.strategies import table_rows
from tests.test_properties import assert_same_bits, trained

AT = 6
STEPS = 12
BATCH = 1077  # all of the data, as some rules need


def trunk(*rules: str, steps: int = STEPS) -> Config:
    """A race on a small network: spikes, a reset and a change of rate in each racer's past."""
    racers = [racer(rule, schedule=("step", {"every": 5}), reset=Reset("m", 4)) for rule in rules]
    edits = [
        entry
        for i in range(len(rules))
        for entry in (edit(2, i, "scale_gradient", factor=20.0), edit(3, i, "reset", what="v"))
    ]
    return race(("digits", {"width": 4}), racers, steps=steps, batch=BATCH, seeds=2, edits=edits)


def rows_of(config: Config, state: State, racer: int) -> dict[str, torch.Tensor]:
    """All of a racer's rows in a state, by name."""
    rows, rule = table_rows(config)[racer], config.racers[racer].rule
    first = table_rows(config)[[r.rule == rule for r in config.racers]].min()
    columns = ("params", "first_guess", "evaluations", "stopped", "reason", "first_loss", "smooth", "blown", "cuts")
    found = {name: getattr(state, name)[rows] for name in columns}
    for kind in ("slots", "ages", "carried"):
        found |= {f"{kind}.{name}": t[rows - first] for name, t in getattr(state, kind).get(rule, {}).items()}
    return found


def test_a_fork_that_changes_nothing_is_its_trunk() -> None:
    """Every rule at once: all that is recorded and all of the state, to the bit."""
    config = trunk(*RULES)
    forked = config
    for index in range(len(RULES)):
        forked = branch(forked, index, AT)
    history, end = trained(forked)
    half = len(RULES)
    assert_same_bits(history, history, (range(half), range(half, 2 * half)))
    for index in range(half):
        own, other = rows_of(forked, end, index), rows_of(forked, end, half + index)
        assert own.keys() == other.keys()
        for name, table in own.items():
            assert np.array_equal(table, other[name], equal_nan=table.is_floating_point()), (index, name)


@pytest.mark.parametrize(
    "own",
    [
        edit(AT, 0, "reset", what="m"),
        edit(AT, 0, "reset", what="v"),
        edit(AT, 0, "reset", what="all"),
        edit(AT, 0, "reset", what="count"),
        edit(AT, 0, "reset", what="all", count="kept"),
        edit(AT, 0, "set", setting="lr", value=0.02),
        edit(AT, 0, "reinitialise", draw=1),
        edit(AT + 2, 0, "scale_gradient", factor=100.0),
    ],
    ids=lambda own: f"{own.what.name}-{own.what.settings[0][1]}",
)
def test_a_fork_parts_from_its_trunk_where_it_says(own: Edit) -> None:
    """Equal losses up to the edit's step, others after it: each of the choices does something."""
    config = branch(trunk("adam"), 0, AT, own)
    loss = trained(config)[0].loss
    first = own.step + 1 if own.what.name != "reinitialise" else own.step
    assert np.array_equal(loss[:first, 0], loss[:first, 1])
    assert (loss[first:, 0] != loss[first:, 1]).any(axis=0).all()


def test_a_graft_is_what_training_again_would_give() -> None:
    """Of every rule, and of a fork of a fork: the state to the bit, and all that comes of it."""
    config = trunk(*RULES)
    state, _ = advance(config, start(config), AT)
    forked = branch(config, 3, AT, edit(AT, 0, "reset", what="all"))
    for index in range(0, len(RULES), 2):
        forked = branch(forked, index, AT, edit(AT, 0, "reset", what="v"))
    forked = branch(forked, len(RULES), AT, edit(AT + 1, 0, "mislabel"))
    again, _ = advance(forked, start(forked), AT)
    found = graft(config, state, forked)
    assert_same_bits(found, again)
    assert_same_bits(advance(forked, found, STEPS)[0], advance(forked, again, STEPS)[0])


def test_a_graft_follows_schedules_that_react_and_rows_that_stopped() -> None:
    """What a plateau has seen and cut, which row has stopped and why, is copied with the row."""
    racers = [racer("sgd", lr=0.3, schedule=("plateau", {"patience": 0.02})), racer("sgd", lr=900.0), racer("adam")]
    config = race("quadratic", racers, steps=200, seeds=2)
    state, _ = advance(config, start(config), 150)
    assert (state.cuts[table_rows(config)[0]] >= 0).any()
    assert (state.stopped[table_rows(config)[1]] >= 0).all()
    forked = branch(branch(config, 0, 150), 2, 150, edit(150, 0, "set", setting="lr", value=0.1))
    again, _ = advance(forked, start(forked), 150)
    assert_same_bits(graft(config, state, forked), again)


def test_a_graft_takes_branches_away_and_changes_their_order() -> None:
    """A config whose racers are some of those before, in another order, is grafted as well."""
    config = branch(trunk("adam", "momentum"), 0, AT, edit(AT, 0, "reset", what="v"))
    state, _ = advance(config, start(config), AT + 3)
    moved = [replace(e, racer=0) for e in config.edits if e.racer == 2]
    fewer = replace(config, racers=(config.racers[2],), edits=tuple(moved))
    assert_same_bits(graft(config, state, fewer), advance(fewer, start(fewer), AT + 3)[0])
    bare = replace(trunk("adam", "momentum"), edits=())
    spiked = branch(bare, 0, 0, edit(2, 0, "scale_gradient", factor=9.0))
    state, _ = advance(spiked, start(spiked), AT)
    assert state.carried
    assert_same_bits(graft(spiked, state, bare), advance(bare, start(bare), AT)[0])


def test_a_fork_at_the_first_guess_has_no_past() -> None:
    config = branch(trunk("adam"), 0, 0, edit(0, 0, "reinitialise", draw=3))
    assert [e for e in config.edits if e.racer == 1] == [edit(0, 1, "reinitialise", draw=3)]
    assert_same_bits(graft(trunk("adam"), start(trunk("adam")), config), start(config))


def test_a_fork_can_be_written() -> None:
    config = branch(trunk("adam"), 0, AT, edit(AT, 0, "reset", what="all", count="kept"))
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("index", "at", "words"),
    [
        (0, STEPS, ("step of a fork", "12", "from 0 to 11", "nothing is left")),
        (0, STEPS + 1, ("step of a fork", "13", "from 0 to 11")),
        (0, -1, ("step of a fork", "-1")),
        (0, 1.5, ("step of a fork", "1.5", "whole number")),
        (0, True, ("step of a fork", "True", "whole number")),
        (1, 3, ("racer of a fork", "1", "from 0 to 0")),
    ],
)
def test_forks_that_cannot_be(index: int, at: int, words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="fork") as found:
        branch(trunk("adam"), index, at)
    assert all(word in str(found.value) for word in words)
    assert "\n" not in str(found.value)


def test_grafts_that_cannot_be() -> None:
    """Another past, another race, an edit before the fork, a racer that had stopped: one sentence each."""
    config = trunk("adam")
    state, _ = advance(config, start(config), AT)
    with pytest.raises(ValueError, match="step 3, before the fork itself, at 6"):
        branch(config, 0, AT, edit(3, 0, "reset", what="m"))
    earlier = branch(config, 0, 3, edit(4, 0, "reset", what="m"))
    with pytest.raises(ValueError, match=r"Racer 1 of the fork had another past .* reset at step 4"):
        graft(config, state, earlier)
    with pytest.raises(ValueError, match="another past"):
        graft(config, state, replace(config, racers=(racer("sgd"),)))
    with pytest.raises(ValueError, match="shares its trunk's problem"):
        graft(config, state, replace(config, steps=STEPS + 1))
    wild = race("quadratic", [racer("sgd", lr=900.0)], steps=80, seeds=2)
    stopped, _ = advance(wild, start(wild), 70)
    assert (stopped.stopped >= 0).all()
    with pytest.raises(ValueError, match=r"Racer 0 stopped at step \d+ \(its \w+ (is|are) not finite\): a fork at"):
        graft(wild, stopped, branch(wild, 0, 70))


def test_one_seed_that_stopped_does_not_refuse_a_fork() -> None:
    """The others go on, and it stays where it stopped."""
    wild = race("rosenbrock", [racer("sgd", lr=0.004)], steps=60, seeds=8)
    state, _ = advance(wild, start(wild), 50)
    stopped = state.stopped >= 0
    assert stopped.any()
    assert not stopped.all()
    forked = branch(wild, 0, 50)
    found = graft(wild, state, forked)
    assert torch.equal(found.stopped[8:], state.stopped)


# --- twins


def spiked(*indices: int) -> list[Edit]:
    return [edit(2, index, "scale_gradient", factor=9.0) for index in indices]


RATES = [edit(0, 0, "set", setting="lr", value=0.1), edit(1, 0, "set", setting="lr", value=0.001)]
RESETS = [edit(5, index, "reset", what="v") for index in range(3)]


@pytest.mark.parametrize(
    ("rules", "edits", "expected"),
    [
        (("adam", "adam"), spiked(0), (1, None)),
        (("adam", "sgd", "sgd", "adam"), spiked(0, 1), (3, 2, None, None)),
        (("adam", "adam", "sgd"), spiked(0, 2), (1, None, 1)),
        (("adam", "adam", "adam"), [*spiked(0), RESETS[0], RESETS[2]], (2, None, None)),
        (("adam", "adam", "adam"), [*spiked(0), RESETS[2]], (1, None, None)),
        (("adam", "sgd"), spiked(0, 1), (None, None)),
        (("adam", "adam"), RATES, (1, None)),
        (("adam", "adam"), RATES[1:], (None, None)),
        (("adam", "adam"), [], (None, None)),
    ],
    ids=["with", "by-rule", "another-rule", "same-edits", "other-edits", "nobody", "first-step", "later-rate", "none"],
)
def test_a_twin_is_a_racer_to_which_nothing_bad_happens(
    rules: tuple[str, ...], edits: list[Edit], expected: tuple[int | None, ...]
) -> None:
    assert twins(race("quadratic", [racer(rule) for rule in rules], steps=20, edits=edits)) == expected


def test_a_fork_after_the_spike_has_its_trunks_twin_and_one_before_it_needs_none() -> None:
    config = race("quadratic", [racer("adam"), racer("adam")], steps=20, edits=spiked(0))
    late, early = branch(config, 0, 5, edit(5, 0, "reset", what="v")), branch(config, 0, 1)
    assert twins(late) == (1, None, 1) and twins(early) == (1, None, None)


def test_another_setting_from_the_start_is_no_spike() -> None:
    """A fork at the first guess is a racer of its own; only a rate that is another one for one step is too large."""
    config = race("quadratic", [racer("adam")], steps=20)
    rate = config.racers[0].get("lr")
    for setting, value in (("beta1", 0.5), ("lr", 10 * rate)):
        assert twins(branch(config, 0, 0, edit(0, 0, "set", setting=setting, value=value))) == (None, None)
    hot = (edit(0, 0, "set", setting="lr", value=10 * rate), edit(1, 0, "set", setting="lr", value=rate))
    assert twins(branch(config, 0, 0, *hot)) == (None, 0)
