"""Which page is written by what."""

from __future__ import annotations

import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
MARK = "<!-- written by `make docs-write`; do not edit -->\n"

# page -> module of this package whose `page()` writes it
PAGES = {
    "cli.md": "commands",
    "errors.md": "error_pages",
    "lifecycle.md": "lifecycle",
    "metrics.md": "metrics",
    "settings.md": "settings",
}


def rendered() -> dict[Path, str]:
    """Return every generated page with the text it should have now."""
    found = {}
    for name, module in PAGES.items():
        try:
            write = importlib.import_module(f"tools.docs.{module}").page
        except ModuleNotFoundError:
            continue
        found[FOLDER / name] = f"{MARK}{write().rstrip()}\n"
    return found


def stale() -> list[Path]:
    """Return the pages whose text is not what the code says."""
    return [
        path
        for path, text in rendered().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
