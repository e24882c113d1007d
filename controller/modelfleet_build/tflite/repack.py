"""Puts constants that a TFLite file keeps behind its flatbuffer back into it.

Where constants take more than 256 KiB, ``ai-edge-quantizer`` appends them to the file and names them by
offset. LiteRT reads that; tflite-micro and readers older than the field take such a constant for empty,
without an error, and compute with zeros.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from modelfleet_build.tflite.writer import IDENTIFIER, MAX_BYTES, AlignedBuffer


def with_inline_constants(data: bytes) -> bytes:
    """The same model in one flatbuffer, with constants aligned to 16 bytes; ``data`` itself if it is one.

    Raises:
        ValueError: The constants take 2 GiB or more, which only the other form can hold.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    # An offset of 0 or 1 says that there is none (tensorflow/compiler/mlir/lite/schema/schema.fbs).
    if not any(buffer.offset > 1 for buffer in model.buffers):
        return data
    file, size = np.frombuffer(data, np.uint8), 0
    for index, buffer in enumerate(model.buffers):
        if buffer.offset > 1:
            content = file[buffer.offset : buffer.offset + buffer.size]
        elif buffer.data is not None:
            content = np.asarray(buffer.data, np.uint8)
        else:
            continue
        model.buffers[index] = AlignedBuffer(content)
        size += content.nbytes
    if size >= MAX_BYTES:
        raise ValueError(f"a flatbuffer holds at most 2 GiB, the constants alone take {size} bytes")
    builder = flatbuffers.Builder(size + len(data) // 8 + 65536)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
