"""What a hook may let a search vary."""

from __future__ import annotations

import pytest

from modelfleet_build.search import Choice, Range
from modelfleet_build.training.space import MAX_CHOICES, MAX_KNOBS, Declared, space_of
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

RANGE, CHOICES = "range", "choices"


def test_the_ratio_is_always_searched_and_the_hooks_knobs_with_it() -> None:
    assert space_of({}) == {"ratio": Range(0.0, 0.7, 0.05)}
    space = space_of(
        {
            "width": Declared(RANGE, (0.5, 1.0)),
            "depth": Declared(RANGE, (2, 5)),
            "resolution": Declared(CHOICES, (24, 32)),
            "act": Declared(CHOICES, ("relu", "relu6")),
        }
    )
    assert list(space) == ["ratio", "width", "depth", "resolution", "act"]
    assert (space["width"], space["depth"]) == (Range(0.5, 1.0), Range(2, 5))
    assert (space["resolution"], space["act"]) == (Choice((24, 32)), Choice(("relu", "relu6")))


@pytest.mark.parametrize(
    ("name", "declared", "reason"),
    [
        ("ratio", Declared(RANGE, (0.1, 0.2)), "names `ratio`"),
        ("a b", Declared(CHOICES, (1, 2)), "names 'a b'"),
        ("class", Declared(CHOICES, (1, 2)), "names 'class'"),
        ("width", Declared(RANGE, (1.0, 0.5)), "gives 'width' the range (1.0, 0.5)"),
        ("width", Declared(RANGE, (1.0, 1.0)), "gives 'width' the range (1.0, 1.0)"),
        ("width", Declared(RANGE, (0.5,)), "gives 'width' the range (0.5,)"),
        ("width", Declared(RANGE, (0.5, 0.75, 1.0)), "gives 'width' the range"),
        ("width", Declared(RANGE, ("a", "b")), "gives 'width' the range ('a', 'b')"),
        ("size", Declared(CHOICES, ()), "gives 'size' the choices []"),
        ("size", Declared(CHOICES, (24, 24)), "gives 'size' the choices [24, 24]"),
        ("size", Declared(CHOICES, (24, "big")), "gives 'size' the choices [24, 'big']"),
        ("size", Declared(CHOICES, tuple(range(MAX_CHOICES + 1))), "gives 'size' the choices"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, declared: Declared, reason: str) -> None:
    with pytest.raises(CallerError) as caught:
        space_of({name: declared})
    assert caught.value.code is Code.HOOK_INVALID
    assert reason in caught.value.happened


def test_too_many_knobs() -> None:
    knobs = {f"k{number}": Declared(CHOICES, (1, 2)) for number in range(MAX_KNOBS + 1)}
    with pytest.raises(CallerError, match="has 9 knobs"):
        space_of(knobs)
    knobs.popitem()
    assert len(space_of(knobs)) == 1 + MAX_KNOBS
