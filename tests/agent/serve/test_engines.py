"""Serve gives a variant whose engine is built on the device the time for that, and a folder to keep it."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelfleet_agent.serve.link import Result
from modelfleet_agent.serve.model import OPEN_LIMIT_S, Model
from modelfleet_agent.worker.priority import Priority
from modelfleet_agent.worker.protocol import Order
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.release.engine_spec import BUILD_LIMIT_S, ENGINE_SPEC_NAME

from .support.fixtures import Variants


class Link:
    """Takes one order and loses it."""

    def __init__(self) -> None:
        self.orders: list[tuple[Order, float]] = []
        self.progress: list[Any] = []

    def submit(self, order: Order, *, limit_s: float) -> asyncio.Future[Result]:
        self.orders.append((order, limit_s))
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        future.set_result(Result(None, memoryview(b""), Code.WORKER_DIED))
        return future


@pytest.mark.parametrize(("spec", "limit"), [(False, OPEN_LIMIT_S), (True, BUILD_LIMIT_S)])
def test_the_order_to_open(variants: Variants, tmp_path: Path, spec: bool, limit: float) -> None:
    ref = variants("1.1")
    folder = shutil.copytree(ref.folder, tmp_path / "variant")
    if spec:
        (folder / ENGINE_SPEC_NAME).write_text("{}")
    link: Any = Link()

    async def opening() -> None:
        model = Model(
            replace(ref, folder=str(folder)),
            threads=1,
            watchdog_s=10,
            clock=SystemClock(),
            changed=lambda: None,
            engines="/var/lib/engines",
        )
        assert not await model._open(link, Priority.NORMAL)

    asyncio.run(opening())
    order, given = link.orders[0]
    assert order.open.engines == "/var/lib/engines"
    assert given == limit
