"""What people at the device ask of the running agent, as files: they work without a network and survive a
crash.

`requests/rollback.SLOT` asks; the agent deletes it when it has begun, or leaves
`requests/rollback.SLOT.refused` with the three sentences of the refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from modelfleet_agent.state.files import read_limited, world, write_atomic
from modelfleet_core.errors import Diagnostics, ModelfleetError
from modelfleet_core.ids import is_name
from modelfleet_core.wire import codec

_PREFIX: Final = "rollback."
_REFUSED: Final = ".refused"
_MAX: Final = 16 * 1024


class Requests:
    """The folder of requests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ask_rollback(self, slot: str) -> None:
        """Leaves a request.

        Raises:
            WorldError: MF-5001, MF-3004.
        """
        self._refusal(slot).unlink(missing_ok=True)
        write_atomic(self._folder / f"{_PREFIX}{slot}", b"\n")

    def rollbacks(self) -> Iterator[str]:
        """Slots whose rollback is asked for."""
        with world(f"{self._folder} cannot be read"):
            names = sorted(path.name for path in self._folder.iterdir())
        for name in names:
            slot = name.removeprefix(_PREFIX)
            if name.startswith(_PREFIX) and is_name(slot) and not name.endswith((_REFUSED, ".partial")):
                yield slot

    def done(self, slot: str, error: ModelfleetError | None = None) -> None:
        """The request was obeyed, or refused with that error.

        Raises:
            WorldError: MF-5001, MF-3004.
        """
        if error is not None:
            write_atomic(self._refusal(slot), codec.encode(error.diagnostics()), durable=False)
        with world(f"{self._folder} cannot be written"):
            (self._folder / f"{_PREFIX}{slot}").unlink(missing_ok=True)

    def waits(self, slot: str) -> bool:
        """Whether the request was not looked at yet."""
        return (self._folder / f"{_PREFIX}{slot}").exists()

    def refusal(self, slot: str) -> Diagnostics | None:
        """Why the last request was refused, taken away by reading."""
        data = read_limited(self._refusal(slot), _MAX)
        self._refusal(slot).unlink(missing_ok=True)
        return None if data is None else codec.decode(data, Diagnostics, what="the refusal")

    def _refusal(self, slot: str) -> Path:
        return self._folder / f"{_PREFIX}{slot}{_REFUSED}"
