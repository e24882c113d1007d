"""Which third party may be imported where: each one behind the module that is named for it.

The standard library is free everywhere (the import contracts in pyproject.toml rule who may import whom among
our own packages). A package that is not in the table is refused: name it, and write in docs/adr/0007 why it
came and what it weighs.
"""

from __future__ import annotations

import fnmatch
import sys
from pathlib import Path

import pytest

from tests.house.sources import PACKAGES, Module, modules, parse

# top-level package -> module patterns that may import it
ALLOWED: dict[str, list[str]] = {
    "msgspec": ["modelfleet_*", "fleetctl*"],
    "cryptography": [
        "modelfleet_core.trust.keys",
    ],
    # arrays: never in core, the supervisor or serve
    "numpy": [
        "modelfleet_build*",
        "modelfleet_runtimes*",
        "modelfleet_agent.sdk*",
        "modelfleet_agent.worker*",
        "fleetctl.demo*",
    ],
    # each runtime in its one adapter, each converter in its one optimizer
    "onnxruntime": [
        "modelfleet_runtimes.onnxruntime*",
        "modelfleet_build.optimizers.onnxruntime*",
        "modelfleet_build.layers.tap_onnx",
    ],
    "ai_edge_litert": [
        "modelfleet_runtimes.litert",
        "modelfleet_runtimes.ethos_u",
        "modelfleet_build.layers.tap_tflite",
        "modelfleet_build.optimizers.tflite_operators",
        "modelfleet_build.tflite*",
    ],
    "openvino": [
        "modelfleet_runtimes.openvino*",
        "modelfleet_build.optimizers.openvino*",
        "modelfleet_build.layers.tap_openvino",
    ],
    "tensorrt": ["modelfleet_runtimes.tensorrt_python"],  # part of JetPack, never from an index
    "tflite_runtime": ["modelfleet_runtimes.tflite_legacy"],
    "tflite_micro": ["modelfleet_runtimes.tflm", "modelfleet_build.optimizers.tflm"],
    "onnx": ["modelfleet_build*"],
    "google": ["modelfleet_build.intake"],  # protobuf's DecodeError, which onnx lets through
    "flatbuffers": ["modelfleet_build.tflite*"],
    "optuna": ["modelfleet_build.search"],
    "nncf": ["modelfleet_build.optimizers.openvino*"],
    "ai_edge_quantizer": ["modelfleet_build.optimizers.tflite_quantising"],
    # in isolated environments; a device that has executorch imports it in the runtime's own worker module
    "torch": ["modelfleet_build.isolated.scripts*", "modelfleet_runtimes.executorch_worker"],
    "executorch": ["modelfleet_build.isolated.scripts*", "modelfleet_runtimes.executorch_worker"],
    "torchao": ["modelfleet_build.isolated.scripts*"],
    "torch_pruning": ["modelfleet_build.isolated.scripts*"],
    "start": ["modelfleet_build.isolated.scripts*"],  # what runs those scripts, beside them
    # the controller
    "fastapi": ["modelfleet_controller*"],
    "starlette": ["modelfleet_controller*"],
    "pydantic": ["modelfleet_controller*"],
    "uvicorn": ["modelfleet_controller.main", "modelfleet_controller.bootstrap"],
    "uvloop": ["modelfleet_controller.main", "modelfleet_controller.bootstrap"],
    "prometheus_client": ["modelfleet_controller*"],
    "sqlalchemy": [
        "modelfleet_controller.*.repository",
        "modelfleet_controller.*.tables",
        "modelfleet_controller.db*",
    ],
    "alembic": ["modelfleet_controller.db*"],
    "psycopg": ["modelfleet_controller.db*"],
    "boto3": ["modelfleet_controller.blobs.s3"],
    "botocore": ["modelfleet_controller.blobs.s3"],
    "kubernetes": ["modelfleet_controller.operator*"],
    # the device
    "urllib3": ["modelfleet_agent*"],
    "h11": ["modelfleet_agent*"],
    # conformance suites are shipped as code; the products never import them
    "pytest": [
        "modelfleet_build.testing*",
        "modelfleet_controller.testing*",
        "modelfleet_runtimes.testing*",
    ],
    # the command line
    "typer": ["fleetctl*"],
    "rich": ["fleetctl*"],
    "httpx": ["fleetctl*", "modelfleet_controller.operator*"],
    "yaml": ["fleetctl*"],
}


def strangers(module: Module) -> list[str]:
    """List the imports of one module that the table does not allow."""
    found = []
    for line, name in module.imports():
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in PACKAGES:
            continue
        if not any(fnmatch.fnmatch(module.name, pattern) for pattern in ALLOWED.get(top, [])):
            found.append(f"{module.path}:{line}: {top} may not be imported in {module.name}")
    return sorted(set(found))


def test_every_import_is_where_the_table_says() -> None:
    assert [stranger for module in modules() for stranger in strangers(module)] == []


def test_core_needs_only_msgspec() -> None:
    for top, patterns in ALLOWED.items():
        seen = [m.name for m in modules() if m.name.startswith("modelfleet_core") and _matches(m, patterns)]
        assert top in {"msgspec", "cryptography"} or not seen, f"{top} would be allowed in {seen}"


def _matches(module: Module, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(module.name, pattern) for pattern in patterns)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("modelfleet_core/rollout/engine.py", "import numpy"),
        ("modelfleet_core/trust/dsse.py", "from cryptography.hazmat.primitives import hashes"),
        ("modelfleet_agent/serve/app.py", "def f():\n    import numpy as np"),
        ("modelfleet_controller/devices/service.py", "from sqlalchemy import select"),
        ("modelfleet_build/pipeline.py", "from openvino import Core"),
        ("fleetctl/main.py", "import leftpad"),
    ],
)
def test_the_rule_sees(tmp_path: Path, name: str, code: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert strangers(parse(path, tmp_path))
