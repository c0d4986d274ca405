"""The verdict of a race: is the leader ahead, or is that chance?

Every racer runs on the same seeds (same first weights, same data order), so the comparison is paired by
seed. A difference is claimed only where an exact test, a bootstrap interval, the direction and the share of
seeds won all agree: a bootstrap interval alone gives about 16% false alarms at 5 seeds and 10% at 10.

A verdict speaks of one moment. A page that shows one at each of 60 checkpoints looks 60 times, and the error
rate `alpha` holds for each look, not for the best of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95  # of the bootstrap intervals
RESAMPLES = 2_000
WIN_SHARE = 0.75  # of the seeds (ties half), the least that is called a win
ENUMERATED = 12  # up to this many seeds all sign patterns are listed (2,048 at 12)
LIMIT = 1e300  # a value this large counts as diverged: differences and their doubles stay finite
# Losses come from float32 tables. Differences nearer than this, relative to the losses, are ties: else the
# last bit would decide the rank order of accuracies such as 434/450 - 433/450 and 431/450 - 430/450.
ROUNDING = 4 * float(np.finfo(np.float32).eps)


class Answer(Enum):
    """What may be said of two racers."""

    DIFFERENCE = "difference"
    NONE_FOUND = "no difference found"
    TOO_FEW = "too few seeds to say"
    IDENTICAL = "identical"


@dataclass(frozen=True, slots=True)
class Comparison:
    """a against b, paired by seed, lower is better; see `compare`."""

    n: int  # seeds
    wins: int  # seeds on which a is strictly better
    ties: int  # seeds on which a and b are exactly equal, or both diverged
    p: float  # exact, two-sided, not adjusted for other comparisons
    interval: tuple[float, float]  # 95%, of the mean paired difference, or of the ratio of geometric means
    effect: float  # median of a / b, or of a - b
    scale: Literal["ratio", "difference"]

    @property
    def smallest_p(self) -> float:
        """2^(1-n): the p of unanimous seeds, the smallest that n seeds can reach."""
        return float(2.0 ** (1 - self.n))

    @property
    def null(self) -> float:
        """The effect of no effect: 1 for a ratio, 0 for a difference."""
        return 1.0 if self.scale == "ratio" else 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two racers of a verdict: `first` precedes `second` in its order, and is the a of the comparison."""

    first: int
    second: int
    comparison: Comparison
    adjusted: float  # Holm-adjusted p
    answer: Answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a race shows at one moment; racers are named by their row in `values`. See `verdict`."""

    order: tuple[int, ...]  # best to worst by median over the seeds
    medians: tuple[float, ...]  # [k], of each row, in the caller's units; infinite (as the worst) if diverged
    pairs: tuple[Pair, ...]  # all k(k-1)/2; the leader's come first, in order
    diverged: tuple[int, ...]  # [k], diverged seeds of each row
    seeds: int
    alpha: float

    @property
    def leader(self) -> int:
        """The racer with the best median. Whether it leads is for the answers to say."""
        return self.order[0]

    @property
    def against_leader(self) -> tuple[Pair, ...]:
        """The leader's pairs with each other racer, in order [k - 1]."""
        return self.pairs[: len(self.order) - 1]


