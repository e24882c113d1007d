"""Column types: instants as microseconds since 1970 (UTC), values as canonical JSON text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import BigInteger, Dialect, Text
from sqlalchemy.types import TypeDecorator

from modelfleet_core.wire import codec

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware instant; naive ones are refused. Integers sort, compare and index alike on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds since 1970."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant must be aware")
        try:
            value = value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(f"the instant {value.isoformat()} cannot be told in UTC") from error
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The instant in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Json(TypeDecorator[T], Generic[T]):
    """A value of one type (dataclass, dict, tuple, ...) as canonical JSON text, decoded strictly."""

    impl = Text
    cache_ok = False

    def __init__(self, kind: Any) -> None:  # any type expression that msgspec takes, such as tuple[str, ...]
        super().__init__()
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)

    def process_bind_param(self, value: T | None, dialect: Dialect) -> str | None:
        """Canonical JSON."""
        return None if value is None else codec.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> T | None:
        """The value again."""
        return None if value is None else self._decoder.decode(value)
