"""The one registry of error codes. A code is never reused and never changes its meaning.

Ranges: 10xx-13xx plans, files and rollout verbs; 14xx-15xx building; 16xx-17xx releases, blobs and devices at
the controller; 20xx-22xx trust and signatures; 30xx-33xx the device's agent; 40xx serving; 50xx the world
(disk, network, processes); 60xx command line.
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
    MODEL_NOT_ONNX = "MF-1401"
    MODEL_TRUNCATED = "MF-1402"
    MODEL_TOO_LARGE = "MF-1403"
    MODEL_EXTERNAL_DATA = "MF-1404"
    MODEL_OPSET = "MF-1405"
    MODEL_SIGNATURE = "MF-1406"
    MODEL_INVALID = "MF-1407"
    DATASET_UNREADABLE = "MF-1410"
    DATASET_SHAPE = "MF-1411"
    DATASET_DTYPE = "MF-1412"
    DATASET_NOT_FINITE = "MF-1413"
    DATASET_EMPTY = "MF-1414"
    DATASET_LABELS = "MF-1415"
    DATASET_OVERLAP = "MF-1416"
    CALIBRATION_MISSING = "MF-1417"
    DATASET_TOO_LARGE = "MF-1418"
    DATASET_TRUTH = "MF-1419"
    BUILD_CLASS_UNKNOWN = "MF-1420"
    BUILD_PRECISION = "MF-1421"
    BUILD_OUTPUT_EXISTS = "MF-1422"
    BUILD_REQUEST = "MF-1423"
    BUILD_RECIPE = "MF-1424"
    BUILD_OPTION = "MF-1425"
    OPTIMIZER_MISSING = "MF-1430"
    OPERATOR_UNSUPPORTED = "MF-1431"
    CONVERSION_FAILED = "MF-1432"
    CONVERSION_TIMEOUT = "MF-1433"
    CONVERSION_MEMORY = "MF-1434"
    CONVERSION_DIED = "MF-1435"
    BUDGET_EXCEEDED = "MF-1440"
    VARIANT_NOT_FINITE = "MF-1441"
    LIMIT_EXCEEDED = "MF-1442"
    LIMIT_UNCHECKED = "MF-1443"
    COVERAGE_TOO_LOW = "MF-1444"
    BUILD_REPORT_UNREADABLE = "MF-1450"
    BUILD_NOT_WRITTEN = "MF-1451"
    KEEP_FLOAT_UNKNOWN = "MF-1461"
    CALIBRATION_TOO_FEW = "MF-1462"
    HEADER_NOT_POSSIBLE = "MF-1466"
    ISOLATED_NOT_MADE = "MF-1470"
    ISOLATED_UNKNOWN = "MF-1471"
    COMPANION_MISSING = "MF-1472"
    COMPANION_INVALID = "MF-1473"
    KEEP_FLOAT_UNSUPPORTED = "MF-1474"
    EXTERNAL_FAILED = "MF-1475"
    EXTERNAL_RESULT = "MF-1476"
    HOOK_INVALID = "MF-1477"
    HOOK_FAILED = "MF-1478"
    BUILD_JOB_FOLDER = "MF-1480"
    EXPLAIN_VARIANT = "MF-1452"
    EXPLAIN_PARENT = "MF-1453"
    LAYERS_OPAQUE = "MF-1454"
    PREVIOUS_UNREADABLE = "MF-1456"
    # 16xx-17xx: controller (owner: modelfleet_controller)
    BODY_INVALID = "MF-1601"
    NOT_FOUND = "MF-1602"
    TOKEN_INVALID = "MF-1603"
    TOKEN_EXPIRED = "MF-1604"
    TOKEN_REVOKED = "MF-1605"
    TOKEN_USED_UP = "MF-1606"
    FORBIDDEN = "MF-1607"
    OVERRIDE_NOT_ALLOWED = "MF-1608"
    LABEL_CONFLICT = "MF-1609"
    DEVICE_REVOKED = "MF-1611"
    DEVICE_REQUEST = "MF-1612"
    BLOB_DIGEST = "MF-1620"
    BLOB_MISSING = "MF-1621"
    BLOB_RANGE = "MF-1622"
    BLOB_TOO_LARGE = "MF-1623"
    RELEASE_EXISTS = "MF-1630"
    RELEASE_INCOMPLETE = "MF-1631"
    CLASS_SHIPPED = "MF-1640"
    CLASS_UNKNOWN = "MF-1641"
    ROLLOUT_CONFLICT = "MF-1650"
    ROLLOUT_NOBODY = "MF-1651"
    ROLLOUT_NO_VARIANT = "MF-1652"
    VERB_NOT_NOW = "MF-1653"
    IDEMPOTENCY_REUSED = "MF-1654"
    REASON_MISSING = "MF-1655"
    SCHEMA_NEWER = "MF-1660"
    LISTEN_UNPROTECTED = "MF-1661"
    SETTINGS_INVALID = "MF-1662"
    DATA_IN_USE = "MF-1663"
    BUILDS_NOT_OFFERED = "MF-1670"
    BUILD_LOST = "MF-1671"
    # 20xx-22xx: trust (owner: core/trust)
    KEY_INVALID = "MF-2001"
    KEY_WRONG_KIND = "MF-2002"
    KEY_PASSPHRASE = "MF-2003"
    ENVELOPE_INVALID = "MF-2010"
    ENVELOPE_TOO_LARGE = "MF-2011"
    ENVELOPE_PAYLOAD_TYPE = "MF-2012"
    ENVELOPE_SIGNATURES = "MF-2013"
    SIGNER_UNKNOWN = "MF-2014"
    SIGNATURE_BAD = "MF-2015"
    BUNDLE_INVALID = "MF-2020"
    BUNDLE_MEDIA_TYPE = "MF-2021"
    BUNDLE_MATERIAL = "MF-2022"
    BUNDLE_MISSING = "MF-2023"
    STATEMENT_INVALID = "MF-2030"
    STATEMENT_TYPE = "MF-2031"
    STATEMENT_FILE_NAME = "MF-2032"
    STATEMENT_FILE_REPEATED = "MF-2033"
    STATEMENT_NO_MANIFEST = "MF-2034"
    STATEMENT_DIGEST = "MF-2035"
    STATEMENT_OTHER_RELEASE = "MF-2036"
    FILE_DIGEST = "MF-2040"
    FILE_UNSIGNED = "MF-2041"
    FILE_NOT_THERE = "MF-2042"
    TRUST_FILE_INVALID = "MF-2050"
    TRUST_FILE_NO_KEYS = "MF-2051"
    DIRECTOR_DEVICE = "MF-2101"
    DIRECTOR_REVISION = "MF-2102"
    DIRECTOR_NONCE = "MF-2103"
    DIRECTOR_EXPIRED = "MF-2104"
    DIRECTOR_INVALID = "MF-2105"
    TIME_INVALID = "MF-2106"
    TIME_NONCE = "MF-2107"
    REQUEST_UNSIGNED = "MF-2201"
    REQUEST_SIGNATURE_FORM = "MF-2202"
    REQUEST_DIGEST = "MF-2203"
    REQUEST_AUDIENCE = "MF-2204"
    REQUEST_CLOCK = "MF-2205"
    REQUEST_SIGNATURE_BAD = "MF-2206"
    REQUEST_REPLAYED = "MF-2207"
    REQUEST_KEY_UNKNOWN = "MF-2208"
    # 30xx-33xx: agent (owner: modelfleet_agent)
    LIFECYCLE_ILLEGAL = "MF-3001"
    STATE_NEWER = "MF-3002"
    STATE_LOCKED = "MF-3003"
    STATE_UNREADABLE = "MF-3004"
    NOT_ENROLLED = "MF-3005"
    ALREADY_ENROLLED = "MF-3006"
    NO_TRUST_FILE = "MF-3007"
    CONTROLLER_INSECURE = "MF-3008"
    IDENTITY_BROKEN = "MF-3009"
    OTHER_CONTROLLER = "MF-3010"
    SETTINGS_UNREADABLE = "MF-3011"
    AGENT_NOT_RUNNING = "MF-3012"
    NO_FITTING_VARIANT = "MF-3020"
    SLOT_OF_OTHER_RELEASE = "MF-3022"
    REJECTED_BEFORE = "MF-3023"
    LOAD_TIMEOUT = "MF-3030"
    GOLDEN_DROP = "MF-3031"
    ROLLED_BACK_BY_HAND = "MF-3032"
    OPERATION_WITHDRAWN = "MF-3033"
    OPERATION_REPLACED = "MF-3034"
    STATE_CRASH_LOOP = "MF-3035"
    NOTHING_TO_ROLL_BACK = "MF-3036"
    SLOT_UNKNOWN = "MF-3037"
    SERVE_FELL_BACK = "MF-3038"
    SWITCH_TIMEOUT = "MF-3039"
    CONTROLLER_ANSWER = "MF-3050"
    # 40xx: serving and runtimes
    RUNTIME_UNKNOWN = "MF-4001"
    RUNTIME_MISSING = "MF-4002"
    MODEL_LOAD_FAILED = "MF-4003"
    CONTRACT_MISMATCH = "MF-4004"
    INPUT_BREAKS_CONTRACT = "MF-4005"
    INFERENCE_FAILED = "MF-4006"
    OUTPUT_WRONG = "MF-4007"
    TASK_NOT_SUPPORTED = "MF-4008"
    ENTRY_NOT_SUPPORTED = "MF-4009"
    SESSION_CLOSED = "MF-4010"
    OUTPUTS_NOT_COMPARABLE = "MF-4011"
    GOLDEN_UNREADABLE = "MF-4012"
    DECODER_UNKNOWN = "MF-4013"
    DECODER_UNFIT = "MF-4014"
    DECODER_MISSING = "MF-4015"
    SLOT_EMPTY = "MF-4020"
    REQUEST_INVALID = "MF-4021"
    SERVE_OVERLOADED = "MF-4022"
    DEADLINE_PASSED = "MF-4023"
    SERVE_DRAINING = "MF-4024"
    WORKER_DIED = "MF-4025"
    WORKER_HUNG = "MF-4026"
    WORKER_CRASH_LOOP = "MF-4027"
    OUTPUT_NOT_FINITE = "MF-4028"
    TOO_MANY_FAILURES = "MF-4029"
    SELF_TEST_FAILED = "MF-4030"
    WORKER_START_FAILED = "MF-4031"
    SERVE_ALREADY_RUNS = "MF-4032"
    SERVE_CANNOT_LISTEN = "MF-4033"
    SERVE_TABLE_UNREADABLE = "MF-4034"
    SERVE_UNREACHABLE = "MF-4035"
    FRAME_INVALID = "MF-4036"
    CONTROL_PROTOCOL = "MF-4037"
    VARIANT_INCOMPLETE = "MF-4038"
    RUNTIME_OPTION = "MF-4050"
    ACCELERATOR_ABSENT = "MF-4051"
    DELEGATE_MISSING = "MF-4057"
    VARIANT_GARBAGE = "MF-4058"
    RUNTIME_ELSEWHERE = "MF-4063"
    TENSORRT_VERSION = "MF-4052"
    ENGINE_BUILD_FAILED = "MF-4053"
    # 50xx: the world
    DISK_FULL = "MF-5001"
    DATABASE_FAILED = "MF-5002"
    CONTROLLER_BUSY = "MF-5003"
    CONTROLLER_UNREACHABLE = "MF-5010"
    CANCELLED = "MF-5012"
    # 60xx: command line
    CLI_NO_CONTEXT = "MF-6001"
    CLI_CONFIG_INVALID = "MF-6002"
    CLI_ANSWER = "MF-6003"
    CLI_FILE = "MF-6004"
    CLI_EXISTS = "MF-6005"
    CLI_CONFIRM = "MF-6006"
    CLI_EXTRA_MISSING = "MF-6007"
    CLI_PROGRAM_DIED = "MF-6008"
    CLI_TRUST_UNKNOWN = "MF-6009"
    CLI_TRUST_CHANGED = "MF-6010"
    CLI_ARGUMENT = "MF-6011"
    CLI_INSECURE = "MF-6012"
    CLI_AMBIGUOUS = "MF-6013"
    CLI_NO_SECRET = "MF-6014"
    DEMO_WORK_FOLDER = "MF-6050"
    DEMO_MODELS = "MF-6051"
    DEMO_PROCESS = "MF-6052"
    DEMO_TOO_LATE = "MF-6053"


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
    Code.TOKEN_INVALID: CodeInfo("A token is not known"),
    Code.TOKEN_EXPIRED: CodeInfo("A token has expired"),
    Code.TOKEN_REVOKED: CodeInfo("A token was revoked"),
    Code.TOKEN_USED_UP: CodeInfo("An enrolment token was used as often as it may be"),
    Code.FORBIDDEN: CodeInfo("A token may not do this"),
    Code.OVERRIDE_NOT_ALLOWED: CodeInfo("Configured facts need a token that allows them"),
    Code.LABEL_CONFLICT: CodeInfo("A label contradicts the one that the token gives"),
    Code.DEVICE_REVOKED: CodeInfo("A device was revoked"),
    Code.DEVICE_REQUEST: CodeInfo("A device's request contradicts itself"),
    Code.BLOB_DIGEST: CodeInfo("Uploaded bytes do not have the promised digest"),
    Code.BLOB_MISSING: CodeInfo("A blob was not uploaded"),
    Code.BLOB_RANGE: CodeInfo("A range lies outside the blob"),
    Code.BLOB_TOO_LARGE: CodeInfo("A blob is too large"),
    Code.RELEASE_EXISTS: CodeInfo("A release of that name and version exists already"),
    Code.RELEASE_INCOMPLETE: CodeInfo("A release's files, bundles and manifest do not agree"),
    Code.CLASS_SHIPPED: CodeInfo("A shipped device class cannot be changed"),
    Code.CLASS_UNKNOWN: CodeInfo("A device class is not known"),
    Code.ROLLOUT_CONFLICT: CodeInfo("Another active rollout holds these devices in this slot"),
    Code.ROLLOUT_NOBODY: CodeInfo("A selector matches no device"),
    Code.ROLLOUT_NO_VARIANT: CodeInfo("The release has no fitting variant for any selected device"),
    Code.VERB_NOT_NOW: CodeInfo("A verb does not fit the rollout's state"),
    Code.IDEMPOTENCY_REUSED: CodeInfo("An idempotency key was used for something else"),
    Code.REASON_MISSING: CodeInfo("A verb needs a reason"),
    Code.SCHEMA_NEWER: CodeInfo("The database is of a version that this program does not know"),
    Code.LISTEN_UNPROTECTED: CodeInfo("A listener beyond this machine needs TLS"),
    Code.SETTINGS_INVALID: CodeInfo("A setting is not valid"),
    Code.DATA_IN_USE: CodeInfo("Another controller uses the data directory"),
    Code.BUILDS_NOT_OFFERED: CodeInfo("The controller builds nothing"),
    Code.BUILD_LOST: CodeInfo("The process of a build ended without an outcome"),
    Code.KEY_INVALID: CodeInfo("A key cannot be read"),
    Code.KEY_WRONG_KIND: CodeInfo("A key is of a kind that is not accepted here"),
    Code.KEY_PASSPHRASE: CodeInfo("The passphrase of a private key is missing or wrong"),
    Code.ENVELOPE_INVALID: CodeInfo("A signed envelope is malformed"),
    Code.ENVELOPE_TOO_LARGE: CodeInfo("A signed envelope is larger than allowed"),
    Code.ENVELOPE_PAYLOAD_TYPE: CodeInfo("A signed envelope holds something else than expected"),
    Code.ENVELOPE_SIGNATURES: CodeInfo("A signed envelope does not have exactly one signature"),
    Code.SIGNER_UNKNOWN: CodeInfo("The signer's key is not among the trusted ones"),
    Code.SIGNATURE_BAD: CodeInfo("A signature does not match the signed content"),
    Code.BUNDLE_INVALID: CodeInfo("A release bundle is malformed"),
    Code.BUNDLE_MEDIA_TYPE: CodeInfo("A release bundle has the wrong media type"),
    Code.BUNDLE_MATERIAL: CodeInfo("A release bundle names no public key"),
    Code.BUNDLE_MISSING: CodeInfo("A variant is not signed"),
    Code.STATEMENT_INVALID: CodeInfo("A signed statement is malformed"),
    Code.STATEMENT_TYPE: CodeInfo("A signed statement is of another type"),
    Code.STATEMENT_FILE_NAME: CodeInfo("A signed file name leaves the variant folder"),
    Code.STATEMENT_FILE_REPEATED: CodeInfo("A signed statement names a file twice"),
    Code.STATEMENT_NO_MANIFEST: CodeInfo("A signed statement does not cover release.json"),
    Code.STATEMENT_DIGEST: CodeInfo("A signed statement contradicts itself"),
    Code.STATEMENT_OTHER_RELEASE: CodeInfo("A signed statement belongs to another release or variant"),
    Code.FILE_DIGEST: CodeInfo("A file is not the one that was signed"),
    Code.FILE_UNSIGNED: CodeInfo("A file is not covered by the signature"),
    Code.FILE_NOT_THERE: CodeInfo("A signed file is missing"),
    Code.TRUST_FILE_INVALID: CodeInfo("A trust file cannot be read"),
    Code.TRUST_FILE_NO_KEYS: CodeInfo("A trust file holds no key that could be trusted"),
    Code.DIRECTOR_DEVICE: CodeInfo("A director statement is for another device"),
    Code.DIRECTOR_REVISION: CodeInfo("A director statement is older than one seen before"),
    Code.DIRECTOR_NONCE: CodeInfo("A director statement answers another request"),
    Code.DIRECTOR_EXPIRED: CodeInfo("A director statement has expired"),
    Code.DIRECTOR_INVALID: CodeInfo("A director statement is malformed"),
    Code.TIME_INVALID: CodeInfo("A signed time is malformed"),
    Code.TIME_NONCE: CodeInfo("A signed time answers another request"),
    Code.REQUEST_UNSIGNED: CodeInfo("A device's request carries no signature"),
    Code.REQUEST_SIGNATURE_FORM: CodeInfo("The signature headers of a request are malformed"),
    Code.REQUEST_DIGEST: CodeInfo("The body of a request is not the one that was signed"),
    Code.REQUEST_AUDIENCE: CodeInfo("A request was signed for another controller"),
    Code.REQUEST_CLOCK: CodeInfo("A request was signed at another time than now"),
    Code.REQUEST_SIGNATURE_BAD: CodeInfo("The signature of a request does not match it"),
    Code.REQUEST_REPLAYED: CodeInfo("A request was sent before"),
    Code.REQUEST_KEY_UNKNOWN: CodeInfo("The key of a request is not known"),
    Code.DISK_FULL: CodeInfo("There is no space left on the disk"),
    Code.DATABASE_FAILED: CodeInfo("The database cannot be used"),
    Code.CONTROLLER_BUSY: CodeInfo("The controller has no capacity left for this request"),
    Code.MODEL_NOT_ONNX: CodeInfo("The file is not an ONNX model"),
    Code.MODEL_TRUNCATED: CodeInfo("The ONNX file is incomplete or damaged"),
    Code.MODEL_TOO_LARGE: CodeInfo("The model is larger than the builder accepts"),
    Code.MODEL_EXTERNAL_DATA: CodeInfo("The model's external data cannot be used"),
    Code.MODEL_OPSET: CodeInfo("The model's operator set is not supported"),
    Code.MODEL_SIGNATURE: CodeInfo("The model's inputs or outputs are not supported"),
    Code.MODEL_INVALID: CodeInfo("The ONNX model is not valid"),
    Code.DATASET_UNREADABLE: CodeInfo("A data set cannot be read"),
    Code.DATASET_SHAPE: CodeInfo("A data set has the wrong shape"),
    Code.DATASET_DTYPE: CodeInfo("A data set has the wrong element type"),
    Code.DATASET_NOT_FINITE: CodeInfo("A data set holds NaN or infinite values"),
    Code.DATASET_EMPTY: CodeInfo("A data set is empty"),
    Code.DATASET_LABELS: CodeInfo("The labels of a data set are unusable"),
    Code.DATASET_OVERLAP: CodeInfo("Two data sets share samples"),
    Code.CALIBRATION_MISSING: CodeInfo("int8 needs calibration data"),
    Code.DATASET_TOO_LARGE: CodeInfo("A data set is too large to travel with the variants"),
    Code.DATASET_TRUTH: CodeInfo("Boxes, masks or targets of a data set do not fit the model"),
    Code.BUILD_CLASS_UNKNOWN: CodeInfo("The device class is not known"),
    Code.BUILD_PRECISION: CodeInfo("A class cannot be built in that precision"),
    Code.BUILD_OUTPUT_EXISTS: CodeInfo("The output folder is already in use"),
    Code.BUILD_REQUEST: CodeInfo("A build option is out of range"),
    Code.BUILD_RECIPE: CodeInfo("A device class names a recipe that its optimizer does not have"),
    Code.BUILD_OPTION: CodeInfo("A device class sets an option that its optimizer does not take"),
    Code.OPTIMIZER_MISSING: CodeInfo("The builder of a class is not installed"),
    Code.OPERATOR_UNSUPPORTED: CodeInfo("An operator of the model cannot be converted"),
    Code.CONVERSION_FAILED: CodeInfo("A conversion failed"),
    Code.CONVERSION_TIMEOUT: CodeInfo("A conversion took too long"),
    Code.CONVERSION_MEMORY: CodeInfo("A conversion took too much memory"),
    Code.CONVERSION_DIED: CodeInfo("A conversion died"),
    Code.BUDGET_EXCEEDED: CodeInfo("A variant loses more accuracy than the budget allows"),
    Code.VARIANT_NOT_FINITE: CodeInfo("A variant gives NaN where its parent does not"),
    Code.LIMIT_EXCEEDED: CodeInfo("A variant takes more than a limit of its device class"),
    Code.LIMIT_UNCHECKED: CodeInfo(
        "A limit of the device class cannot be checked here, so the variant is refused"
    ),
    Code.COVERAGE_TOO_LOW: CodeInfo("The accelerator runs too little of a variant"),
    Code.BUILD_REPORT_UNREADABLE: CodeInfo("A build report cannot be read"),
    Code.BUILD_NOT_WRITTEN: CodeInfo("A release folder cannot be written"),
    Code.KEEP_FLOAT_UNKNOWN: CodeInfo("An operator that shall stay in float is not in the model"),
    Code.CALIBRATION_TOO_FEW: CodeInfo("There are too few calibration samples to hold some back"),
    Code.HEADER_NOT_POSSIBLE: CodeInfo("A variant cannot be written as a C header"),
    Code.ISOLATED_NOT_MADE: CodeInfo("An isolated environment cannot be made"),
    Code.ISOLATED_UNKNOWN: CodeInfo("There is no isolated tool of that name"),
    Code.COMPANION_MISSING: CodeInfo("A converter needs the model in another form, and none was given"),
    Code.COMPANION_INVALID: CodeInfo("The model's other form cannot be used"),
    Code.KEEP_FLOAT_UNSUPPORTED: CodeInfo("An optimizer cannot keep single nodes in float"),
    Code.EXTERNAL_FAILED: CodeInfo("An external builder failed"),
    Code.EXTERNAL_RESULT: CodeInfo("An external builder's result breaks its contract"),
    Code.HOOK_INVALID: CodeInfo("A training hook breaks its contract"),
    Code.HOOK_FAILED: CodeInfo("A training hook failed"),
    Code.BUILD_JOB_FOLDER: CodeInfo("The folder of a build cannot be worked in"),
    Code.EXPLAIN_VARIANT: CodeInfo("A release folder has no such variant"),
    Code.EXPLAIN_PARENT: CodeInfo("The float parent of a release is not at hand"),
    Code.LAYERS_OPAQUE: CodeInfo("The layers of a variant cannot be seen"),
    Code.PREVIOUS_UNREADABLE: CodeInfo("The previous release of a build cannot be read"),
    Code.LIFECYCLE_ILLEGAL: CodeInfo("An event means nothing in the slot's state"),
    Code.STATE_NEWER: CodeInfo("The state directory is from a newer version"),
    Code.STATE_LOCKED: CodeInfo("Another agent owns the state directory"),
    Code.STATE_UNREADABLE: CodeInfo("A file of the state directory cannot be read"),
    Code.NOT_ENROLLED: CodeInfo("The device is not enrolled"),
    Code.ALREADY_ENROLLED: CodeInfo("The device is enrolled already"),
    Code.NO_TRUST_FILE: CodeInfo("Enrolment without a trust file"),
    Code.CONTROLLER_INSECURE: CodeInfo("The controller would be reached without TLS"),
    Code.IDENTITY_BROKEN: CodeInfo("The device's identity cannot be used"),
    Code.OTHER_CONTROLLER: CodeInfo("The controller is not the one that the trust file names"),
    Code.SETTINGS_UNREADABLE: CodeInfo("The agent's settings cannot be read"),
    Code.AGENT_NOT_RUNNING: CodeInfo("No agent runs on this state directory"),
    Code.NO_FITTING_VARIANT: CodeInfo("The release has no variant that fits the device"),
    Code.SLOT_OF_OTHER_RELEASE: CodeInfo("A release is assigned to a slot of another name"),
    Code.REJECTED_BEFORE: CodeInfo("The release was taken back on this device before"),
    Code.LOAD_TIMEOUT: CodeInfo("The candidate did not become ready in time"),
    Code.GOLDEN_DROP: CodeInfo("The candidate loses too much accuracy on the golden set"),
    Code.ROLLED_BACK_BY_HAND: CodeInfo("Somebody at the device rolled the release back"),
    Code.OPERATION_WITHDRAWN: CodeInfo("The controller took the operation back"),
    Code.OPERATION_REPLACED: CodeInfo("A newer operation replaced this one"),
    Code.STATE_CRASH_LOOP: CodeInfo("The agent crashes again and again in one state"),
    Code.NOTHING_TO_ROLL_BACK: CodeInfo("The slot has nothing to go back to"),
    Code.SLOT_UNKNOWN: CodeInfo("The device has no such slot"),
    Code.SERVE_FELL_BACK: CodeInfo("Serve went back from a release by itself"),
    Code.SWITCH_TIMEOUT: CodeInfo("Serve did not switch to the candidate in time"),
    Code.CONTROLLER_ANSWER: CodeInfo("The controller's answer cannot be used"),
    Code.RUNTIME_UNKNOWN: CodeInfo("There is no runtime plug-in of that name"),
    Code.RUNTIME_MISSING: CodeInfo("A runtime is not installed"),
    Code.MODEL_LOAD_FAILED: CodeInfo("A runtime cannot load a variant"),
    Code.CONTRACT_MISMATCH: CodeInfo("A model file does not fit its input contract"),
    Code.INPUT_BREAKS_CONTRACT: CodeInfo("An input breaks the input contract"),
    Code.INFERENCE_FAILED: CodeInfo("A runtime failed on an input"),
    Code.OUTPUT_WRONG: CodeInfo("A model answered in the wrong shape"),
    Code.TASK_NOT_SUPPORTED: CodeInfo("The task is not supported by this version"),
    Code.ENTRY_NOT_SUPPORTED: CodeInfo("A runtime cannot open this kind of file"),
    Code.SESSION_CLOSED: CodeInfo("A model was used after it was closed"),
    Code.OUTPUTS_NOT_COMPARABLE: CodeInfo("The outputs of two models cannot be compared"),
    Code.GOLDEN_UNREADABLE: CodeInfo("A golden set cannot be read"),
    Code.DECODER_UNKNOWN: CodeInfo("There is no decoder plug-in of that name"),
    Code.DECODER_UNFIT: CodeInfo("A decoder does not fit the model's outputs"),
    Code.DECODER_MISSING: CodeInfo("A detector has no decoder"),
    Code.SLOT_EMPTY: CodeInfo("The slot has no model that could answer"),
    Code.REQUEST_INVALID: CodeInfo("An inference request cannot be understood"),
    Code.SERVE_OVERLOADED: CodeInfo("More requests wait than serve accepts"),
    Code.DEADLINE_PASSED: CodeInfo("The deadline of a request passed before its answer"),
    Code.SERVE_DRAINING: CodeInfo("Serve is shutting down and takes no more requests"),
    Code.WORKER_DIED: CodeInfo("The worker of a model died"),
    Code.WORKER_HUNG: CodeInfo("The worker of a model hung and was ended"),
    Code.WORKER_CRASH_LOOP: CodeInfo("The worker of a model dies again and again"),
    Code.OUTPUT_NOT_FINITE: CodeInfo("The answer of a model is not finite"),
    Code.TOO_MANY_FAILURES: CodeInfo("Too many answers of a freshly switched model failed"),
    Code.SELF_TEST_FAILED: CodeInfo("A variant does not reproduce its recorded answers"),
    Code.WORKER_START_FAILED: CodeInfo("The worker of a model did not get ready"),
    Code.SERVE_ALREADY_RUNS: CodeInfo("Another serve owns the state directory"),
    Code.SERVE_CANNOT_LISTEN: CodeInfo("Serve cannot listen on an address"),
    Code.SERVE_TABLE_UNREADABLE: CodeInfo("The saved slot table cannot be read"),
    Code.SERVE_UNREACHABLE: CodeInfo("Serve cannot be reached"),
    Code.FRAME_INVALID: CodeInfo("A message between processes is malformed"),
    Code.CONTROL_PROTOCOL: CodeInfo("Supervisor and serve speak different protocols"),
    Code.RUNTIME_OPTION: CodeInfo("A runtime does not know an option of the variant"),
    Code.ACCELERATOR_ABSENT: CodeInfo("The accelerator that a variant names is not there"),
    Code.DELEGATE_MISSING: CodeInfo("The delegate of an accelerator cannot be loaded"),
    Code.VARIANT_GARBAGE: CodeInfo("A runtime would answer the variant with garbage"),
    Code.RUNTIME_ELSEWHERE: CodeInfo("A runtime cannot be driven in another interpreter"),
    Code.TENSORRT_VERSION: CodeInfo("The device's TensorRT is not one that a variant was made for"),
    Code.ENGINE_BUILD_FAILED: CodeInfo("TensorRT cannot build the engine of a variant"),
    Code.VARIANT_INCOMPLETE: CodeInfo("A variant folder is not complete"),
    Code.CONTROLLER_UNREACHABLE: CodeInfo("The controller cannot be reached"),
    Code.CANCELLED: CodeInfo("Work was given up because it is no longer wanted"),
    Code.CLI_NO_CONTEXT: CodeInfo("No controller is chosen"),
    Code.CLI_CONFIG_INVALID: CodeInfo("The command line's own configuration cannot be read"),
    Code.CLI_ANSWER: CodeInfo("The controller gave an answer that is not understood"),
    Code.CLI_FILE: CodeInfo("A file cannot be read or written"),
    Code.CLI_EXISTS: CodeInfo("A file exists already and is not overwritten"),
    Code.CLI_CONFIRM: CodeInfo("A confirmation is needed"),
    Code.CLI_EXTRA_MISSING: CodeInfo("A part of Modelfleet is not installed"),
    Code.CLI_PROGRAM_DIED: CodeInfo("A program that was started ended by itself"),
    Code.CLI_TRUST_UNKNOWN: CodeInfo("This machine remembers no release keys of the controller"),
    Code.CLI_TRUST_CHANGED: CodeInfo("The controller is not the one that is remembered"),
    Code.CLI_ARGUMENT: CodeInfo("An argument is not understood"),
    Code.CLI_INSECURE: CodeInfo("A secret would go over the network in the clear"),
    Code.CLI_AMBIGUOUS: CodeInfo("A name fits several things"),
    Code.CLI_NO_SECRET: CodeInfo("A token or passphrase is needed and none was given"),
    Code.DEMO_WORK_FOLDER: CodeInfo("The demo cannot use its work folder"),
    Code.DEMO_MODELS: CodeInfo("The demo's models are missing"),
    Code.DEMO_PROCESS: CodeInfo("A program of the demo did not start"),
    Code.DEMO_TOO_LATE: CodeInfo("Something that the demo waits for did not happen in time"),
}
