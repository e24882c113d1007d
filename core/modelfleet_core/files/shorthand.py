"""The resource behind `fleetctl rollout create NAME:VERSION --to SELECTOR --stages 1%,10%,100% --shadow
30m`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from modelfleet_core.error_codes import Code
from modelfleet_core.files.fields import refuse
from modelfleet_core.files.resource import API_VERSION, ROLLOUT_KIND
from modelfleet_core.files.units import UnitError, format_duration, parse_duration, parse_ratio

DEFAULT_STAGES: Final = "1%,10%,50%,100%"
DEFAULT_SHADOW: Final = "30m"
SHADOW_DEVICES: Final = 10
DEFAULT_DEADLINE_S: Final = 86_400.0


def labels_of(selector: str) -> dict[str, str]:
    """`site=north,lane=2` as labels; `all` or an empty text = every device.

    Raises:
        CallerError: MF-1003.
    """
    if selector.strip() in ("", "all"):
        return {}
    labels: dict[str, str] = {}
    for part in selector.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or not key or not value:
            refuse(
                Code.FIELD_WRONG_TYPE,
                "--to",
                f"{part[:64]!r} is no label",
                expected="key=value, several with commas, or `all`",
            )
        labels[key.strip()] = value.strip()
    return labels


def stages_of(stages: str, shadow: str | None) -> list[dict[str, object]]:
    """A shadow stage of SHADOW_DEVICES devices that bakes for `shadow` (None or `0s` = no shadow), then
    live stages.

    Raises:
        CallerError: MF-1003.
    """
    written: list[dict[str, object]] = []
    bake_s = 0.0 if shadow is None else _bake(shadow)
    if bake_s > 0:
        deadline = format_duration(max(DEFAULT_DEADLINE_S, 2 * bake_s))
        written.append(
            {
                "name": "shadow",
                "mode": "shadow",
                "devices": SHADOW_DEVICES,
                "minBake": format_duration(bake_s),
                "deadline": deadline,
            }
        )
    for part in stages.split(","):
        text = part.strip()
        try:
            percent = round(100 * parse_ratio(text), 9)
        except UnitError as error:
            refuse(Code.FIELD_WRONG_TYPE, "--stages", f"{text[:64]!r} is not understood", expected=str(error))
        written.append({"name": f"live-{percent:g}", "mode": "live", "percent": percent})
    return written


def _bake(shadow: str) -> float:
    try:
        return parse_duration(shadow)
    except UnitError as error:
        refuse(Code.FIELD_WRONG_TYPE, "--shadow", f"{shadow[:64]!r} is not understood", expected=str(error))


def rollout_resource(
    release: str, selector: str, stages: str = DEFAULT_STAGES, shadow: str | None = DEFAULT_SHADOW
) -> dict[str, object]:
    """A FleetRollout resource with default gates; `read_rollout` checks it like any file.

    Raises:
        CallerError: a selector, stage or duration cannot be understood.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": ROLLOUT_KIND,
        "metadata": {"name": _name_of(release)},
        "spec": {
            "release": release,
            "selector": {"matchLabels": labels_of(selector)},
            "stages": stages_of(stages, shadow),
        },
    }


def _name_of(release: str) -> str:
    letters: Sequence[str] = [c if c.isascii() and c.isalnum() else "-" for c in release.lower()]
    return "".join(letters).strip("-")[:63].strip("-")
