"""What a search may vary: the pruning ratio, and the knobs that the hook's `SPACE` declares. Pure."""

from __future__ import annotations

import keyword
from dataclasses import dataclass

from modelfleet_build.search import Choice, Range, Value
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

RATIO = "ratio"
MAX_KNOBS = 8
MAX_CHOICES = 32
_MOST_PRUNED = 0.7
# With fewer channels than a multiple of `round_to` between them, finer steps are the same network.
_STEP = 0.05
_RANGE = "range"


@dataclass(frozen=True, slots=True)
class Declared:
    """One entry of `SPACE` as `scripts/train.py` passes it on: a `range` (tuple) or `choices` (list)."""

    kind: str
    values: tuple[Value, ...]


def space_of(declared: dict[str, Declared]) -> dict[str, Range | Choice]:
    """The whole space, the ratio first.

    Raises:
        CallerError: MF-1477.
    """
    if len(declared) > MAX_KNOBS:
        raise _refused(f"`SPACE` has {len(declared)} knobs", f"at most {MAX_KNOBS}")
    space: dict[str, Range | Choice] = {RATIO: Range(0.0, _MOST_PRUNED, _STEP)}
    for name, entry in declared.items():
        if name == RATIO:
            raise _refused("`SPACE` names `ratio`", "other knobs: the pruning ratio is always searched")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise _refused(f"`SPACE` names {name!r}", "names that `load` can take as keywords")
        space[name] = _range(name, entry.values) if entry.kind == _RANGE else _choice(name, entry.values)
    return space


def _range(name: str, values: tuple[Value, ...]) -> Range:
    if len(values) == 2:
        low, high = values
        if not isinstance(low, str) and not isinstance(high, str) and low < high:
            return Range(low, high)
    raise _refused(
        f"`SPACE` gives {name!r} the range {values}",
        "(low, high): two numbers, the lower one first; a list where it has choices",
    )


def _choice(name: str, values: tuple[Value, ...]) -> Choice:
    told = f"`SPACE` gives {name!r} the choices {list(values)}"
    if not 1 <= len(values) <= MAX_CHOICES or len(set(values)) < len(values):
        raise _refused(told, f"1 to {MAX_CHOICES} of them, all different")
    if len({isinstance(value, str) for value in values}) > 1:
        raise _refused(told, "numbers alone, or words alone")
    return Choice(values)


def _refused(happened: str, expected: str) -> CallerError:
    return CallerError(
        Code.HOOK_INVALID,
        happened,
        expected=expected,
        todo="correct SPACE in the hook; docs/guides/training-hooks.md has one",
    )
