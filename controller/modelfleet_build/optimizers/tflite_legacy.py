"""Variants for tflite-runtime 2.14: fp32 and full int8 TFLite, held to what that interpreter has.

Dynamic int8 is not offered: tflite-runtime answers per-channel fully connected weights with garbage and no
error (ADR 0004). Operators and their versions are checked against the table that was measured from its wheel,
which needs numpy 1 and so cannot share the builder's environment; the answers are measured in LiteRT, on the
same file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelfleet_build.optimizers import tflite_quantising as tflite
from modelfleet_build.optimizers.legacy_operators import NEWEST
from modelfleet_build.optimizers.tflite_operators import operator_name, told
from modelfleet_build.port import ConversionTask, Converted, Recipe, StandIn, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_runtimes.tflite_file import TfliteFile
from modelfleet_runtimes.tflite_legacy import garbage

_WHY = (
    "the file itself in LiteRT, its successor: tflite-runtime needs numpy 1 and does not run beside the "
    "builder; its times are others"
)


@dataclass(frozen=True, slots=True)
class TfliteLegacyOptimizer:
    """The plug-in `tflite-legacy`."""

    name: str = "tflite-legacy"
    runtime: str = "tflite-legacy"
    packages: tuple[str, ...] = tflite.PACKAGES
    recipes: tuple[Recipe, ...] = (tflite.FP32, tflite.INT8)
    # Without times there is nothing to compare with; the class lists fp32, so it stays available.
    float_recipe: str | None = None
    options: tuple[str, ...] = ()

    def runtime_options(self, options: Mapping[str, str]) -> dict[str, str]:
        """See `port.Optimizer.runtime_options`."""
        return {}

    def alternatives(self, recipe: Recipe) -> tuple[Recipe, ...]:
        """See `port.Optimizer.alternatives`."""
        return tflite.alternatives(recipe)

    def convert(self, task: ConversionTask, tell: Tell) -> Converted:
        """See `port.Optimizer.convert`."""
        made = tflite.make_tflite(task, tell)
        check_legacy(made.file)
        (task.folder / tflite.ENTRY).write_bytes(made.data)
        return Converted(
            entry=tflite.ENTRY,
            contract=made.contract,
            stand_in=StandIn("litert", tflite.ENTRY, made.contract, _WHY, shipped=True),
        )


def check_legacy(file: TfliteFile) -> None:
    """Refuse what tflite-runtime 2.14 does not have, or computes wrongly.

    Raises:
        CallerError: MF-1431; the operator is named.
    """
    for operator in file.operators:
        name = operator_name(operator)
        newest = NEWEST.get(name, 0)
        if operator.version > newest:
            has = f"has it up to version {newest}" if newest else "has none of that name"
            raise _unsupported(
                f"the model needs version {operator.version} of {told(file, operator)}; tflite-runtime 2.14 "
                f"{has}"
            )
    if (output := garbage(file)) is not None:
        raise _unsupported(
            f"FULLY_CONNECTED {output!r} has per-channel int8 weights and float activations, which "
            "tflite-runtime 2.14 answers with garbage"
        )


def _unsupported(happened: str) -> CallerError:
    return CallerError(
        Code.OPERATOR_UNSUPPORTED,
        happened,
        expected="operators that tflite-runtime 2.14 has and computes rightly",
        todo="leave this class out, or move its devices to LiteRT",
    )


plugin = TfliteLegacyOptimizer()
