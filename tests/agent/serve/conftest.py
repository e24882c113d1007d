from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.serve.support.fixtures import Variants, library
from tests.agent.serve.support.process import ServeProcess
from tests.agent.serve.support.variants import Images, images


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Variants:
    return library(tmp_path_factory.mktemp("variants"))


@pytest.fixture(scope="session")
def live_images() -> Images:
    return images("live")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path) as process:
        yield process
