"""The verdict against independent computations, in the extremes, and in simulated races."""

import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from core.analysis import Answer, Comparison, Floats, Verdict, compare, holm, seeds_needed, verdict

INF = float("inf")
RNG = np.random.default_rng


def flips_by_hand(differences: Floats) -> float:
    """Exact p by running through all 2^n sign patterns, with scipy's midranks of the nonzero differences."""
    nonzero = differences[differences != 0]
    ranks = scipy.stats.rankdata(np.abs(nonzero))
    observed = abs(np.sum(np.sign(nonzero) * ranks))
    patterns = itertools.product([-1, 1], repeat=len(nonzero))
    return float(np.mean([abs(np.dot(pattern, ranks)) >= observed for pattern in patterns]))


def holm_by_rejection(p: Floats) -> list[float]:
    """Adjusted p: the smallest alpha at which Holm's procedure, done step by step, rejects the hypothesis."""

    def rejected(alpha: float) -> set[int]:
        left = sorted(range(len(p)), key=lambda i: float(p[i]))
        done: set[int] = set()
        while left and p[left[0]] * len(left) <= alpha:
            done.add(left.pop(0))
        return done

    candidates = sorted({1.0, *(float(min(1, q * m)) for q in p for m in range(1, len(p) + 1))})
    return [next(alpha for alpha in candidates if i in rejected(alpha) or alpha == 1) for i in range(len(p))]


class TestHolm:
    def test_worked_example(self) -> None:
        # 4 * .005 = .02; 3 * .01 = .03; 2 * .03 = .06; 1 * .04 = .04, raised to the .06 before it
        np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])

    @given(st.lists(st.floats(0, 1), max_size=7))
    def test_is_the_step_down_procedure(self, p: list[float]) -> None:
        np.testing.assert_allclose(holm(p), holm_by_rejection(np.array(p)), atol=1e-15)

    @pytest.mark.parametrize("p", [[-0.1], [1.1], [float("nan")], 0.5, [[0.5]]])
    def test_refuses_what_is_no_family_of_p(self, p: object) -> None:
        with pytest.raises(ValueError, match="p values"):
            holm(p)  # type: ignore[arg-type]


class TestExactP:
    @pytest.mark.parametrize("n", [2, 5, 8, 12, 13, 20])
    def test_equals_scipy_without_ties(self, n: int) -> None:
        for seed in range(5):
            a, b = RNG(seed).lognormal(size=(2, n))
            expected = scipy.stats.wilcoxon(np.log(a / b), method="exact").pvalue
            assert compare(a, b).p == pytest.approx(expected, abs=1e-12)

    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
    @settings(max_examples=40, deadline=None)
    def test_equals_enumeration_with_ties_and_zeros(self, differences: list[int]) -> None:
        d = np.array(differences, dtype=float)
        assert compare(d, np.zeros_like(d)).p == pytest.approx(flips_by_hand(d), abs=1e-12)

    def test_convolution_equals_enumeration_with_ties_and_zeros(self) -> None:
        d = RNG(0).integers(-2, 4, size=14).astype(float)
        assert compare(d, np.zeros_like(d)).p == pytest.approx(flips_by_hand(d), abs=1e-12)

    @pytest.mark.parametrize("n", range(1, 16))
    def test_unanimous_seeds_reach_the_smallest_p(self, n: int) -> None:
        result = compare(np.arange(1.0, n + 1), 2 * np.arange(1.0, n + 1) + 1)
        assert result.p == result.smallest_p == 2.0 ** (1 - n)
        assert (result.wins, result.ties, result.n) == (n, 0, n)

    def test_rounding_does_not_break_ties(self) -> None:
        correct = np.array([432, 414, 410, 444, 407, 414])
        fewer = correct - [1, 1, 1, 1, -1, -1]
        result = compare(-correct / 450, -fewer / 450)
        assert len(np.unique(np.abs(correct / 450 - fewer / 450))) > 1  # equal on paper only
        assert result.p == flips_by_hand(np.array([1.0, 1, 1, 1, -1, -1]))


