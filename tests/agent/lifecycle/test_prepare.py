"""From the download to the store: nothing gets its name that is not, byte for byte, what was signed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelfleet_agent.lifecycle.prepare import Preparer, installed_of, verify
from modelfleet_agent.lifecycle.store import VariantStore
from modelfleet_agent.uplink.client import ControllerClient, CorrectedClock
from modelfleet_core.clock import ManualClock
from modelfleet_core.errors import CallerError, IntegrityError
from modelfleet_core.lifecycle.machine import State
from modelfleet_core.release.device_class import DeviceFacts
from modelfleet_core.trust.keys import ed25519_from_seed
from modelfleet_core.trust.policy import policy_of
from modelfleet_core.wire.director import SlotAssignment

from tests.agent.fakes import FACTS, FakeController, entropy
from tests.agent.releases import Release, release


class Bench:
    """A preparer in front of a controller in memory, and one release."""

    def __init__(self, folder: Path) -> None:
        controller = FakeController()
        signer = ed25519_from_seed(b"k" * 32)
        controller.keys["dev_1"] = signer.public()
        self.controller = controller
        self.policy = policy_of(controller.trust())
        self.store = VariantStore(folder / "store")
        self.release: Release = release("1.0", controller.release_key).put(controller)
        clock = ManualClock()
        self.preparer = Preparer(
            self.store,
            ControllerClient(controller, "dev_1", signer, self.policy, CorrectedClock(clock), entropy(1)),
            self.policy,
            facts=lambda: FACTS,
            clock=clock,
            entropy=entropy(2),
            keep_free=0,
        )

    @property
    def order(self) -> SlotAssignment:
        return self.release.assignment("op")

    def run(self, *states: State) -> None:
        for state in states:
            self.preparer.run(state, self.order, (), lambda: False)

    @property
    def incoming(self) -> Path:
        return self.store.incoming(installed_of(self.order))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


DOWNLOADED = (State.VERIFYING, State.RESERVING, State.DOWNLOADING)


def test_all_four_steps_make_a_complete_folder(bench: Bench) -> None:
    bench.run(*DOWNLOADED, State.CHECKING)
    assert bench.store.has(installed_of(bench.order))


@pytest.mark.parametrize("state", [State.RESERVING, State.DOWNLOADING])
def test_a_step_alone_does_what_it_needs_of_those_before(bench: Bench, state: State) -> None:
    bench.run(state, State.DOWNLOADING, State.CHECKING)
    assert bench.store.has(installed_of(bench.order))


def test_a_file_that_changed_after_its_download_is_refused(bench: Bench) -> None:
    bench.run(*DOWNLOADED)
    (bench.incoming / "model.onnx").write_bytes(b"another")
    with pytest.raises(IntegrityError, match="MF-2040"):
        bench.run(State.CHECKING)
    assert not bench.store.has(installed_of(bench.order))


def test_a_file_that_nobody_signed_is_refused(bench: Bench) -> None:
    bench.run(*DOWNLOADED)
    (bench.incoming / "extra.so").write_bytes(b"x")
    with pytest.raises(IntegrityError, match="MF-2041"):
        bench.run(State.CHECKING)


def test_a_missing_file_is_refused(bench: Bench) -> None:
    bench.run(*DOWNLOADED)
    (bench.incoming / "contract.json").unlink()
    with pytest.raises(IntegrityError, match="MF-2042"):
        bench.run(State.CHECKING)


@pytest.mark.parametrize("name", [".bundle", "release.json"])
def test_what_a_disk_made_of_bundle_or_manifest_is_fetched_again(bench: Bench, name: str) -> None:
    bench.run(State.VERIFYING)
    (bench.incoming / name).write_bytes(b"\0" * 50)
    bench.run(State.RESERVING, State.DOWNLOADING, State.CHECKING)
    assert bench.store.has(installed_of(bench.order))


def test_a_folder_that_the_disk_has_changed_is_downloaded_anew(bench: Bench) -> None:
    bench.run(*DOWNLOADED, State.CHECKING)
    installed = installed_of(bench.order)
    (bench.store.folder(installed) / "model.onnx").write_bytes(b"rotten")
    bench.run(State.VERIFYING)
    assert not bench.store.has(installed)
    bench.run(State.RESERVING, State.DOWNLOADING, State.CHECKING)
    assert (bench.store.folder(installed) / "model.onnx").read_bytes() == bench.release.files["model.onnx"]


def test_a_folder_that_serves_is_never_deleted_by_a_new_operation(bench: Bench) -> None:
    bench.run(*DOWNLOADED, State.CHECKING)
    installed = installed_of(bench.order)
    (bench.store.folder(installed) / "model.onnx").write_bytes(b"rotten")
    bench.preparer.run(State.VERIFYING, bench.order, (installed,), lambda: False)
    assert bench.store.has(installed)


def test_a_manifest_that_this_version_cannot_read_is_refused(bench: Bench) -> None:
    with pytest.raises(IntegrityError, match="MF-2040"):
        verify(
            bench.release.bundle,
            bench.release.manifest_bytes + b" ",
            bench.order,
            policy=bench.policy,
            facts=FACTS,
        )


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (FACTS, ""),
        (replace(FACTS, runtimes={"openvino": "2025.0"}), "runtime onnxruntime is not offered"),
        (replace(FACTS, architecture="aarch64"), "architecture aarch64"),
        (replace(FACTS, memory_bytes=1), "memory"),
    ],
)
def test_the_facts_of_now_decide_whatever_the_class_was_at_enrolment(
    bench: Bench, facts: DeviceFacts, reason: str
) -> None:
    arguments = (bench.release.bundle, bench.release.manifest_bytes, bench.order)
    if not reason:
        verify(*arguments, policy=bench.policy, facts=facts)
        return
    with pytest.raises(CallerError, match=f"MF-3020.*{reason}"):
        verify(*arguments, policy=bench.policy, facts=facts)


def test_a_class_of_the_users_own_is_judged_by_what_its_variant_needs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    built = release("1.1", bench.controller.release_key, device_class="press-cameras").put(bench.controller)
    arguments = (built.bundle, built.manifest_bytes, built.assignment("op"))
    verify(*arguments, policy=bench.policy, facts=FACTS)
    with pytest.raises(CallerError, match="MF-3020"):
        verify(*arguments, policy=bench.policy, facts=replace(FACTS, runtimes={}))
