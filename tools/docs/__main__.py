"""`python -m tools.docs --check | --write`."""

from __future__ import annotations

import sys

from tools.docs.pages import FOLDER, ROOT, rendered, stale


def main() -> None:
    """Check that the generated pages are current, or write them."""
    if sys.argv[1:] == ["--write"]:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path, text in rendered().items():
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    elif sys.argv[1:] == ["--check"]:
        if old := stale():
            names = ", ".join(str(path.relative_to(ROOT)) for path in old)
            raise SystemExit(f"stale: {names}\nexpected: what the code says now\nto do: make docs-write")
        print("generated pages are current")
    else:
        raise SystemExit("usage: python -m tools.docs --check | --write")


if __name__ == "__main__":
    main()
