"""Counts are read from Prometheus text and add up over processes and devices."""

from __future__ import annotations

from fleetctl.demo.metrics import ServeCounts, parse, serve_counts

TEXT = """\
# HELP modelfleet_requests_total Real requests.
# TYPE modelfleet_requests_total counter
modelfleet_requests_total{slot="digits",outcome="served"} 120
modelfleet_requests_total{slot="digits",outcome="failed"} 2.0
modelfleet_requests_total{outcome="dropped",slot="digits"} 1
modelfleet_requests_total{slot="scenes",outcome="served"} 7
modelfleet_answers_total{slot="digits",release="aa"} 100
modelfleet_answers_total{slot="digits",release="bb"} 20
modelfleet_swaps_total{slot="digits"} 3
modelfleet_worst_swap_gap_ms{slot="digits"} 1.25
something_else{text="a \\"quoted\\" {brace}"} 1 1700000000
"""


def test_one_slot_is_read() -> None:
    assert serve_counts(TEXT, "digits") == ServeCounts(
        served=120, failed=2, dropped=1, answers={"aa": 100, "bb": 20}, swaps=3, worst_swap_gap_ms=1.25
    )
    assert serve_counts(TEXT, "scenes").served == 7


def test_labels_with_braces_and_quotes_are_kept() -> None:
    assert parse(TEXT)[-1].labels == {"text": 'a \\"quoted\\" {brace}'}


def test_a_slot_without_samples_counts_nothing() -> None:
    assert serve_counts(TEXT, "other") == ServeCounts()


def test_sums_and_differences_undo_each_other() -> None:
    one = ServeCounts(10, 1, 0, {"aa": 9, "bb": 1}, 1, 2.0)
    two = ServeCounts(5, 0, 2, {"bb": 5}, 2, 1.0)
    both = one.plus(two)
    assert both == ServeCounts(15, 1, 2, {"aa": 9, "bb": 6}, 3, 2.0)
    assert both.since(two) == ServeCounts(10, 1, 0, {"aa": 9, "bb": 1}, 1, 2.0)