def compare(a: ArrayLike, b: ArrayLike) -> Comparison:
    """Compare two racers on the same seeds; lower is better.

    The paired difference is d_i = ln(a_i / b_i) where all values are positive ("ratio"), else a_i - b_i
    ("difference"). An infinite value is a diverged run: two are a tie (d = 0), one makes a difference beyond
    all finite ones.

    p: Wilcoxon's signed-rank test, exact. With r_i the midrank of |d_i| among the nonzero differences and
    W = sum_i sign(d_i) r_i, p is the share of the 2^n sign patterns s with |sum_i s_i r_i| >= |W|. Zeros
    have no weight; ties share their midrank, and the test stays exact, as it conditions on the ranks. Up to
    12 seeds the patterns are listed; beyond, the same distribution is made by convolution, still exact.

    interval: 95% percentile bootstrap of mean(d), 2,000 resamples of the seeds, the same ones at each call.
    There an infinite d counts as twice the largest finite |d| of this comparison (2 if that is 0), so with
    diverged runs only the side of the interval means something, not its width. effect: median of the d_i,
    infinities included. On the ratio scale both are given as ratios, exp(.).

    Args:
        a, b: [n], finite or infinite (diverged; so is a magnitude of 1e300 or more), in the same units.

    Raises:
        ValueError: a and b are not both [n] with the same n >= 1, or hold a NaN.

    Source: F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1 (1945); the
    percentile interval: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two paired samples must both be [n], not {a.shape} and {b.shape}")
    costs = _costs(np.stack([a, b]), higher_is_better=False)
    return _compare_rows(costs, np.array([0]), np.array([1]))[0]


def holm(p: ArrayLike) -> Floats:
    """Adjust p values for their number: rejecting where the result is <= alpha keeps the family-wise error.

    Step-down: with p sorted ascending, adjusted_(i) = min(1, max_{j <= i} (m - j + 1) p_(j)).

    Args:
        p: [m], each in [0, 1].

    Returns:
        [m], in the order given.

    Raises:
        ValueError: p is not [m], or not all of it lies in [0, 1].

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979).
    """
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p values must be [m], each in [0, 1]")
    ascending = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(p[ascending] * np.arange(p.size, 0, -1)))
    return adjusted


def verdict(values: ArrayLike, alpha: float = 0.05, higher_is_better: bool = False) -> Verdict:
    """Judge a race: order the racers by median and say of each pair what the seeds allow.

    The racers are ordered by median over the seeds; equal medians by fewer diverged seeds, then by row. The
    family of tests is all k(k-1)/2 pairs, since the leader is chosen after looking. A pair (first, second):
      IDENTICAL   all paired differences are exactly 0, or both diverged on every seed;
      TOO_FEW     else, if even unanimous seeds could not reach alpha: 2^(1-n) k(k-1)/2 > alpha;
      DIFFERENCE  else, if the Holm-adjusted exact p <= alpha, and the bootstrap interval lies wholly on
                  first's side, and (wins + ties/2)/n >= 0.75 for first. The order by medians, the mean and
                  the majority then agree in direction;
      NONE_FOUND  else. It is not a proof of equality, which would need a margin declared before.

    Args:
        values: [k, n], k racers on the same n seeds. An infinity of either sign is a diverged run: it counts
            as worst and is never dropped.
        alpha: family-wise error rate.
        higher_is_better: for an accuracy. The comparisons are then those of the negated values.

    Raises:
        ValueError: values is not [k, n] with k, n >= 1, or holds a NaN; alpha is not in (0, 1).

    Source: the conditions are the project's own protocol for "A beats B"; for the parts, `compare`, `holm`.
    """
    _check_alpha(alpha)
    costs = _costs(values, higher_is_better)
    racers, seeds = costs.shape
    diverged = np.isinf(costs).sum(axis=1)
    medians = np.median(costs, axis=1)
    order = np.lexsort((diverged, medians))
    left, right = (order[i] for i in np.triu_indices(racers, 1))
    return Verdict(
        order=tuple(order.tolist()),
        medians=tuple((-medians if higher_is_better else medians).tolist()),
        pairs=_judged(costs, left, right, alpha),
        diverged=tuple(diverged.tolist()),
        seeds=seeds,
        alpha=alpha,
    )


def against(values: ArrayLike, reference: int, alpha: float = 0.05) -> tuple[Pair, ...]:
    """Judge each racer against one that was named before looking, as `verdict` does; the family is those k - 1 pairs.

    Of each pair the one with the better median is its `first`.

    Args:
        values: [k, n], as for `verdict`, lower is better; `reference` is a row of it.

    Raises:
        ValueError: as for `verdict`, or there is no such row.
    """
    _check_alpha(alpha)
    costs = _costs(values, higher_is_better=False)
    if not 0 <= reference < len(costs):
        raise ValueError(f"reference must be a row of {len(costs)}, not {reference}")
    rank = np.argsort(np.lexsort((np.isinf(costs).sum(axis=1), np.median(costs, axis=1))))
    others = [row for row in range(len(costs)) if row != reference]
    sides = [(row, reference) if rank[row] < rank[reference] else (reference, row) for row in others]
    left, right = np.array(sides, dtype=np.int64).reshape(-1, 2).T
    return _judged(costs, left, right, alpha)


def seeds_needed(pairs: int, alpha: float = 0.05) -> int:
    """Count the seeds below which no difference can be found: the smallest n with 2^(1-n) pairs <= alpha.

    Args:
        pairs: comparisons in the family: k(k-1)/2 for k racers; 1 pair needs 6 seeds, 3 need 7, 28 need 11.
        alpha: family-wise error rate.

    Raises:
        ValueError: pairs < 0, or alpha is not in (0, 1).
    """
    _check_alpha(alpha)
    if pairs < 0:
        raise ValueError(f"pairs must be at least 0, not {pairs}")
    seeds = 1
    while 2.0 ** (1 - seeds) * pairs > alpha:
        seeds += 1
    return seeds


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), not {alpha}")


def _costs(values: ArrayLike, higher_is_better: bool) -> Floats:
    """Check the values [k, n] and turn them so that lower is better and diverged is +inf."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"values must be [racers, seeds], at least one of each, not {values.shape}")
    if np.isnan(values).any():
        raise ValueError("values hold a NaN: a diverged run is an infinity, a missing one cannot be judged")
    return np.where(np.abs(values) < LIMIT, -values if higher_is_better else values, np.inf)


