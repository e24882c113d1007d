"""`modelfleet-agent enroll`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from modelfleet_agent.bootstrap import version
from modelfleet_agent.facts import measure
from modelfleet_agent.identity.keys import FileKey
from modelfleet_agent.settings import Settings
from modelfleet_agent.state.folder import Lock, prepare
from modelfleet_agent.uplink.enroll import Order, Outcome, enroll, no_trust_file
from modelfleet_agent.uplink.transport import HttpTransport, check_url
from modelfleet_core.clock import SystemClock, system_entropy
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.ids import is_name
from modelfleet_core.trust.policy import MAX_TRUST_BYTES
from modelfleet_runtimes import registry

_MAX_TOKEN: Final = 512
_MAX_CA: Final = 256 * 1024


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Enrols; the exit code."""
    url = check_url(arguments.url, insecure=arguments.insecure)
    if arguments.trust is None and not arguments.trust_on_first_use:
        raise no_trust_file()
    order = Order(
        url=url,
        token=arguments.token if arguments.token is not None else _token(arguments.token_file),
        trust=_read(arguments.trust, MAX_TRUST_BYTES) if arguments.trust is not None else None,
        name=settings.name,
        ca=_read(arguments.ca, _MAX_CA).decode("ascii", "replace") if arguments.ca is not None else None,
        labels=settings.labels | _labels(arguments.label),
    )
    folder = prepare(settings.state_dir)
    with Lock.acquire(folder.lock):
        try:
            outcome = enroll(
                folder,
                order,
                measure(settings, registry.available(), version()),
                keys=FileKey(folder.key, system_entropy),
                transport_of=lambda ca: HttpTransport(url, ca),
                clock=SystemClock(),
                entropy=system_entropy,
            )
        except WorldError as error:
            if error.code is not Code.CONTROLLER_UNREACHABLE:
                raise
            raise WorldError(
                error.code,
                error.happened,
                expected=error.expected,
                todo="check the address and the network, then enrol again; nothing is lost by trying",
            ) from error
    _tell(outcome, settings)
    return 0


def _tell(outcome: Outcome, settings: Settings) -> None:
    identity = outcome.identity
    print(f"enrolled {identity.device} ({identity.name}) at {identity.controller}")
    if identity.device_class is not None:
        print(f"device class: {identity.device_class}")
    else:
        print("device class: none fits, so no release will come:")
        for reason in outcome.class_reasons:
            print(f"  {reason}")
    print(f"trust fingerprint: {outcome.fingerprint}")
    if identity.trusted_on_first_use:
        print(
            "WARNING: these keys came from whoever answered at that address, and are believed from now on.\n"
            "Compare the fingerprint with `fleetctl trust status` by a way you trust; if it differs, remove\n"
            f"{settings.state_dir} and enrol again with --trust FILE.",
            file=sys.stderr,
        )


def _labels(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not is_name(key) or not 0 < len(value) <= 63:
            raise CallerError(
                Code.FIELD_WRONG_TYPE,
                f"--label {pair[:100]!r} is no label",
                expected="key=value: a plain lower-case name and 1 to 63 characters",
                todo="correct the label",
            )
        labels[key] = value
    return labels


def _token(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.readline(_MAX_TOKEN).strip()
    return _read(path, _MAX_TOKEN).decode("ascii", "replace").strip()


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise CallerError(
            Code.SETTINGS_UNREADABLE,
            f"{path} cannot be read: {error}",
            expected="a file",
            todo="correct the path",
        ) from error
    if len(data) > limit:
        raise CallerError(
            Code.SETTINGS_UNREADABLE,
            f"{path} has more than {limit} bytes",
            expected="a smaller file",
            todo="correct the path",
        )
    return data
