"""What the database's failures mean to a caller: the disk is full, or the database cannot be used now."""

from __future__ import annotations

import errno

from sqlalchemy.exc import DBAPIError

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, over quota, over the process's file size limit: all are "nothing more fits"."""


def disk_full(what: str) -> WorldError:
    """The error for bytes that did not fit."""
    return WorldError(
        Code.DISK_FULL,
        f"{what} could not be written: no space is left",
        expected="free space in the controller's data directory",
        todo="free or add disk space and send the request again; nothing of it was stored",
    )


def translated(error: DBAPIError) -> WorldError:
    """The WorldError for a database's failure. SQLite tells a full disk by text alone (SQLITE_FULL,
    SQLITE_IOERR).
    """
    text = str(error.orig).lower()
    if "disk is full" in text or "disk i/o error" in text or "file is too big" in text:
        return disk_full("the change")
    return WorldError(
        Code.DATABASE_FAILED,
        f"the database answered: {str(error.orig)[:300]}",
        expected="a database that can be read and written",
        todo="look at the controller's log; the request was not stored and can be sent again",
    )
