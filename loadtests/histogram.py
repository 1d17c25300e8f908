"""Latencies in few numbers: how many fell into each bucket, each 1 % wider than the one before."""

import math
from collections.abc import Iterable, Mapping

GROWTH = 1.01
"""Upper edge of a bucket over its lower edge."""

_LEAST_MS = 0.01

Histogram = dict[int, int]
"""Counts by bucket; an empty bucket has no entry."""


def bucket_of(milliseconds: float) -> int:
    """Returns the bucket of a latency; everything below 0.01 ms is in bucket 0."""
    return max(0, math.ceil(math.log(max(milliseconds, _LEAST_MS) / _LEAST_MS, GROWTH)))


def upper_ms(bucket: int) -> float:
    """Returns the largest latency in a bucket: percentiles are never flattered."""
    return _LEAST_MS * GROWTH**bucket


def merged(histograms: Iterable[Mapping[int, int]]) -> Histogram:
    """Returns one histogram with the counts of all."""
    total: Histogram = {}
    for histogram in histograms:
        for bucket, count in histogram.items():
            total[bucket] = total.get(bucket, 0) + count
    return total


def percentile_ms(histogram: Mapping[int, int], percent: float) -> float:
    """Returns a latency that so many percent do not exceed, at most 1 % too large; NaN without any."""
    wanted = sum(histogram.values()) * percent / 100
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= wanted:
            return upper_ms(bucket)
    return math.nan


def share_within(histogram: Mapping[int, int], limit_ms: float) -> float:
    """Returns the share of latencies that do not exceed a limit, by upper edges; NaN without any."""
    total = sum(histogram.values())
    return (
        sum(count for bucket, count in histogram.items() if upper_ms(bucket) <= limit_ms) / total if total else math.nan
    )
