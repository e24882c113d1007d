"""The port that every runtime plug-in implements, and what a plug-in says about itself before it is loaded.

Importing this module, `registry` or a plug-in's module imports neither numpy nor the runtime's library: that
happens in `Runtime.open`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from modelfleet_core.release.contract import InputContract

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]

ENTRY_POINTS = "modelfleet.runtimes"
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class Session(Protocol):
    """One loaded variant. Not thread-safe: one call at a time."""

    @property
    def contract(self) -> InputContract:
        """The contract it was opened with."""
        ...

    def run(self, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Answer one request.

        Args:
            inputs: Every logical input of the contract by name, float32, in the logical shape and layout.
                Where the contract's first dimension is `BATCH`, any number of samples (at least one), the
                same for every input.

        Returns:
            Every logical output by name, float32, C-contiguous, in the contract's order; the caller owns
            the arrays. Values that are not finite are passed on as they are (`comparators.finite`).

        Raises:
            CallerError: MF-4005, the inputs break the contract; the model was not run.
            WorldError: MF-4006, the runtime failed; MF-4007, its answer has not the shape of the contract;
                MF-4010, the session is closed.
        """
        ...

    def close(self) -> None:
        """Free the model's memory. May be called again without effect."""
        ...


class Runtime(Protocol):
    """A runtime plug-in: metadata first, the library only in `open`."""

    @property
    def name(self) -> str:
        """Name of the plug-in, as device classes and manifests spell it."""
        ...

    @property
    def package(self) -> str:
        """Distribution that holds the library."""
        ...

    @property
    def extra(self) -> str:
        """Extra of `modelfleet` that installs it."""
        ...

    @property
    def formats(self) -> tuple[str, ...]:
        """Suffixes of the entry files that it opens, with the dot."""
        ...

    def version(self) -> str | None:
        """Version of the installed library, or None where it is not installed; imports nothing heavy."""
        ...

    def open(
        self,
        folder: Path,
        entry: str,
        contract: InputContract,
        threads: int = 1,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Session:
        """Load a variant.

        Args:
            folder: The variant folder; its files were verified by the caller.
            entry: Name of the file to open, inside `folder`.
            contract: The variant's input contract.
            threads: Threads for one inference, at least 1.
            options: `RuntimeNeed.options` of the variant.

        Raises:
            CallerError: MF-4009, `entry` is not of this runtime's formats or leaves the folder; MF-4050, an
                option that this runtime does not know, or a value that it does not take.
            WorldError: MF-4002, the library is not installed; MF-4003, it cannot load the file;
                MF-4004, the file's tensors are not those of the contract.
        """
        ...


@runtime_checkable
class Movable(Protocol):
    """A runtime plug-in that can also drive its library in another interpreter, for builders."""

    def elsewhere(self, python: Path) -> Runtime:
        """The same plug-in for a library that only the interpreter `python` has."""
        ...


@runtime_checkable
class KeepsEngines(Protocol):
    """A runtime that derives an engine from a variant on the device, and can keep it."""

    def with_engines(self, folder: Path) -> Runtime:
        """The same runtime, keeping engines in that folder, which belongs to it alone."""
        ...
