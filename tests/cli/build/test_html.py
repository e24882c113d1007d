"""The report as a web page: well-formed, self-contained, escaped, and true to the numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from fleetctl.build.html.page import page
from fleetctl.build.html.plot import plots
from fleetctl.build.html.scale import linear, logarithmic
from modelfleet_build.delta_estimate.report import DeltaEstimate
from modelfleet_build.report import ClassReport

from .reports import measured, report, variant

VOID = {"meta", "br", "hr", "img", "link", "input"}
SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


class Balance(HTMLParser):
    """Refuses tags that do not close one another, and collects attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: dict[str, set[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Balance:
    found = Balance()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def test_it_asks_for_nothing_and_runs_nothing() -> None:
    text = page(report(), None)
    found = parsed(text)
    assert not found.tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert found.attributes.get("href", set()) <= {"#desk", "#chip", "#phone"}
    assert not [name for name in found.attributes if name.startswith("on") or name == "src"]
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_what_others_wrote_is_text() -> None:
    text = page(report(), None)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "mind &lt;the&gt; gap" in text
    assert "the tool &quot;failed&quot; &amp; said nothing" in text


def test_every_number_and_reason_is_there() -> None:
    text = page(report(), None)
    for told in (
        "98.33 %", "0.67 pt", "101.9 kB", "×0.55", "0.50 to 0.61", "control 0.98 to 1.02", "29.4 kB arena",
        "94 % of operators, 99.8 % of MACs", "MEAN /pool: its axes", "litert", "MF-1440", "MF-1432",
        "not built: MF-1430", "the optimizer for it has no plug-in", "cd" * 32, "ab" * 32, "onnx 1.23.2",
        "int8: 98.33 % (0.67 points lost), 101.9 kB, 0.55 of the float time",
    ):  # fmt: skip
        assert told in text, told


def test_columns_that_no_variant_fills_are_left_out() -> None:
    text = page(report(), None)
    desk, chip = text.split('<h2 id="desk">')[1].split('<h2 id="chip">')
    assert "on the accelerator" not in desk
    assert "on the accelerator" in chip
    assert "time / float" not in chip, "a stand-in's time is never compared"
    assert "worst class" not in text


def test_the_plots_are_svg_that_says_what_it_shows() -> None:
    for svg in SVG.findall(page(report(), None)):
        root = ElementTree.fromstring(svg)
        assert root.get("aria-label") or root.get("aria-hidden") == "true"


def test_marks_lie_where_their_numbers_are() -> None:
    item = report().classes[0]
    (_, time), (_, size) = plots(report(), item)
    places = {
        "int8": re.search(r'class="ring" cx="([\d.]+)" cy="([\d.]+)"', time),
        "fp32": re.search(r'<circle class="mark" cx="([\d.]+)" cy="([\d.]+)"', time),
    }
    assert places["int8"] is not None
    assert places["fp32"] is not None
    (fast, lower), (slow, higher) = ([float(n) for n in places[name].groups()] for name in ("int8", "fp32"))  # type: ignore[union-attr]
    assert fast < slow, "less time is further left"
    assert lower > higher, "a lower metric is further down"
    assert time.count('class="whisker"') == 6, "two variants with a spread: a bar and two ends each"
    assert time.count('class="mark refused"') == 1
    assert 'class="budget"' in size


def test_names_do_not_cover_one_another() -> None:
    rows = tuple(variant(f"c.int8-{n}", measured(0.99, 1.0 + n / 1000)) for n in range(6))
    item = ClassReport("c", True, "", "", "", (variant("c.fp32", measured(0.99)), *rows))
    _, svg = plots(report(), item)[0]
    texts = re.findall(r'<text class="name" x="([\d.-]+)" y="([\d.-]+)">([^<]+)<', svg)
    assert len(texts) == 7
    boxes = [(float(x), float(y) - 10, float(x) + 6.7 * len(t), float(y) + 3) for x, y, t in texts]
    for index, a in enumerate(boxes):
        assert a[1] > 0
        for b in boxes[index + 1 :]:
            assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_a_class_without_numbers_has_no_plot() -> None:
    assert plots(report(), report().classes[2]) == []
    whole = replace(report(), classes=(report().classes[2],), release=None)
    assert "<figure>" not in page(whole, None)


@pytest.mark.parametrize("values", [[1.0], [0.5, 1.0, 6.9], [0.99, 1.01], [1e3, 5e8], [0.001, 1000.0]])
def test_log_axes_keep_their_values_and_have_few_ticks(values: list[float]) -> None:
    axis = logarithmic(values, 10, 110, str, least=1.5)
    assert 2 <= len(axis.ticks) <= 8
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    places = [axis.at(v) for v in sorted(values)]
    assert places == sorted(places)
    assert all(10 < place < 110 for place in places)


@pytest.mark.parametrize("values", [[99.0], [95.0, 99.0, 98.0], [0.0, 100.0], [100.0]])
def test_linear_axes_never_promise_more_than_all(values: list[float]) -> None:
    axis = linear(values, 110, 10, str, least=2.0, top=100.0)
    assert axis.ticks
    assert max(axis.ticks) <= 100.0
    assert axis.high - axis.low >= 2.0
    assert all(10 <= axis.at(v) <= 110 for v in values)


def test_deltas_are_shown_where_they_were_estimated() -> None:
    assert "Deltas from" not in page(report(), None)
    delta = DeltaEstimate(
        "desk.int8", "digits:1.0", 64_000, 49_000, 28, 28, 0.057, 0.97, 20, 11, "calibration", "all <moved>"
    )
    text = page(replace(report(), deltas=(delta,)), None)
    parsed(text)
    assert "Deltas from digits:1.0" in text
    assert "77 %" in text
    assert "11 of 20" in text
    assert "all &lt;moved&gt;" in text


def test_a_task_whose_samples_are_right_in_part_says_nothing_of_one() -> None:
    view = report()
    text = page(replace(view, parent=replace(view.parent, points_per_sample=None)), None)
    assert "validation samples" in text
    assert "one is" not in text
