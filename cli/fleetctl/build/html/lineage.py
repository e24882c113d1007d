"""Where everything comes from: model, data, tools and parameters."""

from __future__ import annotations

from html import escape

from modelfleet_build.report import BuildReport
from modelfleet_core.release.manifest import Manifest


def lineage(report: BuildReport, manifest: Manifest | None) -> str:
    """Digests of model and data, then how each variant was made."""
    rows = []
    if report.release is not None:
        rows.append(("release", "", report.release))
    if manifest is not None:
        rows.append(("model", manifest.lineage.source_name, manifest.lineage.source_sha256))
    rows += [(item.role, f"{item.samples} samples", item.sha256) for item in report.data]
    body = "".join(
        f'<tr><td class="variant">{escape(a)}</td>{_td("what", escape(b))}'
        f"{_td('sha256', f'<code>{escape(c)}</code>')}</tr>"
        for a, b, c in rows
    )
    return (
        '<section><h2 id="lineage">Lineage</h2><div class="scroll"><table class="cards"><thead><tr>'
        '<th scope="col">of</th><th scope="col">what</th><th scope="col">sha256</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>{_recipes(report, manifest)}</section>"
    )


def _td(label: str, text: str) -> str:
    return f'<td data-label="{label}">{text or "–"}</td>'


def _recipes(report: BuildReport, manifest: Manifest | None) -> str:
    parameters = {v.name: v.parameters for v in manifest.variants} if manifest is not None else {}
    rows = []
    for item in report.classes:
        for v in item.variants:
            settled = ", ".join(f"{k} {text}" for k, text in parameters.get(v.name, {}).items())
            tools = ", ".join(f"{tool} {version}" for tool, version in v.tools.items())
            source = "cache" if v.cached else f"{v.convert_s:.1f} s"
            rows.append(
                f'<tr><td class="variant">{escape(v.name)}</td>{_td("settled", escape(settled))}'
                f"{_td('tools', escape(tools))}{_td('converted', source)}"
                f"{_td('measured', f'{v.measure_s:.1f} s')}</tr>"
            )
    return (
        '<h3>How each variant was made</h3><div class="scroll"><table class="cards"><thead><tr>'
        '<th scope="col">variant</th><th scope="col">settled</th><th scope="col">tools</th>'
        '<th scope="col">converted</th><th scope="col">measured</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
