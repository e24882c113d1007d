"""Arm Ethos-U on Linux: LiteRT with the vendor's external delegate, which hands compiled parts to the
accelerator.

Microcontrollers with an Ethos-U run the same file in firmware, without this plug-in. The delegate comes with
the board's system image (`libethosu_delegate.so`; option `delegate` names another file) and not from any
package, so `version` tells of LiteRT alone and a missing delegate is refused when a variant is opened. Not
tried on hardware.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError

from .plugin import Opening, Plugin

if TYPE_CHECKING:
    from .session import Engine

DELEGATE = "libethosu_delegate.so"
_LIBRARY = re.compile(r"\.so(\.\d+)*$")
_FOLDERS = ("/lib/", "/usr/lib/", "/usr/local/lib/", "/opt/")
# What LiteRT calls in an external delegate (tensorflow/lite/delegates/external/external_delegate.h).
_ENTRY_POINT = "tflite_plugin_create_delegate"


@dataclass(frozen=True, slots=True)
class EthosU(Plugin):
    """The plug-in `ethos-u`."""

    name: str = "ethos-u"
    package: str = "ai-edge-litert"
    extra: str = "litert"
    formats: tuple[str, ...] = (".tflite",)
    knows: tuple[str, ...] = ("delegate",)

    def load(self, opening: Opening) -> Engine:
        """See `Plugin.load`.

        Raises:
            WorldError: MF-4057, the delegate is not there or is none.
        """
        from .tflite_engine import SignatureEngine
        from .tflite_file import read_tflite

        with self.loading(opening.path):
            read_tflite(opening.path.read_bytes())
        with self.importing():
            from ai_edge_litert.interpreter import Interpreter, load_delegate
        library = delegate_library(opening.options)
        try:
            # First by hand: LiteRT's own object for a library that is none fails once more when it is freed.
            getattr(ctypes.CDLL(library), _ENTRY_POINT)
            delegate = load_delegate(library)
        except Exception as error:  # OSError, AttributeError or ValueError: absent, another one, no device
            raise WorldError(
                Code.DELEGATE_MISSING,
                f"{self.name} cannot load the delegate {library}: {' '.join(str(error).split())[:200]}",
                expected="the Ethos-U delegate of the board's system image",
                todo="install it, or name its file by the class option `delegate` and rebuild the release",
            ) from error
        with self.loading(opening.path):
            return SignatureEngine(
                Interpreter(
                    model_path=str(opening.path),
                    num_threads=opening.threads,
                    experimental_delegates=[delegate],
                )
            )


def delegate_library(options: Mapping[str, str]) -> str:
    """What the dynamic linker is asked for.

    Raises:
        CallerError: MF-4050, the option names no library of the system image. A release may choose among
            what the board's maker installed; it must not bring native code of its own.
    """
    library = options.get("delegate", DELEGATE)
    plain = "/" not in library
    if ".." in library or not _LIBRARY.search(library) or not (plain or library.startswith(_FOLDERS)):
        raise CallerError(
            Code.RUNTIME_OPTION,
            f"the variant wants the delegate {library!r}",
            expected=f"a library's file name, or its path below {', '.join(_FOLDERS)}",
            todo="correct the option `delegate` of the device class and rebuild the release",
        )
    return library


plugin = EthosU()
