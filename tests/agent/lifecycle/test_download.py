"""Downloads: resumed at the byte, at the plan's rate, hashed while they come, nothing left of what is
wrong.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelfleet_agent.lifecycle.bandwidth import BURST_S, Bandwidth
from modelfleet_agent.lifecycle.download import DONE, PART, Downloader
from modelfleet_agent.lifecycle.store import VariantStore, digest_folder, key_of
from modelfleet_agent.uplink.client import ControllerClient, CorrectedClock
from modelfleet_core.clock import ManualClock
from modelfleet_core.errors import CallerError, IntegrityError, WorldError
from modelfleet_core.lifecycle.chain import Installed
from modelfleet_core.release.manifest import Artifact
from modelfleet_core.trust.keys import ed25519_from_seed
from modelfleet_core.trust.policy import policy_of

from tests.agent.fakes import FakeController, entropy

DATA = Random(7).randbytes(300_000)
ARTIFACT = Artifact("model.onnx", hashlib.sha256(DATA).hexdigest(), len(DATA))


class Bench:
    """A downloader in front of a controller in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.controller = FakeController(clock=self.clock)
        self.controller.put_blob(DATA)
        self.stop: Callable[[], bool] = lambda: False
        signer = ed25519_from_seed(b"k" * 32)
        self.controller.keys["dev_1"] = signer.public()
        self.client = ControllerClient(
            self.controller,
            "dev_1",
            signer,
            policy_of(self.controller.trust()),
            CorrectedClock(self.clock),
            entropy(5),
        )

    def downloader(self) -> Downloader:
        return Downloader(self.client, self.clock, entropy(6), lambda: self.stop())

    def fetch(self, rate: float | None = None, artifact: Artifact = ARTIFACT) -> Downloader:
        downloader = self.downloader()
        downloader.fetch(artifact, self.folder, Bandwidth(rate, self.clock, lambda: self.stop()))
        return downloader

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    def ranges(self) -> list[str | None]:
        return [request.headers.get("Range") for request in self.controller.requests]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_file_arrives_whole_and_nothing_beside_it(bench: Bench) -> None:
    assert bench.fetch().received == len(DATA)
    assert (bench.folder / "model.onnx").read_bytes() == DATA
    assert bench.names() == {"model.onnx"}
    assert bench.fetch().received == 0


def test_a_broken_connection_goes_on_at_the_byte(bench: Bench) -> None:
    bench.controller.breaks_after = [100_000, 50_000]
    assert bench.fetch().received == len(DATA)
    assert bench.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert (bench.folder / "model.onnx").read_bytes() == DATA


def test_a_controller_away_for_long_is_waited_for(bench: Bench) -> None:
    tries = 0
    real = bench.controller.open

    def flaky(request: object) -> object:
        nonlocal tries
        tries += 1
        bench.controller.reachable = tries > 20
        return real(request)  # type: ignore[arg-type]

    bench.controller.open = flaky  # type: ignore[method-assign,assignment]
    bench.fetch()
    assert tries == 21
    assert 300 < bench.clock.elapsed < 20 * 60


def test_after_a_restart_only_the_rest_comes(bench: Bench) -> None:
    bench.controller.breaks_after = [200_000]
    bench.stop = lambda: len(bench.controller.requests) >= 1 and not bench.controller.breaks_after
    with pytest.raises(WorldError, match="MF-5012"):
        bench.fetch()
    done = bench.folder / f"{DONE}model.onnx"
    assert int(done.read_text()) == 65_536  # given up after the first read
    bench.stop = lambda: False
    assert bench.fetch().received == len(DATA) - 65_536
    assert bench.names() == {"model.onnx"}


