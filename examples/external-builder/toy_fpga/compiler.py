"""The "vendor's tool": packs the weights of an ONNX model as int8 into a container for a toy FPGA.

`compiler.py JOB.json`, or `--version`. It knows the contract's two files and nothing of Modelfleet. What it
cannot put on the FPGA it leaves to the processor, and says so. Since no builder has this FPGA, it also
writes the same model with the weights as the FPGA has them, for ONNX Runtime: the stand-in by which the
builder judges accuracy.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

VERSION = "toy-fpga compiler 1.0"
MAGIC = b"TOYFPGA1"
ON_FPGA = {"Conv", "Gemm", "Relu", "Clip", "Add"}
REFUSED = {"LSTM", "GRU", "Loop", "If"}


def main(path: Path) -> None:
    """Do one job."""
    job = json.loads(path.read_text(encoding="utf-8"))
    result = Path(job["result"])
    if job["schema"] != 1:
        sys.exit(f"jobs of schema {job['schema']} are not known here")
    lanes = job["options"].get("lanes", "16")
    if lanes not in {"16", "32"}:
        sys.exit(f"the option lanes is {lanes!r}; 16 or 32 are possible")
    model = onnx.load(job["model"])
    operators = [node.op_type for node in model.graph.node]
    if strange := sorted(REFUSED & set(operators)):
        result.write_text(
            json.dumps({"schema": 1, "refused": f"there is no {', '.join(strange)} on this FPGA"})
        )
        return
    print(f"packing {len(operators)} operators for {lanes} lanes", flush=True)
    weights = {name for node in model.graph.node if node.op_type in ON_FPGA for name in node.input[1:2]}
    packed = [quantise(tensor) for tensor in model.graph.initializer if tensor.name in weights]
    write(Path(job["output"]) / "model.fpga", [part for part in packed if part])
    onnx.save(model, str(Path(job["beside"]) / "stand-in.onnx"))
    tensors = {
        side: [
            {
                "name": item["name"],
                "dtype": "float32",
                "layout": item["layout"],
                "shape": [1, *item["shape"][1:]],
            }
            for item in job[side]
        ]
        for side in ("inputs", "outputs")
    }
    # The stand-in takes whatever number of samples the model takes.
    batch = 1 if model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1 else -1
    as_onnx = {
        side: [{**item, "shape": [batch, *item["shape"][1:]]} for item in tensors[side]] for side in tensors
    }
    on = sum(operator in ON_FPGA for operator in operators)
    fallbacks = sorted(
        {f"{operator}: the FPGA has no such unit" for operator in operators if operator not in ON_FPGA}
    )
    answer = {
        "schema": 1,
        "entry": "model.fpga",
        **tensors,
        "tools": {"onnx": onnx.__version__},
        "accelerator": {"operators": len(operators), "operators_on": on, "fallbacks": fallbacks},
        "stand_in": {
            "runtime": "onnxruntime",
            "entry": "stand-in.onnx",
            **as_onnx,
            "why": "ONNX Runtime on the same model, with the weights as the FPGA has them",
        },
    }
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(answer), encoding="utf-8")
    partial.rename(result)


def quantise(tensor: Any) -> tuple[dict[str, Any], bytes] | None:
    """Round a weight tensor to int8 per output channel, in place; its entry of the container."""
    values = numpy_helper.to_array(tensor)
    if values.ndim < 2:
        return None
    rows = values.reshape(len(values), -1)
    scales = np.maximum(np.abs(rows).max(axis=1), 1e-12) / 127
    steps = np.clip(np.rint(rows / scales[:, None]), -127, 127).astype(np.int8)
    rounded = (steps * scales[:, None]).reshape(values.shape).astype(values.dtype)
    tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    entry = {"name": tensor.name, "shape": list(values.shape), "scales": [float(scale) for scale in scales]}
    return entry, steps.tobytes()


def write(path: Path, parts: list[tuple[dict[str, Any], bytes]]) -> None:
    """Write the container: magic, length of the header, header as JSON, then all weights."""
    header = json.dumps([entry for entry, _ in parts]).encode()
    body = b"".join(data for _, data in parts)
    path.write_bytes(MAGIC + struct.pack("<I", len(header)) + header + body)


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(VERSION)
    else:
        main(Path(sys.argv[1]))
