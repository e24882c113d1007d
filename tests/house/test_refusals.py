"""The table of refusals is true: every code exists, every test named there exists and speaks of that code."""

from __future__ import annotations

import re

import pytest

from modelfleet_core.error_codes import Code

from tests.house.sources import ROOT

PAGE = ROOT / "docs" / "reference" / "refusals.md"
ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| (?P<code>MF-\d{4}|-) \| [^|]+ \| `(?P<test>[^`|]+)` \|$", re.MULTILINE
)


def rows() -> list[tuple[str, str, str]]:
    return [(row["what"].strip(), row["code"], row["test"]) for row in ROW.finditer(PAGE.read_text())]


def test_every_row_is_understood() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert len(rows()) == len(lines) - 2 > 30
    assert len({what for what, _, _ in rows()}) == len(rows())


@pytest.mark.parametrize(("what", "code", "test"), rows(), ids=lambda text: str(text)[:60])
def test_each_named_test_holds_its_code(what: str, code: str, test: str) -> None:
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text()
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{what}: {test} does not exist"
    if code != "-":
        member = Code(code).name
        assert code in text or f"Code.{member}" in text, f"{what}: {path} never speaks of {code} ({member})"
