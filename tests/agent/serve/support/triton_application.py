"""A foreign application: Triton's HTTP client, nothing of ours. HOST:PORT MODEL, three images on stdin, JSON
out."""

from __future__ import annotations

import json
import sys

import numpy as np
from tritonclient.http import (
    InferenceServerClient,
    InferenceServerException,
    InferInput,
    InferRequestedOutput,
)


def main() -> None:
    client = InferenceServerClient(sys.argv[1])
    name = sys.argv[2]
    images = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(3, 1, 1, 32, 32)

    def asked(image: np.ndarray, *, binary: bool, compress: str | None = None) -> list[float]:
        tensor = InferInput("image", list(image.shape), "FP32")
        tensor.set_data_from_numpy(image, binary_data=binary)
        wanted = [InferRequestedOutput("logits", binary_data=binary)] if not binary else None
        result = client.infer(name, [tensor], outputs=wanted, request_compression_algorithm=compress)
        logits = result.as_numpy("logits")
        assert logits is not None
        return [float(value) for value in logits[0]]

    seen: dict[str, object] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(name),
        "absent": client.is_model_ready("nobody"),
        "metadata": client.get_model_metadata(name),
        "version": client.get_model_metadata(name)["versions"][0],
        "extensions": client.get_server_metadata()["extensions"],
        "binary": asked(images[0], binary=True),
        "json": asked(images[1], binary=False),
        "compressed": asked(images[2], binary=True, compress="gzip"),
    }
    try:
        asked(images[0] + 5, binary=True)
    except InferenceServerException as error:
        seen["refused"] = str(error)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
