"""Arguments that several commands read: labels, durations, resource files."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.files.units import UnitError, parse_duration
from modelfleet_core.wire.enroll import check_labels

if TYPE_CHECKING:
    import yaml

MAX_RESOURCE: Final = 256 * 1024


def read_labels(arguments: Sequence[str]) -> dict[str, str]:
    """`["k=v", ...]` as labels.

    Raises:
        CallerError: MF-6011.
    """
    return changed_labels({}, arguments)


def changed_labels(labels: Mapping[str, str], changes: Sequence[str]) -> dict[str, str]:
    """Labels after `k=v` (set) and `k-` (remove).

    Raises:
        CallerError: MF-6011.
    """
    made = dict(labels)
    for change in changes:
        key, equals, value = change.partition("=")
        if equals and key:
            made[key] = value
        elif not equals and len(change) > 1 and change.endswith("-"):
            made.pop(change[:-1], None)
        else:
            raise _not_understood(f"label {change[:80]!r}", "KEY=VALUE to set, KEY- to remove")
    try:
        check_labels(made)
    except ValueError as error:
        raise _not_understood(str(error), "lower-case names and short printable values") from error
    return made


@contextmanager
def understood() -> Iterator[None]:
    """Around the making of a request: what it refuses is an argument that cannot be meant.

    Raises:
        CallerError: MF-6011.
    """
    try:
        yield
    except ValueError as error:
        raise _not_understood(str(error), "arguments that a controller accepts") from error


def read_duration(text: str, option: str) -> float:
    """Seconds of `30m`.

    Raises:
        CallerError: MF-6011.
    """
    try:
        return parse_duration(text)
    except UnitError as error:
        raise _not_understood(f"{option} {text[:80]!r}", str(error)) from error


def read_resource(path: Path) -> dict[str, object]:
    """The mapping in a YAML or JSON file; `-` is standard input. It is read by `core.files`.

    Raises:
        CallerError: MF-6004 unreadable, MF-1001 not YAML or no mapping.
    """
    import yaml

    from fleetctl import safefile

    data = safefile.read(Path("/dev/stdin") if str(path) == "-" else path, MAX_RESOURCE, "the resource file")
    try:
        documents = list(yaml.load_all(data, _strict_loader()))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place is not None else ""
        problem = getattr(error, "problem", None) or ""
        twice = f": {problem}" if "stands twice" in problem else ""
        raise _no_resource(f"{path} is not YAML{where}{twice}") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise _no_resource(f"{path} does not hold exactly one mapping")
    return {str(key): value for key, value in documents[0].items()}


def _strict_loader() -> type[yaml.SafeLoader]:
    """The safe loader, which besides refuses a key that stands twice: the last would win without a word."""
    import yaml

    class Strict(yaml.SafeLoader):
        """See the function."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
            """The mapping; a repeated key is an error at its line."""
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"the key {key.value!r} stands twice", key.start_mark
                        )
                    seen.add(key.value)
            found: dict[Hashable, object] = super().construct_mapping(node, deep)
            return found

    return Strict


def _no_resource(happened: str) -> CallerError:
    return CallerError(
        Code.FILE_NOT_A_RESOURCE,
        happened,
        expected="one resource with apiVersion, kind, metadata and spec",
        todo="start from an example in docs/reference/rollout.md",
    )


def _not_understood(happened: str, expected: str) -> CallerError:
    return CallerError(Code.CLI_ARGUMENT, happened, expected=expected, todo="correct the argument")