class TestCompare:
    def test_effect_and_interval_are_ratios_of_positive_losses(self) -> None:
        b = RNG(0).lognormal(size=8)
        result = compare(b / 2, b)
        assert result.scale == "ratio"
        np.testing.assert_allclose([result.effect, *result.interval], 0.5)

    def test_differences_where_a_value_is_not_positive(self) -> None:
        result = compare([0.0, 1.0, 5.0], [1.0, 3.0, 8.0])
        assert (result.scale, result.effect) == ("difference", -2.0)
        assert -3 <= result.interval[0] < result.interval[1] <= -1

    def test_interval_is_the_percentile_bootstrap(self) -> None:
        d = RNG(1).normal(size=10)
        resampled = np.sort(RNG(2).choice(d, size=(200_000, 10)).mean(axis=1))
        np.testing.assert_allclose(compare(d, np.zeros(10)).interval, np.quantile(resampled, [0.025, 0.975]), atol=0.05)

    @given(st.floats(1e-3, 1e3), st.integers(0, 1000))
    @settings(max_examples=30, deadline=None)
    def test_ratio_does_not_depend_on_the_unit(self, factor: float, seed: int) -> None:
        a, b = RNG(seed).lognormal(size=(2, 8))
        one, other = compare(a, b), compare(factor * a, factor * b)
        assert (one.p, one.wins, one.ties) == (other.p, other.wins, other.ties)
        np.testing.assert_allclose([one.effect, *one.interval], [other.effect, *other.interval])

    @given(st.integers(0, 1000))
    @settings(max_examples=30, deadline=None)
    def test_swapping_mirrors(self, seed: int) -> None:
        a, b = RNG(seed).normal(size=(2, 7))
        b[0] = INF
        one, other = compare(a, b), compare(b, a)
        assert (one.p, one.wins) == (other.p, 7 - other.wins)
        low, high = other.interval
        np.testing.assert_allclose([one.effect, *one.interval], [-other.effect, -high, -low])

    def test_one_infinity_is_the_largest_difference(self) -> None:
        result = compare([1.0, 1.0, 1.0, 9.0], [2.0, 3.0, INF, 1.0])
        assert result.p == flips_by_hand(np.array([1.0, 2, 4, -3]))

    def test_two_infinities_are_a_tie(self) -> None:
        result = compare([1.0, INF, INF], [2.0, INF, INF])
        assert (result.wins, result.ties, result.p, result.effect) == (1, 2, 1.0, 1.0)

    def test_opposite_infinities_cancel(self) -> None:
        result = compare([0.0, INF], [INF, 0.0])
        assert (result.effect, result.p, result.wins) == (0.0, 1.0, 1)

    def test_infinite_differences_are_capped_in_the_interval(self) -> None:
        result = compare([0.0] * 4, [INF, INF, INF, 3.0])
        assert result.effect == -INF
        assert result.interval[0] == pytest.approx(-6)  # all resampled seeds infinite: twice the 3
        assert result.interval[1] < 0

    def test_extreme_values_give_no_warning(self) -> None:
        assert compare([1e299] * 6, [5e-324] * 6).effect == INF
        assert compare([1e307, -1e299], [-1e308, 1e299]).ties == 1  # the first two count as diverged

    @pytest.mark.parametrize(
        ("a", "b"), [([1.0], [1.0, 2.0]), ([], []), (1.0, 2.0), ([[1.0]], [[1.0]]), ([float("nan")], [1.0])]
    )
    def test_refuses_what_is_not_paired(self, a: object, b: object) -> None:
        with pytest.raises(ValueError, match=r"paired|at least one|NaN"):
            compare(a, b)  # type: ignore[arg-type]


def answers(result: Verdict) -> list[str]:
    return [pair.answer.value for pair in result.against_leader]