@given(cut=st.integers(1, len(DATA) - 1))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_a_power_cut_lost_are_fetched_again(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """The count says that bytes have come which never reached the disk."""
    bench = Bench(tmp_path_factory.mktemp("cut"))
    (bench.folder / f"{PART}model.onnx").write_bytes(DATA[: cut // 2] + bytes(len(DATA) - cut // 2))
    (bench.folder / f"{DONE}model.onnx").write_text(f"{cut:020d}")
    bench.fetch()
    assert (bench.folder / "model.onnx").read_bytes() == DATA
    assert bench.ranges() == [f"bytes={cut}-", None]


@pytest.mark.parametrize("text", ["", "x", "-5", "99999999999999999999", "\0" * 20, str(len(DATA) + 1)])
def test_a_broken_count_begins_anew(bench: Bench, text: str) -> None:
    (bench.folder / f"{PART}model.onnx").write_bytes(DATA + b"more")
    (bench.folder / f"{DONE}model.onnx").write_text(text)
    bench.fetch()
    assert (bench.folder / "model.onnx").read_bytes() == DATA


def test_a_torn_finished_file_is_fetched_again(bench: Bench) -> None:
    (bench.folder / "model.onnx").write_bytes(DATA[:-5] + b"\0" * 5)
    assert bench.fetch().received == len(DATA)
    assert (bench.folder / "model.onnx").read_bytes() == DATA


def test_a_controller_without_ranges_still_works(bench: Bench) -> None:
    bench.controller.ignores_ranges = True
    bench.controller.breaks_after = [100_000]
    bench.fetch()
    assert (bench.folder / "model.onnx").read_bytes() == DATA


def test_wrong_bytes_are_refused_and_dropped(bench: Bench) -> None:
    bench.controller.blobs[ARTIFACT.sha256] = DATA[:-1] + b"x"
    with pytest.raises(IntegrityError, match="MF-2040"):
        bench.fetch()
    assert bench.names() == set()


def test_wrong_bytes_after_a_resumed_download_are_tried_once_more_and_then_refused(bench: Bench) -> None:
    bench.controller.blobs[ARTIFACT.sha256] = DATA[:-1] + b"x"
    (bench.folder / f"{PART}model.onnx").write_bytes(DATA)
    (bench.folder / f"{DONE}model.onnx").write_text(f"{1000:020d}")
    with pytest.raises(IntegrityError, match="MF-2040"):
        bench.fetch()
    assert bench.ranges() == ["bytes=1000-", None]
    assert bench.names() == set()


def test_endless_data_is_cut_off(bench: Bench) -> None:
    bench.controller.tells_lengths = False
    bench.controller.blobs[ARTIFACT.sha256] = DATA * 40
    with pytest.raises(IntegrityError, match="MF-2040"):
        bench.fetch()
    assert bench.controller.bytes_sent < len(DATA) + 70_000
    assert bench.names() == set()


def test_a_small_blob_of_another_digest_or_too_long_is_refused(bench: Bench) -> None:
    digest = bench.controller.put_blob(b"abc")
    assert bench.downloader().small(digest, 3, "it") == b"abc"
    with pytest.raises(IntegrityError, match="MF-2040"):
        bench.downloader().small(digest, 2, "it")
    bench.controller.blobs[digest] = b"abd"
    with pytest.raises(IntegrityError, match="MF-2040"):
        bench.downloader().small(digest, 3, "it")


def test_a_refused_blob_is_not_asked_for_again(bench: Bench) -> None:
    bench.controller.blobs.clear()
    with pytest.raises(CallerError, match="MF-1602"):
        bench.fetch()
    assert len(bench.controller.requests) == 1


# Bandwidth.


@pytest.mark.parametrize("rate", [1_000.0, 50_000.0, 1_000_000.0])
def test_a_download_keeps_to_the_rate(bench: Bench, rate: float) -> None:
    bench.fetch(rate)
    expected = len(DATA) / rate
    assert expected * 0.95 - BURST_S <= bench.clock.elapsed <= expected * 1.05 + BURST_S


def test_without_a_limit_nothing_waits(bench: Bench) -> None:
    bench.fetch(None)
    assert bench.clock.elapsed == 0


def test_giving_up_is_heard_while_waiting_for_the_rate(bench: Bench) -> None:
    bench.stop = lambda: bench.clock.elapsed > 1.0
    with pytest.raises(WorldError, match="MF-5012"):
        bench.fetch(100.0)
    assert bench.clock.elapsed < 2.0


@given(st.lists(st.integers(0, 5000), max_size=50), st.floats(10, 1e6))
def test_the_bucket_never_gives_more_than_rate_and_burst(spent: list[int], rate: float) -> None:
    clock = ManualClock()
    bucket = Bandwidth(rate, clock, lambda: False)
    for count in spent:
        bucket.spend(count)
    assert clock.elapsed >= sum(spent) / rate - BURST_S - 1e-6
    assert 1024 <= bucket.read_size <= 65_536


# Room.


def test_room_is_taken_before_the_first_byte(bench: Bench) -> None:
    other = Artifact("other.bin", "0" * 64, 1_000)
    bench.downloader().reserve((ARTIFACT, other), bench.folder, free=10**9, keep_free=0)
    assert (bench.folder / f"{PART}model.onnx").stat().st_size == len(DATA)
    assert os.stat(bench.folder / f"{PART}model.onnx").st_blocks * 512 >= len(DATA)
    assert (bench.folder / f"{PART}other.bin").stat().st_size == 1_000
    # Again after a restart: what is taken is not needed twice.
    bench.downloader().reserve((ARTIFACT, other), bench.folder, free=0, keep_free=10**9)


def test_too_little_room_is_refused_in_plain_words(bench: Bench) -> None:
    with pytest.raises(WorldError, match="MF-5001") as refused:
        bench.downloader().reserve((ARTIFACT,), bench.folder, free=300_500, keep_free=1_000)
    assert "needs 300000 more bytes; 300500 are free, of which 1000 must stay" in refused.value.happened
    assert bench.names() == set()


# The store.

A, B = Installed("a" * 64, "digits:1", "v.fp32"), Installed("b" * 64, "digits:2", "v.fp32")


def fill(store: VariantStore, installed: Installed) -> Path:
    folder = store.incoming(installed)
    (folder / "model.onnx").write_bytes(b"m")
    (folder / ".bundle").write_bytes(b"b")
    return folder


def test_a_folder_is_there_whole_or_not(tmp_path: Path) -> None:
    store = VariantStore(tmp_path / "store")
    fill(store, A)
    assert not store.has(A)
    store.install(A, b"bundle")
    store.install(A, b"bundle")
    assert store.has(A)
    assert {p.name for p in store.folder(A).iterdir()} == {"model.onnx"}
    assert dict(digest_folder(store.folder(A))) == {"model.onnx": hashlib.sha256(b"m").hexdigest()}
    assert (tmp_path / "store" / f"{key_of(A)}.sigstore.json").read_bytes() == b"bundle"


def test_what_nothing_refers_to_is_deleted(tmp_path: Path) -> None:
    store = VariantStore(tmp_path / "store")
    for installed in (A, B):
        fill(store, installed)
        store.install(installed, b"bundle")
    fill(store, A)
    fill(store, B)
    assert store.collect([A], preparing=[B]) == 3
    assert store.has(A)
    assert not store.has(B)
    left = {p.name for p in (tmp_path / "store").iterdir()}
    assert left == {key_of(A), f"{key_of(A)}.sigstore.json", ".incoming", ".trash"}
    assert {p.name for p in (tmp_path / "store" / ".incoming").iterdir()} == {key_of(B)}
    assert store.collect([A]) == 1


def test_a_deletion_that_was_cut_off_is_finished_by_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "store"
    store = VariantStore(root)
    fill(store, A)
    store.install(A, b"bundle")
    os.rename(store.folder(A), root / ".trash" / key_of(A))
    assert not VariantStore(root).has(A)
    assert list((root / ".trash").iterdir()) == []
