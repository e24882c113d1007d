"""A policy and a statement for every test of trust."""

from __future__ import annotations

import pytest

from modelfleet_core.trust.policy import TrustFile, policy_of
from modelfleet_core.trust.statement import build_statement

from tests.core.trust.support import DIRECTOR, FILES, NOW, RELEASE, RELEASE_KEY, STRANGER, VARIANT, Trusted


@pytest.fixture(scope="session")
def trusted() -> Trusted:
    file = TrustFile("mf-test", (RELEASE_KEY.public().to_pem(),), (DIRECTOR.public().to_pem(),), NOW)
    return Trusted(RELEASE_KEY, STRANGER, DIRECTOR, file, policy_of(file))


@pytest.fixture(scope="session")
def statement() -> bytes:
    return build_statement(VARIANT, FILES, RELEASE)
