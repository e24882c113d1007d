"""The registry of error codes: well-formed, each in its range, each used, none spelled out elsewhere."""

from __future__ import annotations

import ast
import re

from modelfleet_core.error_codes import REGISTRY, Code

from tests.house.sources import modules
from tools.docs.error_pages import RANGES

HOME = "modelfleet_core.error_codes"


def test_form_and_range() -> None:
    for code in Code:
        assert re.fullmatch(r"MF-\d{4}", code.value), code
        assert any(int(code.value[3:5]) in numbers for numbers, _ in RANGES), f"{code} lies in no range"


def test_no_code_stands_for_two_things() -> None:
    values = [member.value for member in Code.__members__.values()]
    assert len(set(values)) == len(values)


def test_every_code_has_one_title_of_its_own() -> None:
    assert set(REGISTRY) == set(Code)
    titles = [info.title for info in REGISTRY.values()]
    assert sorted({title for title in titles if titles.count(title) > 1}) == []
    assert [title for title in titles if not title or title.endswith(".") or len(title) > 90] == []


def test_every_code_is_used() -> None:
    used = set()
    for module in modules():
        if module.name == HOME:
            continue
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "Code"
            ):
                used.add(node.attr)
    assert sorted(set(Code.__members__) - used) == []


def test_codes_are_named_not_spelled() -> None:
    """`Code.TOKEN_EXPIRED`, not `"MF-1604"`: a code in a string can rot; docstrings may quote them."""
    spelled = []
    for module in modules():
        if module.name == HOME:
            continue
        for node in ast.walk(module.tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and isinstance(node, ast.Constant) and re.fullmatch(r"MF-\d{4}", text):
                spelled.append(f"{module.path}:{node.lineno}: {text}")
    assert spelled == []