class TestVerdict:
    def test_a_clear_race(self) -> None:
        base = RNG(0).lognormal(0, 0.3, size=8)
        result = verdict([3 * base, base, 2 * base])
        assert (result.order, result.leader, result.seeds) == ((1, 2, 0), 1, 8)
        np.testing.assert_allclose(result.medians, np.median(base) * np.array([3, 1, 2]))
        assert answers(result) == ["difference", "difference"]
        assert [(p.first, p.second) for p in result.pairs] == [(1, 2), (1, 0), (2, 0)]
        assert [p.adjusted for p in result.pairs] == pytest.approx([3 / 128] * 3)

    def test_pairs_are_those_of_compare(self) -> None:
        values = RNG(0).lognormal(size=(5, 7))
        values[0, :2] = values[3, 1] = INF
        values[2, 0] = 0.0  # one racer off the ratio scale
        for pair in verdict(values).pairs:
            one = compare(values[pair.first], values[pair.second])
            both: tuple[Comparison, Comparison] = (one, pair.comparison)
            assert len({(c.p, c.wins, c.ties, c.scale) for c in both}) == 1
            np.testing.assert_allclose([one.effect, *one.interval], [both[1].effect, *both[1].interval])

    @given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 10), st.data())
    @settings(max_examples=40, deadline=None)
    def test_permuting_the_racers_permutes_the_verdict(
        self, seed: int, racers: int, seeds: int, data: st.DataObject
    ) -> None:
        rng = RNG(seed)
        values = rng.lognormal(rng.normal(size=(racers, 1)), 0.5, size=(racers, seeds))
        places = data.draw(st.permutations(range(racers)))
        one, other = verdict(values), verdict(values[places])
        assert one.order == tuple(places[r] for r in other.order)
        assert answers(one) == answers(other)
        assert [p.adjusted for p in one.pairs] == [p.adjusted for p in other.pairs]

    def test_the_order_of_the_seeds_does_not_change_p(self) -> None:
        values = RNG(0).lognormal(size=(3, 8))
        one, other = verdict(values), verdict(values[:, ::-1])
        assert [p.adjusted for p in one.pairs] == [p.adjusted for p in other.pairs]

    def test_identical_racers(self) -> None:
        row = [1.0, 2.0, INF, 0.0, 1.0, 1.0, 1.0, 1.0]
        assert answers(verdict([row, row])) == ["identical"]
        assert verdict([row, row]).order == (0, 1)

    def test_too_few_seeds_however_clear(self) -> None:
        values = np.outer([1, 10, 100], np.arange(1, 8))
        assert answers(verdict(values[:, :6])) == ["too few seeds to say"] * 2
        assert answers(verdict(values)) == ["difference"] * 2

    def test_no_difference_in_noise(self) -> None:
        values = np.array([[1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 6, 5, 8, 7], [3, 3, 3, 3, 6, 6, 6, 6]])
        assert answers(verdict(values)) == ["no difference found"] * 2

    def test_significant_is_not_enough_without_three_quarters_of_the_seeds(self) -> None:
        n = 40
        d = np.where(np.arange(n) % 10 < 7, -10.0, 1.0) * np.linspace(1, 2, n)  # 7 of 10 seeds, by far
        result = verdict([d - 100, np.full(n, -100.0)]).pairs[0]
        assert (result.adjusted < 0.001, result.answer) == (True, Answer.NONE_FOUND)
        assert result.comparison.interval[1] < 0

    def test_significant_is_not_enough_with_zero_in_the_interval(self) -> None:
        d = np.append(-np.linspace(1, 1.1, 11), 33.0)  # 11 of 12 seeds by a little, one lost by far
        result = verdict(np.stack([d, np.zeros(12)])).pairs[0]
        assert (result.adjusted < 0.05, result.comparison.wins) == (True, 11)
        assert (result.first, result.answer) == (0, Answer.NONE_FOUND)

    def test_a_diverged_racer_is_last_and_behind(self) -> None:
        values: list[list[float]] = [[INF] * 8, [*range(1, 9)], [INF, *range(2, 9)]]
        result = verdict(values)
        assert (result.order, result.diverged) == ((1, 2, 0), (8, 0, 1))
        assert result.medians[0] == INF
        assert result.against_leader[1].answer is Answer.DIFFERENCE

    def test_all_diverged(self) -> None:
        result = verdict(np.full((3, 8), INF))
        assert (answers(result), result.diverged) == (["identical", "identical"], (8, 8, 8))

    def test_fewer_diverged_seeds_decide_between_infinite_medians(self) -> None:
        assert verdict([[INF] * 4, [1.0, INF, INF, INF], [1.0, 2.0, INF, INF]]).order == (2, 1, 0)

    def test_higher_is_better(self) -> None:
        accuracy = np.linspace(0.8, 0.9, 8)
        for worst in (INF, -INF):
            result = verdict(np.stack([accuracy, accuracy + 0.05, np.full(8, worst)]), higher_is_better=True)
            assert result.order == (1, 0, 2)
            assert result.medians == pytest.approx((0.85, 0.9, -INF))
            assert answers(result) == ["difference"] * 2

    def test_one_racer_and_one_seed(self) -> None:
        assert (verdict([[0.5]]).order, verdict([[0.5]]).pairs) == ((0,), ())
        assert answers(verdict([[0.5], [0.4]])) == ["too few seeds to say"]
        assert answers(verdict([[0.5], [0.5]])) == ["identical"]

    @pytest.mark.parametrize("values", [[], [1.0], [[]], np.zeros((0, 3)), [[float("nan")]]])
    def test_refuses_what_is_no_race(self, values: object) -> None:
        with pytest.raises(ValueError, match=r"at least one|NaN"):
            verdict(values)  # type: ignore[arg-type]

    @pytest.mark.parametrize("alpha", [0.0, 1.0, float("nan")])
    def test_refuses_alpha_outside_its_range(self, alpha: float) -> None:
        with pytest.raises(ValueError, match="alpha"):
            verdict([[1.0]], alpha=alpha)

    @pytest.mark.parametrize(("racers", "seeds", "limit"), [(3, 8, 0.5e-3), (8, 10, 5e-3)])
    def test_is_fast(self, racers: int, seeds: int, limit: float) -> None:
        values = RNG(0).lognormal(size=(racers, seeds))
        assert _best_of(50, lambda: verdict(values)) < limit


