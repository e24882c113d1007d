"""Runs one ExecuTorch program for another process: `executorch_worker.py PROGRAM THREADS` on stdin and
stdout.

Runs on any Python that has executorch, knows nothing of Modelfleet. The first frame it writes is JSON:
`{"inputs": [[shape], ...], "outputs": [...]}`, or `{"error": "..."}`, after which it ends. Then, for each
request: one frame of raw little-endian float32 per input; back comes a frame with `{"error": ...}` or `{}`,
and after an empty one a frame of raw float32 per output. A frame is its length as 8 bytes, little-endian,
and so many bytes. It ends with its standard input.
"""

# pyright: reportMissingImports=false
# The interpreter that type checks us has no torch.

import json
import os
import struct
import sys
from typing import Any, BinaryIO

_FLOAT32 = "Float"
_LENGTH = struct.Struct("<Q")
MAX_FRAME = 1 << 31


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame, None at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes")
    body = stream.read(length)
    return body if len(body) == length else None


def write_frame(stream: BinaryIO, body: bytes) -> None:
    """Write one frame; the caller flushes."""
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)


class Program:
    """A loaded program and the shapes of its tensors."""

    def __init__(self, path: str, threads: int) -> None:
        import torch
        from executorch.runtime import Runtime, Verification

        self._torch: Any = torch
        torch.set_num_threads(threads)
        _set_threads(threads)
        # The program only borrows these bytes.
        with open(path, "rb") as file:
            self._data = file.read()
        self._program: Any = Runtime.get().load_program(
            self._data, verification=Verification.InternalConsistency
        )
        if "forward" not in self._program.method_names:
            raise ValueError("it has no method `forward`")
        self._method: Any = self._program.load_method("forward")
        meta = self._method.metadata
        self.inputs = [_shape(meta.input_tensor_meta(i)) for i in range(meta.num_inputs())]
        self.outputs = [_shape(meta.output_tensor_meta(i)) for i in range(meta.num_outputs())]

    def run(self, inputs: list[Any]) -> list[Any]:
        """Answer one request of numpy arrays with numpy arrays."""
        tensors = [self._torch.from_numpy(value) for value in inputs]
        return [value.numpy() for value in self._method.execute(tensors)]


def _shape(meta: Any) -> list[int]:
    # 6 is float in torch's numbering of scalar types.
    if meta.dtype() != 6:
        raise ValueError(f"a tensor of it has the scalar type {meta.dtype()}, not float32")
    return [int(size) for size in meta.sizes()]


def _set_threads(threads: int) -> None:
    try:
        from executorch.extension.threadpool import set_num_threads  # newer versions only
    except ImportError:
        return
    set_num_threads(threads)


def main(path: str, threads: int) -> None:
    """Serve until standard input ends."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get between the frames
    try:
        program = Program(path, threads)
    except Exception as error:
        write_frame(target, json.dumps({"error": f"{type(error).__name__}: {error}"[:1000]}).encode())
        target.flush()
        return
    write_frame(target, json.dumps({"inputs": program.inputs, "outputs": program.outputs}).encode())
    target.flush()
    import numpy as np

    while True:
        arrays: list[Any] = []
        for shape in program.inputs:
            body = read_frame(source)
            if body is None:
                return
            arrays.append(np.frombuffer(bytearray(body), np.dtype("<f4")).reshape(shape))
        try:
            answers = [np.ascontiguousarray(value, np.dtype("<f4")) for value in program.run(arrays)]
        except Exception as error:
            write_frame(target, json.dumps({"error": f"{type(error).__name__}: {error}"[:1000]}).encode())
        else:
            write_frame(target, b"{}")
            for value in answers:
                write_frame(target, value.tobytes())
        target.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
