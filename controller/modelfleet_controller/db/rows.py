"""A row's columns by name."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Row


def values_of(row: Row[Any]) -> dict[str, Any]:
    """Column name -> value, as the column's type gave it."""
    # `_mapping` is public in SQLAlchemy's documentation; the underscore keeps it apart from column names
    return dict(row._mapping)  # pyright: ignore[reportPrivateUsage]
