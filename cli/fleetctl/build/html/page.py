"""The page: summary, a section for each class, lineage. Everything from outside is escaped."""

from __future__ import annotations

from html import escape

from fleetctl.build.html.lineage import lineage
from fleetctl.build.html.plot import plots, shape_icon
from fleetctl.build.html.style import CSS
from fleetctl.build.html.table import variants
from fleetctl.build.measured import share
from fleetctl.output import size
from modelfleet_build.report import BuildReport, ClassReport, VariantReport
from modelfleet_core.release.manifest import Manifest


def page(report: BuildReport, manifest: Manifest | None) -> str:
    """The whole document; without a manifest the lineage is what the report knows."""
    title = f"{report.name}:{report.version}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">Build report, {escape(report.task.value)}, '
        f"{report.created_at:%d %B %Y %H:%M} UTC</p>",
        _facts(report),
        *_warnings(report),
        '<ul class="choices">',
        *(_choice(item) for item in report.classes),
        "</ul>",
        *(_class(report, item) for item in report.classes),
        _deltas(report),
        lineage(report, manifest),
        _foot(),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)} build report</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _facts(report: BuildReport) -> str:
    p = report.parent
    one = p.points_per_sample
    worth = f"; one is {one:.3g} points" if one is not None else ""
    built = sum(item.built for item in report.classes)
    facts = [
        (f"{100 * p.value:.2f} %", f"{p.metric} of the float parent"),
        (f"{p.samples}", f"validation samples{worth}"),
        (f"{report.max_drop_points:g} pt", "may be lost at most"),
        (size(p.size_bytes), "is the float parent"),
        (f"{built} of {len(report.classes)}", "classes built"),
        (f"{report.seconds:.0f} s", "took the build"),
    ]
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(text)}</span></li>" for value, text in facts)
    return f'<ul class="facts">{items}</ul>'


def _warnings(report: BuildReport) -> list[str]:
    if not report.warnings:
        return []
    return [f'<div class="warn">{"".join(f"<p>{escape(text)}</p>" for text in report.warnings)}</div>']


def _choice(item: ClassReport) -> str:
    name = f'<a href="#{escape(item.name)}">{escape(item.name)}</a>'
    chosen = next((v for v in item.variants if v.chosen), None)
    if chosen is None or chosen.measurements is None:
        told = '<span class="verdict refused">not built</span>'
    else:
        told = f"<span>{escape(headline(chosen))}</span>"
    return f'<li>{name}{told}<span class="why">{escape(item.why)}</span></li>'


def headline(chosen: VariantReport) -> str:
    """`int8: 98.67 % (0.33 points lost), 72.1 kB, 0.61 of the float time`."""
    m = chosen.measurements
    assert m is not None
    recipe = chosen.name.partition(".")[2] or chosen.name
    lost = "nothing lost" if m.drop_points == 0 else f"{abs(m.drop_points):.2f} points "
    lost += "" if m.drop_points == 0 else "lost" if m.drop_points > 0 else "won"
    parts = [f"{recipe}: {100 * m.value:.2f} % ({lost})", size(m.size_bytes)]
    if m.latency_ratio is not None:
        parts.append(f"{m.latency_ratio:.2f} of the float time")
    if m.arena_bytes is not None:
        parts.append(f"arena {size(m.arena_bytes)}")
    if m.accelerator is not None:
        parts.append(f"{share(m.accelerator.coverage())} of the operators on the accelerator")
    return ", ".join(parts)


def _class(report: BuildReport, item: ClassReport) -> str:
    drawn = plots(report, item)
    figures = "".join(f"<figure><figcaption>{escape(c)}</figcaption>{svg}</figure>" for c, svg in drawn)
    legend = _legend(item, len(drawn) > 1) if drawn else ""
    return (
        f'<section><h2 id="{escape(item.name)}">{escape(item.name)}</h2>'
        f'<p class="why soft">{escape(item.why)}</p>'
        + (f'<div class="plots">{figures}</div>{legend}' if drawn else "")
        + variants(item)
        + "</section>"
    )


def _deltas(report: BuildReport) -> str:
    if not report.deltas:
        return ""
    rows = []
    for item in report.deltas:
        cells = [
            ("size", size(item.delta_bytes)),
            ("of", size(item.full_bytes)),
            ("share", f"{100 * item.share:.0f} %"),
            ("equal bytes", f"{100 * item.equal_share:.1f} %"),
            ("scales changed", f"{item.changed_scales} of {item.scales}" if item.scales else ""),
        ]
        told = "".join(f'<td class="r" data-label="{name}">{text or "–"}</td>' for name, text in cells)
        cause = f'<td data-label="cause">{escape(item.cause) or "–"}</td>'
        rows.append(f'<tr><td class="variant">{escape(item.variant)}</td>{told}{cause}</tr>')
    numbers = ("size", "of", "share", "equal bytes", "scales changed")
    head = '<th scope="col">variant</th>'
    head += "".join(f'<th class="r" scope="col">{title}</th>' for title in numbers)
    head += '<th scope="col">cause</th>'
    previous = escape(report.deltas[0].previous)
    return (
        f'<section><h2 id="deltas">Deltas from {previous}</h2>'
        '<p class="soft">Estimates of what devices that have it would fetch.</p>'
        '<div class="scroll"><table class="cards"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _legend(item: ClassReport, timed: bool) -> str:
    kinds = dict.fromkeys(v.precision.value for v in item.variants if v.measurements is not None)
    parts = [f"<span>{shape_icon(kind)}{escape(kind)}</span>" for kind in kinds]
    parts.append("<span>ring: chosen</span>")
    if any(not v.accepted and v.measurements is not None for v in item.variants):
        parts.append("<span>hollow: refused</span>")
    if timed:
        parts.append("<span>bar: 10th to 90th percentile of the rounds</span>")
        parts.append("<span>grey: the float variant against itself</span>")
    return f'<p class="legend">{"".join(parts)}</p>'


def _foot() -> str:
    return (
        "<footer><p>Every number was measured in the variant's real runtime on validation data that shares "
        "no sample with the calibration data, but where the table names what was measured instead. Times are "
        "ratios against the class's float variant, called in turn on the same inputs on the machine that "
        "built; of a device of another kind they are a hint.</p></footer>"
    )