def _best_of(times: int, action: Callable[[], object]) -> float:
    """Seconds of the fastest call: on a busy machine the others measure the neighbours."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.parametrize(("pairs", "seeds"), [(0, 1), (1, 6), (3, 7), (10, 9), (21, 10), (28, 11)])
def test_seeds_needed(pairs: int, seeds: int) -> None:
    assert seeds_needed(pairs) == seeds


@pytest.mark.parametrize(("pairs", "alpha"), [(-1, 0.05), (3, 0.0), (3, 1.0)])
def test_seeds_needed_refuses_nonsense(pairs: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"pairs|alpha"):
        seeds_needed(pairs, alpha)


# Simulated races: of 2,000 without a difference, claims in at most 6.5% (5% and 3 standard errors).
RACES = (2_000, 3, 8)


def _lognormal(rng: np.random.Generator) -> Floats:
    return np.exp(rng.normal(size=(RACES[0], 1, RACES[2])) + 0.5 * rng.normal(size=RACES))


def _heavy_tailed(rng: np.random.Generator) -> Floats:
    return np.exp(rng.normal(size=(RACES[0], 1, RACES[2])) + np.clip(rng.standard_cauchy(RACES), -50, 50))


def _all_but_tied(rng: np.random.Generator) -> Floats:
    return rng.choice([0.05, 0.06, 0.07], p=[0.64, 0.32, 0.04], size=RACES)


def _often_diverged(rng: np.random.Generator) -> Floats:
    return np.where(rng.random(RACES) < 0.3, INF, _lognormal(rng))


@pytest.mark.parametrize("draw", [_lognormal, _heavy_tailed, _all_but_tied, _often_diverged])
def test_chance_alone_rarely_makes_a_difference(draw: Callable[[np.random.Generator], Floats]) -> None:
    claims = [any(pair.answer is Answer.DIFFERENCE for pair in verdict(values).pairs) for values in draw(RNG(7))]
    assert np.mean(claims) <= 0.065


def test_a_factor_of_two_is_found() -> None:
    rng = RNG(8)
    noise = np.exp(rng.normal(size=(300, 1, 8)) + 0.1 * rng.normal(size=(300, 3, 8)))
    found = [answers(verdict(values)) for values in noise * np.array([[1.0], [2.0], [2.0]])]
    assert np.mean([both == ["difference"] * 2 for both in found]) > 0.95