def _judged(costs: Floats, left: Ints, right: Ints, alpha: float) -> tuple[Pair, ...]:
    """Compare rows left[q] of costs [k, n] with rows right[q], and say of each pair what the seeds allow."""
    comparisons = _compare_rows(costs, left, right)
    adjusted = holm([c.p for c in comparisons])
    return tuple(
        Pair(first, second, comparison, p, _answer(comparison, p, len(comparisons), alpha))
        for first, second, comparison, p in zip(
            left.tolist(), right.tolist(), comparisons, adjusted.tolist(), strict=True
        )
    )


def _answer(comparison: Comparison, adjusted: float, pairs: int, alpha: float) -> Answer:
    if comparison.ties == comparison.n:
        return Answer.IDENTICAL
    if comparison.smallest_p * pairs > alpha:
        return Answer.TOO_FEW
    won = comparison.wins + comparison.ties / 2 >= WIN_SHARE * comparison.n
    if adjusted <= alpha and comparison.interval[1] < comparison.null and won:
        return Answer.DIFFERENCE
    return Answer.NONE_FOUND


@dataclass(frozen=True, slots=True)
class _Paired:
    """Paired differences of q pairs of rows; infinite ones are kept apart from all arithmetic."""

    finite: Floats  # [q, n], 0 where a run diverged
    beyond: Ints  # [q, n], 1 where only the left run diverged, -1 where only the right one, else 0
    ratio: NDArray[np.bool_]  # [q], differences of logarithms
    rounding: Floats  # [q], magnitudes nearer than this are ties

    @property
    def signs(self) -> Floats:
        return np.sign(self.finite) + self.beyond


def _pair(costs: Floats, left: Ints, right: Ints) -> _Paired:
    ended = np.isfinite(costs)
    positive = np.all(costs > 0, axis=1)
    plain = np.where(ended, costs, 0.0)
    logs = np.log(np.where(ended & positive[:, None], costs, 1.0))
    ratio = np.asarray(positive[left] & positive[right])
    finite = np.where(ratio[:, None], logs[left] - logs[right], plain[left] - plain[right])
    largest = np.abs(plain).max(axis=1)
    return _Paired(
        finite=np.where(ended[left] & ended[right], finite, 0.0),
        beyond=ended[right].astype(np.int64) - ended[left],
        ratio=ratio,
        rounding=ROUNDING * np.where(ratio, 1.0, np.maximum(largest[left], largest[right])),
    )


def _compare_rows(costs: Floats, left: Ints, right: Ints) -> list[Comparison]:
    """Compare rows left[q] of costs [k, n] with rows right[q], all pairs at once."""
    paired = _pair(costs, left, right)
    n = costs.shape[1]
    summary = np.vstack([_intervals(paired), _median_differences(paired)])
    with np.errstate(over="ignore"):  # a ratio too large for a float is infinite
        np.exp(summary, out=summary, where=paired.ratio)
    columns = zip(
        (paired.signs < 0).sum(axis=1).tolist(),
        (paired.signs == 0).sum(axis=1).tolist(),
        _exact_p(_signed_ranks(paired)).tolist(),
        summary.T.tolist(),
        paired.ratio.tolist(),
        strict=True,
    )
    return [
        Comparison(n, wins, ties, p, (low, high), effect, "ratio" if ratio else "difference")
        for wins, ties, p, (low, high, effect), ratio in columns
    ]


