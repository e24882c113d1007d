"""A camera application: sends real images to its device's model, about 20 a second, and keeps count.

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
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from modelfleet_agent.sdk import Model, WorldError
from modelfleet_core.clock import SystemClock

STATUS_EVERY_S = 0.25


@dataclass
class Counts:
    """What the camera asked and got; `slowest_ms` is its longest call."""

    ready: bool = False
    asked: int = 0
    answered: int = 0
    failed: int = 0
    right: int = 0
    slowest_ms: float = 0.0
    latest_error: str = ""
    night: bool = False
    ended: bool = False

    def write(self, path: Path) -> None:
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(asdict(self)))
        os.replace(partial, path)


class End:
    """Set by SIGTERM or Ctrl-C. A flag and no `threading.Event`: a handler must not wait for a lock."""

    asked = False

    def __init__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A camera application.")
    parser.add_argument("--model", default="digits", help="name of the slot")
    parser.add_argument(
        "--socket", help="the agent's socket; default: $MODELFLEET_SOCKET or the standard path"
    )
    parser.add_argument(
        "--images", type=Path, required=True, help=".npz: images uint8 [n, 1, 32, 32], labels"
    )
    parser.add_argument("--rate", type=float, default=20.0, help="images a second")
    parser.add_argument("--deadline", type=float, default=10.0, help="seconds one answer may take")
    parser.add_argument("--status", type=Path, required=True, help="file for the counts")
    parser.add_argument("--light", type=Path, help="file that says day or night")
    return parser.parse_args()


def has_model(model: Model) -> bool:
    try:
        model.metadata(timeout_s=1.0)
    except WorldError:
        return False
    return True


def is_night(light: Path | None) -> bool:
    return light is not None and light.exists() and light.read_text().strip() == "night"


def main() -> None:
    options = arguments()
    end, clock, counts = End(), SystemClock(), Counts()
    with np.load(options.images, allow_pickle=False) as data:
        images = data["images"].astype(np.float32) / 255.0
        labels = data["labels"]
    model = Model(options.model, socket=options.socket, timeout_s=options.deadline)
    counts.write(options.status)
    while not end.asked and not has_model(model):  # the first release may still be on its way
        clock.wait(0.2)
    due = written = time.monotonic()
    while not end.asked:
        index = counts.asked % len(images)
        counts.night = is_night(options.light)
        image = 1.0 - images[index] if counts.night else images[index]
        started = time.monotonic()
        counts.asked += 1
        try:
            logits = model(image)
            counts.answered += 1
            counts.right += int(np.argmax(logits) == labels[index])
        except WorldError as error:
            counts.failed += 1
            counts.latest_error = str(error)[:300]
        now = time.monotonic()
        counts.slowest_ms = max(counts.slowest_ms, (now - started) * 1e3)
        if now - written > STATUS_EVERY_S:
            written, counts.ready = now, True
            counts.write(options.status)
        due = max(due + 1.0 / options.rate, now - 0.5)  # do not run after a long stop
        clock.wait(due - time.monotonic())
    counts.ended = True
    counts.write(options.status)


if __name__ == "__main__":
    main()
