"""Log lines are JSON, carry their fields and the bound ids."""

from __future__ import annotations

import io
import json
import logging

from modelfleet_core import logs


def _logger(stream: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.getLogger("modelfleet.test_logs")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel("INFO")
    return logger


def test_a_line_has_event_fields_and_bound_ids() -> None:
    stream = io.StringIO()
    logger = _logger(stream)
    with logs.bound(rollout="ro_1"):
        logs.info(logger, "stage.begun", stage=2)
    logs.warning(logger, "device.silent", device="dev_1")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["event"] == "stage.begun"
    assert (first["rollout"], first["stage"], first["level"]) == ("ro_1", 2, "info")
    assert first["at"].endswith("Z")
    assert "rollout" not in second
    assert second["level"] == "warning"


def test_a_failure_carries_its_trace() -> None:
    stream = io.StringIO()
    logger = _logger(stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logs.error(logger, "tick.failed", trace=True)
    line = json.loads(stream.getvalue())
    assert "ValueError: broken" in line["trace"]


def test_foreign_values_become_text() -> None:
    stream = io.StringIO()
    logs.info(_logger(stream), "x", value=complex(1, 2))
    assert json.loads(stream.getvalue())["value"] == "(1+2j)"


def test_fields_given_the_standard_way_count_too() -> None:
    stream = io.StringIO()
    _logger(stream).info("rollout_decided", extra={"rollout": "ro_9"})
    line = json.loads(stream.getvalue())
    assert line["rollout"] == "ro_9"
    assert "args" not in line
