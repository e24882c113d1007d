"""What is the same in every runtime plug-in: the checks before a variant is loaded, and what failures become.

A plug-in of this package says in `load` how its own library opens a file, and nothing else. Plug-ins of other
distributions may build on this too; all that is asked of them is `port.Runtime`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelfleet_core.release.contract import InputContract

from .port import NO_OPTIONS, Session
from .registry import installed_version, missing

if TYPE_CHECKING:
    from .session import Engine


@dataclass(frozen=True, slots=True)
class Opening:
    """A variant that is to be loaded: its file is there, and all of its options are known.

    Attributes:
        path: The entry file.
        contract: Of the variant.
        threads: For one inference, at least 1.
        options: `RuntimeNeed.options` of the variant; their values are unchecked.
    """

    path: Path
    contract: InputContract
    threads: int
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plugin(ABC):
    """A `port.Runtime`; `knows` names the options that it takes."""

    name: str
    package: str
    extra: str
    formats: tuple[str, ...]
    knows: tuple[str, ...] = ()

    @abstractmethod
    def load(self, opening: Opening) -> Engine:
        """Load the file.

        Raises:
            CallerError: MF-4050, an option has a value that this runtime does not take.
            WorldError: MF-4002, the library is not installed; MF-4003, it cannot load the file.
        """

    def version(self) -> str | None:
        """See `port.Runtime.version`."""
        return installed_version(self.package)

    def open(
        self,
        folder: Path,
        entry: str,
        contract: InputContract,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Session:
        """See `port.Runtime.open`, and `load` of the plug-in for what else it refuses."""
        from .session import BoundSession, entry_path, refuse_options

        path = entry_path(folder, entry, self.formats, self.name)
        refuse_options(options, self.knows, self.name)
        engine = self.load(Opening(path, contract, threads, options))
        return BoundSession(engine, contract, f"{self.name} with {entry}")

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Around the import of the library.

        Raises:
            WorldError: MF-4002, it is not installed.
        """
        try:
            yield
        except ImportError as error:
            raise missing(self) from error

    @contextmanager
    def loading(self, path: Path) -> Iterator[None]:
        """Around whatever the library does with the file; it may raise any class of error.

        Raises:
            WorldError: MF-4003.
        """
        from .session import load_failed

        try:
            yield
        except Exception as error:
            raise load_failed(path, self.name, error) from error
