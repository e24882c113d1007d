"""Complete variant folders of the digits models, as a builder would lay them out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx

from modelfleet_agent.control.protocol import ModelRef
from modelfleet_build.tflite import convert
from modelfleet_core.ids import sha256_hex
from modelfleet_core.release.contract import (
    BATCH,
    DType,
    InputContract,
    Layout,
    LogicalTensor,
    PhysicalTensor,
    TensorBinding,
)
from modelfleet_core.release.manifest import (
    Artifact,
    Lineage,
    Manifest,
    Measurements,
    Precision,
    RuntimeNeed,
    SelfTestBounds,
    Task,
    Variant,
)
from modelfleet_core.wire import codec
from modelfleet_runtimes import registry
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.golden import write

DIGITS = Path(__file__).parents[4] / "examples" / "digits"
IMAGE = LogicalTensor("image", (BATCH, 1, 32, 32), Layout.NCHW, minimum=0.0, maximum=1.0)
LOGITS = LogicalTensor("logits", (BATCH, 10))
FILES = {
    "1.0": "digits-1.0.onnx",
    "1.1": "digits-1.1.onnx",
    "1.2": "digits-1.2-mislabelled.onnx",
    "1.3": "digits-1.3-slow.onnx",
    "1.4": "digits-1.4-daylight.onnx",
    "1.5": "digits-1.5-nan.onnx",
}
SCALE = 1 / 255


@dataclass(frozen=True, slots=True)
class Images:
    """Images as logical inputs [n, 1, 32, 32] and their labels [n]."""

    inputs: FloatArray
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]


def images(name: str = "live") -> Images:
    with np.load(DIGITS / f"{name}.npz", allow_pickle=False) as arrays:
        values: FloatArray = (arrays["images"].astype(np.float64) * SCALE).astype(np.float32)
        return Images(values, np.asarray(arrays["labels"], np.int64))


def build(folder: Path, version: str, runtime: str = "onnxruntime", spoil: float = 0.0) -> ModelRef:
    """Lay out `digits:VERSION` for a runtime.

    Args:
        folder: parent of the variant's folder.
        version: one of `FILES`.
        runtime: onnxruntime, litert, tflm or openvino.
        spoil: added to the recorded golden answers, so that the self-test fails.
    """
    name = f"{runtime}.fp32"
    place = folder / f"{version}-{name}{'-spoilt' if spoil else ''}"
    place.mkdir(parents=True)
    entry, contract = _model(place, DIGITS / FILES[version], runtime)
    (place / "contract.json").write_bytes(codec.pretty(contract))
    with np.load(DIGITS / "golden.npz", allow_pickle=False) as arrays:
        pixels, labels = arrays["images"], np.asarray(arrays["labels"], np.int64)
    session = registry.load(runtime).open(place, entry, contract, 1)
    logits = session.run({"image": (pixels.astype(np.float64) * SCALE).astype(np.float32)})["logits"]
    session.close()
    with (place / "golden.npz").open("wb") as file:
        write(file, pixels, SCALE, {"labels": labels}, (logits + np.float32(spoil),))
    files = tuple(
        Artifact(path.name, sha256_hex(path.read_bytes()), path.stat().st_size)
        for path in sorted(place.iterdir())
    )
    variant = Variant(
        name=name,
        device_class=f"test-{runtime}",
        precision=Precision.FP32,
        recipe="fp32",
        rank=0,
        runtime=RuntimeNeed(runtime, "0"),
        entry=entry,
        files=files,
        bounds=SelfTestBounds(max_abs_error=1e-2, margin=1e-2),
        measurements=Measurements("top1", 0.9, 0.9, 0.0, 1.0, 1, 300),
    )
    manifest = Manifest(
        name="digits",
        version=version,
        task=Task.CLASSIFICATION,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        inputs=(IMAGE,),
        outputs=(LOGITS,),
        lineage=Lineage("0" * 64, FILES[version]),
        variants=(variant,),
    )
    data = codec.pretty(manifest)
    (place / "release.json").write_bytes(data)
    return ModelRef(sha256_hex(data), manifest.reference(), name, str(place))


def _model(place: Path, source: Path, runtime: str) -> tuple[str, InputContract]:
    if runtime in ("litert", "tflm"):
        (place / "model.tflite").write_bytes(convert(onnx.load(source)).data)
        return "model.tflite", _contract(Layout.NHWC, (1, 32, 32, 1), (1, 10))
    if runtime == "openvino":
        import openvino

        model = openvino.Core().read_model(str(source))
        model.reshape([1, 1, 32, 32])
        openvino.save_model(model, str(place / "model.xml"), compress_to_fp16=False)
        return "model.xml", _contract(Layout.NCHW, (1, 1, 32, 32), (1, 10))
    shutil.copyfile(source, place / "model.onnx")
    return "model.onnx", _contract(Layout.NCHW, (BATCH, 1, 32, 32), (BATCH, 10))


def _contract(layout: Layout, shape: tuple[int, ...], output: tuple[int, ...]) -> InputContract:
    image = PhysicalTensor("image", DType.FLOAT32, layout, shape)
    logits = PhysicalTensor("logits", DType.FLOAT32, Layout.ANY, output)
    return InputContract((TensorBinding(IMAGE, image),), (TensorBinding(LOGITS, logits),))