def _signed_ranks(paired: _Paired) -> Floats:
    """Twice the signed midranks of the nonzero differences [q, n]: integers, so that sums of them are exact.

    2 midrank_i = m + 1 + (number smaller than i) - (number larger than i), of the m nonzero magnitudes.
    """
    signs = paired.signs
    size = np.where(paired.beyond == 0, np.abs(paired.finite), np.inf)
    larger = size[:, :, None] - paired.rounding[:, None, None] > size[:, None, :]  # [q, i, j]: i above j
    counted = signs != 0
    larger &= counted[:, :, None] & counted[:, None, :]
    doubled = counted.sum(axis=1, keepdims=True) + 1 + larger.sum(axis=2) - larger.sum(axis=1)
    return np.asarray(signs * doubled, dtype=np.float64)


def _exact_p(signed: Floats) -> Floats:
    """Two-sided p of the sign-flip test [q] for integer weights with signs [q, n]."""
    if signed.shape[1] > ENUMERATED:
        return np.array([_convolved_p(row) for row in signed])
    totals = np.abs(np.abs(signed) @ _sign_patterns(signed.shape[1]))
    observed = np.abs(signed.sum(axis=1, keepdims=True))
    return np.asarray((totals >= observed).mean(axis=1), dtype=np.float64)


def _convolved_p(signed: Floats) -> float:
    """The p of one pair by the distribution of S, the sum of weights that get a plus; W = 2 S - sum."""
    weights = np.abs(signed).astype(np.int64)
    chance = np.zeros(weights.sum() + 1)  # chance[s] = P(S = s)
    chance[0] = 1.0
    for weight in weights[weights > 0]:
        shifted = np.concatenate([np.zeros(weight), chance[:-weight]])
        chance = (chance + shifted) / 2
    totals = np.abs(2 * np.arange(chance.size) - weights.sum())
    return min(1.0, float(chance[totals >= abs(signed.sum())].sum()))


@lru_cache(maxsize=ENUMERATED)
def _sign_patterns(n: int) -> Floats:
    """Half of the sign patterns [n, 2^(n-1)], the first sign being +; the other half are their negatives."""
    bits = np.arange(2 ** (n - 1)) >> np.arange(n)[::-1, None] & 1
    return _frozen(np.where(bits, -1.0, 1.0))


@lru_cache(maxsize=32)
def _resamples(n: int) -> Floats:
    """Weights [n, 2000] of the seeds in each bootstrap resample, always the same; each column sums to 1."""
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return _frozen(np.ascontiguousarray(counts.T / n))


def _frozen(array: Floats) -> Floats:
    array.flags.writeable = False  # sessions share it
    return array


def _intervals(paired: _Paired) -> Floats:
    """Percentile bootstrap intervals of the mean difference [2, q]."""
    largest = np.abs(paired.finite).max(axis=1, keepdims=True)
    unit = np.where(largest > 0, largest, 1.0)
    means = (paired.finite / unit + 2.0 * paired.beyond) @ _resamples(paired.finite.shape[1])
    tail = round(RESAMPLES * (1 - LEVEL) / 2)
    bounds = [tail - 1, RESAMPLES - tail]  # mirror images, so that swapping two racers mirrors the interval
    return np.asarray(np.partition(means, bounds, axis=1)[:, bounds] * unit).T


def _median_differences(paired: _Paired) -> Floats:
    """Medians of the differences, infinities included [q]; the middle of -inf and +inf is 0."""
    full = np.sort(np.where(paired.beyond == 0, paired.finite, np.copysign(np.inf, paired.beyond)), axis=1)
    n = full.shape[1]
    low, high = full[:, (n - 1) // 2], full[:, n // 2]
    return np.add(low / 2, high / 2, out=np.zeros(len(full)), where=low != -high)
