"""Which page is written by what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools.docs import commands, device_classes, error_pages, lifecycle, metrics, operators, settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
MARK = "<!-- written by `make docs-write`; do not edit -->\n"

PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands.page,
    "device-classes.md": device_classes.page,
    "errors.md": error_pages.page,
    "lifecycle.md": lifecycle.page,
    "metrics.md": metrics.page,
    "settings.md": settings.page,
    "tflite-operators.md": operators.page,
}


def rendered() -> dict[Path, str]:
    """Return every generated page with the text it should have now."""
    return {FOLDER / name: f"{MARK}{write().rstrip()}\n" for name, write in PAGES.items()}


def stale() -> list[Path]:
    """Return the pages whose text is not what the code says."""
    return [
        path
        for path, text in rendered().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
