"""Structured logs: one JSON object per line, an event name and its fields, with the ids of the work in hand.

    log = logging.getLogger(__name__)
    logs.info(log, "device.enrolled", device=device_id, device_class=name)
    with logs.bound(rollout=rollout_id):
        ...                                  # every line in here carries the rollout's id

Refuses to log secrets: callers pass ids and counts, never tokens, keys or bodies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

_BOUND: ContextVar[Mapping[str, object] | None] = ContextVar("modelfleet_log_fields", default=None)
_FIELDS: Final = "modelfleet_fields"
_ENCODER: Final = msgspec.json.Encoder(enc_hook=str)
MAX_TEXT: Final = 4000
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", _FIELDS}


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Adds fields to every line that is logged inside the block (per task and per thread)."""
    token = _BOUND.set({**(_BOUND.get() or {}), **fields})
    try:
        yield
    finally:
        _BOUND.reset(token)


def info(logger: logging.Logger, event: str, **fields: object) -> None:
    """One line about something that went as it should."""
    logger.info(event, extra={_FIELDS: fields})


def warning(logger: logging.Logger, event: str, **fields: object) -> None:
    """One line about something that a person may want to look at."""
    logger.warning(event, extra={_FIELDS: fields})


def error(logger: logging.Logger, event: str, *, trace: bool = False, **fields: object) -> None:
    """One line about something that failed; `trace` adds the current exception's traceback."""
    logger.error(event, extra={_FIELDS: fields}, exc_info=trace)


class JsonFormatter(logging.Formatter):
    """`{"at": ..., "level": ..., "event": ..., "logger": ..., <bound fields>, <fields>}`; fields given by
    logging's own `extra=` count too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a newline."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "event": record.getMessage()[:MAX_TEXT],
            "logger": record.name,
            **(_BOUND.get() or {}),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)[-MAX_TEXT:]
        return _ENCODER.encode(line).decode()


def configure(stream: TextIO, level: str = "INFO") -> None:
    """Sends every logger of the process to `stream` as JSON lines. For composition roots, once."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
