"""Reads what Vela says of a compiled network: its summary (CSV) and its warnings (text).

Columns are found by name; a version of Vela that drops or renames one is refused, not misread.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

_KIB = 1024
_WARNING = re.compile(r"^Warning \([^)]*\) operator: \S+, ofm: '(?P<name>.*)'$")
_REASON = "Reason: "
_MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class VelaSummary:
    """The summary of one network; estimates of the compiler.

    Attributes:
        system_config, memory_mode: Sections of `vela.ini` that it compiled for.
        cycles: Accelerator cycles of one inference, None where the accelerator runs nothing.
        inference_us: Microseconds of them at the configured clock, None likewise.
        sram_bytes, flash_bytes, dram_bytes: Memory used; flash on and off the chip together.
    """

    system_config: str
    memory_mode: str
    cycles: int | None
    inference_us: float | None
    sram_bytes: int
    flash_bytes: int
    dram_bytes: int


def summary(text: str) -> VelaSummary:
    """The first network of a summary CSV.

    Raises:
        WorldError: MF-1432, it is not a summary that we know.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if len(rows) != 1:
        raise _strange(f"has {len(rows)} rows, expected 1")
    row = rows[0]
    cycles = round(_number(row, "cycles_total"))
    seconds = _number(row, "inference_time")
    flash = _number(row, "on_chip_flash_memory_used") + _number(row, "off_chip_flash_memory_used")
    return VelaSummary(
        system_config=_text(row, "system_config"),
        memory_mode=_text(row, "memory_mode"),
        cycles=cycles or None,
        inference_us=1e6 * seconds if cycles else None,
        sram_bytes=round(_KIB * _number(row, "sram_memory_used")),
        flash_bytes=round(_KIB * flash),
        dram_bytes=round(_KIB * _number(row, "dram_memory_used")),
    )


def reasons(output: str) -> dict[str, str]:
    """Name of an operator's output -> why the processor has to run the operator.

    A warning is a line that names the operator, then `Reason: ` and more lines up to an empty one.
    """
    found: dict[str, str] = {}
    name: str | None = None
    for line in output.splitlines():
        matched = _WARNING.match(line)
        if matched is not None:
            name = str(matched["name"])
            found.setdefault(name, "")
        elif name is not None and line.strip():
            found[name] = f"{found[name]} {line.removeprefix(_REASON).strip()}".strip()[:_MAX_REASON]
        else:
            name = None
    return {name: why for name, why in found.items() if why}


def _text(row: dict[str, str], column: str) -> str:
    value = row.get(column)
    if value is None:
        raise _strange(f"has no column {column}")
    return value


def _number(row: dict[str, str], column: str) -> float:
    text = _text(row, column)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise _strange(f"says {text[:40]!r} in column {column}")
    return value


def _strange(what: str) -> WorldError:
    return WorldError(
        Code.CONVERSION_FAILED,
        f"the summary that Vela wrote {what}",
        expected="one row with the columns of ethos-u-vela 4 and 5",
        todo="install a version of ethos-u-vela that Modelfleet was tested with",
    )
