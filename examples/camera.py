"""A camera application: sends real images to the model that its device serves, about 20 a second, and keeps
count.

    python examples/camera.py --socket DIR/sdk.sock --images examples/digits/live.npz --status camera.json

It knows the model's name and nothing else: which version answers, and when that changes, is the agent's
business. Write `night` into the file that `--light` names, and the images come inverted, as after sunset;
`day` ends it. The counts stand in the `--status` file, rewritten four times a second. SIGTERM ends it after
the current image.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

from modelfleet_agent.sdk import Model, WorldError

STATUS_EVERY_S = 0.25


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A camera application.")
    parser.add_argument("--model", default="digits", help="name of the slot")
    parser.add_argument(
        "--socket", help="the agent's socket (default: $MODELFLEET_SOCKET or the standard path)"
    )
    parser.add_argument(
        "--images", type=Path, required=True, help=".npz with images uint8 [n, 1, 32, 32], labels"
    )
    parser.add_argument("--rate", type=float, default=20.0, help="images a second")
    parser.add_argument("--deadline", type=float, default=10.0, help="seconds one answer may take")
    parser.add_argument("--status", type=Path, required=True, help="file for the counts")
    parser.add_argument("--light", type=Path, help="file that says day or night")
    return parser.parse_args()


def write(path: Path, counts: dict[str, object]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(counts))
    os.replace(partial, path)


def answers(model: Model) -> bool:
    try:
        model.metadata(timeout_s=1.0)
    except WorldError:
        return False
    return True


def main() -> None:
    options = arguments()
    with np.load(options.images, allow_pickle=False) as data:
        images = data["images"].astype(np.float32) / 255.0
        labels = data["labels"]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, lambda *_: ended.set())

    model = Model(options.model, socket=options.socket, timeout_s=options.deadline)
    counts: dict[str, object] = {"pid": os.getpid(), "ready": False}
    write(options.status, counts)
    while not ended.is_set() and not answers(model):  # the first release may still be on its way
        ended.wait(0.2)

    asked = answered = failed = right = 0
    slowest_s = 0.0
    latest_error = ""
    due = time.monotonic()
    written = 0.0
    while not ended.is_set():
        index = asked % len(images)
        night = (
            options.light is not None
            and options.light.exists()
            and options.light.read_text().strip() == "night"
        )
        image = 1.0 - images[index] if night else images[index]
        started = time.monotonic()
        asked += 1
        try:
            logits = model(image)
            answered += 1
            right += int(np.argmax(logits) == labels[index])
        except WorldError as error:
            failed += 1
            latest_error = str(error)[:300]
        slowest_s = max(slowest_s, time.monotonic() - started)
        if time.monotonic() - written > STATUS_EVERY_S:
            written = time.monotonic()
            counts |= {"ready": True, "asked": asked, "answered": answered, "failed": failed, "right": right}
            counts |= {"slowest_ms": slowest_s * 1e3, "latest_error": latest_error, "night": night}
            write(options.status, counts)
        due = max(due + 1.0 / options.rate, time.monotonic() - 0.5)  # do not run after a long stop
        ended.wait(max(0.0, due - time.monotonic()))
    counts |= {"asked": asked, "answered": answered, "failed": failed, "right": right, "ended": True}
    write(options.status, counts)


if __name__ == "__main__":
    main()
