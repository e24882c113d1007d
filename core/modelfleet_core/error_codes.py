"""The one registry of error codes. A code is never reused and never changes its meaning.

Ranges: 10xx-13xx plans, files and rollout verbs; 14xx-15xx building; 16xx-17xx releases, blobs and devices at the
controller; 20xx-22xx trust and signatures; 30xx-33xx the device's agent; 40xx serving; 50xx the world (disk,
network, processes); 60xx command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Code(Enum):
    """Stable error codes; documented in `docs/reference/errors.md` (written from `REGISTRY`)."""

    # 10xx-13xx: plans, files, rollouts (owner: core/rollout, core/files)
    FILE_NOT_A_RESOURCE = "MF-1001"
    FIELD_UNKNOWN = "MF-1002"
    FIELD_WRONG_TYPE = "MF-1003"
    FIELD_MISSING = "MF-1004"
    FIELD_NOT_SUPPORTED = "MF-1005"
    FIELD_OUT_OF_RANGE = "MF-1006"
    PLAN_STAGES_SHRINK = "MF-1010"
    PLAN_STAGE_ORDER = "MF-1011"
    PLAN_STAGE_SIZE = "MF-1012"
    PLAN_DEADLINE = "MF-1013"
    PLAN_NO_GATES = "MF-1014"
    PLAN_GATE_NO_TOLERANCE = "MF-1015"
    PLAN_LIMIT = "MF-1016"
    PLAN_GATE_FIELD = "MF-1017"
    SKETCH_INVALID = "MF-1030"
    REPORT_CONTRADICTS = "MF-1031"
    NOTHING_TO_UNDO = "MF-1040"
    # 14xx-15xx: building variants (owner: modelfleet_build)
    # 16xx-17xx: controller (owner: modelfleet_controller)
    BODY_INVALID = "MF-1601"
    NOT_FOUND = "MF-1602"
    # 20xx-22xx: trust (owner: core/trust)
    # 30xx-33xx: agent (owner: modelfleet_agent)
    # 40xx: serving and runtimes
    # 50xx: the world
    # 60xx: command line


@dataclass(frozen=True, slots=True)
class CodeInfo:
    """What a code stands for, in one short title (for docs and problem+json)."""

    title: str


REGISTRY: Final[dict[Code, CodeInfo]] = {
    Code.FILE_NOT_A_RESOURCE: CodeInfo("The file is not a Modelfleet resource"),
    Code.FIELD_UNKNOWN: CodeInfo("A field is not known"),
    Code.FIELD_WRONG_TYPE: CodeInfo("A field has the wrong type or spelling"),
    Code.FIELD_MISSING: CodeInfo("A required field is missing"),
    Code.FIELD_NOT_SUPPORTED: CodeInfo("A field is known but not enforced by this version"),
    Code.FIELD_OUT_OF_RANGE: CodeInfo("A value is outside its range"),
    Code.PLAN_STAGES_SHRINK: CodeInfo("A stage is smaller than one before it"),
    Code.PLAN_STAGE_ORDER: CodeInfo("The stages are in an order that cannot work"),
    Code.PLAN_STAGE_SIZE: CodeInfo("A stage does not say how large it is"),
    Code.PLAN_DEADLINE: CodeInfo("A stage's deadline is not after its bake time"),
    Code.PLAN_NO_GATES: CodeInfo("A plan without gates and without a reason"),
    Code.PLAN_GATE_NO_TOLERANCE: CodeInfo("A gate does not say what it tolerates"),
    Code.PLAN_LIMIT: CodeInfo("A gate's limit is not above its tolerance"),
    Code.PLAN_GATE_FIELD: CodeInfo("A gate has a setting that its metric does not know"),
    Code.SKETCH_INVALID: CodeInfo("A histogram cannot be read"),
    Code.REPORT_CONTRADICTS: CodeInfo("The numbers of a report contradict each other"),
    Code.NOTHING_TO_UNDO: CodeInfo("There is no baseline to go back to"),
    Code.BODY_INVALID: CodeInfo("A request body is malformed"),
    Code.NOT_FOUND: CodeInfo("There is no such thing"),
}
