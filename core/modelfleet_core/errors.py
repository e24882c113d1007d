"""Errors by whose fault they are; each carries a stable code and says what to do.

Three roots, no others: the caller's input, broken integrity, or the world around us. What kind of error it is
is told by its code (`error_codes.py`), not by a subclass.
"""

from __future__ import annotations

from dataclasses import dataclass

from .error_codes import REGISTRY, Code


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What a person (or a problem+json body, or a device report) is told about an error."""

    code: str
    title: str
    happened: str
    expected: str
    todo: str

    def lines(self) -> tuple[str, str, str]:
        """One line of what happened (with the code), one of what was expected, one of what to do."""
        return (f"{self.code}: {self.happened}", f"expected: {self.expected}", f"to do: {self.todo}")


class ModelfleetError(Exception):
    """The root of all errors that Modelfleet raises on purpose."""

    def __init__(self, code: Code, happened: str, *, expected: str, todo: str) -> None:
        super().__init__(f"{code.value}: {happened} (expected: {expected}; to do: {todo})")
        self.code = code
        self.happened = happened
        self.expected = expected
        self.todo = todo

    def __reduce__(self) -> tuple[object, ...]:
        """Keeps the named fields across process boundaries of a child that reports its error."""
        return (_rebuild, (type(self), self.code.value, self.happened, self.expected, self.todo))

    def diagnostics(self) -> Diagnostics:
        """The same for people and machines."""
        title = REGISTRY[self.code].title
        return Diagnostics(self.code.value, title, self.happened, self.expected, self.todo)


class CallerError(ModelfleetError):
    """The caller's input or request is at fault; the same call will fail again until it is changed."""


class IntegrityError(ModelfleetError):
    """Bytes are not what somebody signed, recorded or promised; nothing of them may be used."""


class WorldError(ModelfleetError):
    """Disk, network, another process or the machine is at fault; the same call may succeed later."""


def _rebuild(
    kind: type[ModelfleetError], code: str, happened: str, expected: str, todo: str
) -> ModelfleetError:
    return kind(Code(code), happened, expected=expected, todo=todo)
