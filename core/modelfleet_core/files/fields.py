"""Reads one mapping of a file field by field and refuses what is left over.

Every error names the path (`spec.stages[1].percent`). Unknown keys are refused with the nearest known one;
keys that a later version will know are refused as not supported, so that nothing is accepted and then
ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, NoReturn, TypeVar

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.files.units import UnitError

T = TypeVar("T")

MAX_ITEMS: Final = 1000
MAX_TEXT: Final = 1000


class Fields:
    """The keys of one mapping that were not read yet. Read what you know, then `close()`."""

    def __init__(self, value: object, path: str, *, later: Sequence[str] = ()) -> None:
        """Begin with the mapping at `path`; `later` are keys of other versions.

        Raises:
            CallerError: it is no mapping with text keys.
        """
        if not isinstance(value, Mapping):
            refuse(Code.FIELD_WRONG_TYPE, path, f"it is {_kind(value)}", expected="a mapping of fields")
        if len(value) > MAX_ITEMS:
            refuse(Code.FIELD_OUT_OF_RANGE, path, f"{len(value)} fields", expected=f"at most {MAX_ITEMS}")
        self._rest: dict[str, object] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                refuse(Code.FIELD_WRONG_TYPE, path, f"the key {key!r} is {_kind(key)}", expected="text")
            self._rest[key] = item
        self._known: list[str] = []
        self._path = path
        self._later = later

    def path(self, name: str) -> str:
        """Path of one of its fields."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Whether the field is there and not null; it stays to be read."""
        self._known.append(name)
        if name in self._rest and self._rest[name] is None:
            del self._rest[name]
        return name in self._rest

    def take(self, name: str) -> object:
        """The field's value.

        Raises:
            CallerError: it is missing.
        """
        if not self.has(name):
            for other in self._later:
                self._refuse_later(other)
            near = self._near(name)
            hint = f"; did you misspell it as {near!r}?" if near else ""
            refuse(Code.FIELD_MISSING, self.path(name), f"it is missing{hint}", expected=f"the field {name}")
        return self._rest.pop(name)

    def text(self, name: str) -> str:
        """A text of at most MAX_TEXT characters."""
        value = self.take(name)
        if not isinstance(value, str):
            refuse(
                Code.FIELD_WRONG_TYPE,
                self.path(name),
                f"{_shown(value)} is {_kind(value)}",
                expected="a text (put it in quotes)",
            )
        if not 0 < len(value) <= MAX_TEXT:
            refuse(
                Code.FIELD_OUT_OF_RANGE,
                self.path(name),
                f"{len(value)} characters",
                expected=f"1 to {MAX_TEXT} characters",
            )
        return value

    def integer(self, name: str) -> int:
        """A whole number (true and 1.0 are none)."""
        value = self.take(name)
        if type(value) is not int:
            refuse(
                Code.FIELD_WRONG_TYPE,
                self.path(name),
                f"{_shown(value)} is {_kind(value)}",
                expected="a whole number without a unit",
            )
        return value

    def number(self, name: str) -> float:
        """A number without a unit."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(
                Code.FIELD_WRONG_TYPE,
                self.path(name),
                f"{_shown(value)} is {_kind(value)}",
                expected="a number without a unit",
            )
        return float(value)

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            refuse(
                Code.FIELD_WRONG_TYPE,
                self.path(name),
                f"{_shown(value)} is {_kind(value)}",
                expected="true or false",
            )
        return value

    def amount(self, name: str, parse: Callable[[object], T]) -> T:
        """An amount with a unit (`units.py`)."""
        value = self.take(name)
        try:
            return parse(value)
        except UnitError as error:
            refuse(
                Code.FIELD_WRONG_TYPE,
                self.path(name),
                f"{_shown(value)} is not understood",
                expected=str(error),
            )

    def choice(self, name: str, choices: Mapping[str, T]) -> T:
        """One of some words."""
        value = self.text(name)
        if value not in choices:
            near = nearest(value, list(choices))
            hint = f"; did you mean {near!r}?" if near else ""
            refuse(
                Code.FIELD_OUT_OF_RANGE,
                self.path(name),
                f"{value[:64]!r} is not known{hint}",
                expected=" or ".join(choices),
            )
        return choices[value]

    def items(self, name: str) -> list[tuple[str, object]]:
        """The items of a list, each with its path."""
        value = self.take(name)
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            refuse(
                Code.FIELD_WRONG_TYPE, self.path(name), f"it is {_kind(value)}", expected="a list of items"
            )
        if len(value) > MAX_ITEMS:
            refuse(
                Code.FIELD_OUT_OF_RANGE,
                self.path(name),
                f"{len(value)} items",
                expected=f"at most {MAX_ITEMS}",
            )
        return [(f"{self.path(name)}[{index}]", item) for index, item in enumerate(value)]

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        found: list[str] = []
        for path, item in self.items(name):
            if not isinstance(item, str) or not 0 < len(item) <= MAX_TEXT:
                refuse(Code.FIELD_WRONG_TYPE, path, f"{_shown(item)} is {_kind(item)}", expected="a text")
            found.append(item)
        return tuple(found)

    def labels(self, name: str) -> dict[str, str]:
        """A mapping from text to text."""
        fields = Fields(self.take(name), self.path(name))
        return {key: fields.text(key) for key in list(fields._rest)}

    def mapping(self, name: str, *, later: Sequence[str] = ()) -> Fields:
        """A mapping inside this one."""
        return Fields(self.take(name), self.path(name), later=later)

    def close(self) -> None:
        """Refuse what was not read.

        Raises:
            CallerError: MF-1005 for a field of a later version, MF-1002 for an unknown one.
        """
        for name in self._rest:
            self._refuse_later(name)
            near = nearest(name, self._known)
            hint = f"; did you mean {near!r}?" if near else ""
            refuse(
                Code.FIELD_UNKNOWN,
                self.path(name[:64]),
                f"there is no such field{hint}",
                expected=f"one of {', '.join(dict.fromkeys(self._known))}",
                todo=f"rename it to {near}" if near else f"drop {self.path(name[:64])}",
            )

    def _refuse_later(self, name: str) -> None:
        if name in self._later and name in self._rest:
            refuse(
                Code.FIELD_NOT_SUPPORTED,
                self.path(name),
                "not supported in this version",
                expected="only fields that this version enforces",
                todo=f"drop {self.path(name)}; it would be ignored, so it is refused instead",
            )

    def _near(self, name: str) -> str | None:
        return nearest(name, [key for key in self._rest if key not in self._known])


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that was probably meant; `min_devices` finds `minDevices`."""
    plain = {key.lower().replace("_", "").replace("-", ""): key for key in known}
    asked = word[:64].lower().replace("_", "").replace("-", "")
    found = get_close_matches(asked, list(plain), n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def refuse(code: Code, path: str, happened: str, *, expected: str, todo: str | None = None) -> NoReturn:
    """Raise the error of one field."""
    raise CallerError(code, f"{path}: {happened}", expected=expected, todo=todo or f"correct {path}")


def _kind(value: object) -> str:
    names: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "a list"
    return names.get(type(value), type(value).__name__)


def _shown(value: object) -> str:
    return repr(value)[:64]
