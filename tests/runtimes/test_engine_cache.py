"""The rules of the engine cache, one by one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_runtimes.engine_cache import EngineCache, EngineKey

KEY = EngineKey("a" * 64, "b" * 64, "Orin", "8.7", "10.3.0", "tensorrt")


@dataclass
class Maker:
    """Counts what is built; its engines tell their number."""

    built: int = 0
    names: list[str] = field(default_factory=lambda: ["engine.plan"])
    size: int = 100

    def __call__(self, folder: Path) -> None:
        self.built += 1
        for name in self.names:
            (folder / name).write_bytes(f"{name} {self.built} ".encode() + b"x" * self.size)


def content(folder: Path) -> str:
    return (folder / "engine.plan").read_bytes().split(b" x")[0].decode()


def entries(cache: EngineCache) -> list[Path]:
    return sorted(path for path in cache.root.iterdir() if path.is_dir())


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "serve" / "engines")


def test_an_engine_is_built_once(cache: EngineCache) -> None:
    maker = Maker()
    for _ in range(3):
        assert cache.use(KEY, maker, content) == "engine.plan 1"
    assert maker.built == 1
    assert cache.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name", ["model_sha256", "spec_sha256", "gpu", "compute_capability", "tensorrt", "maker"]
)
def test_everything_that_an_engine_hangs_on_is_in_its_key(cache: EngineCache, name: str) -> None:
    maker = Maker()
    cache.use(KEY, maker, content)
    assert cache.use(replace(KEY, **{name: "other"}), maker, content) == "engine.plan 2"


def flip(place: Path) -> None:
    data = bytearray((place / "engine.plan").read_bytes())
    data[-1] ^= 1
    (place / "engine.plan").write_bytes(data)


def cut(place: Path) -> None:
    (place / "engine.plan").write_bytes((place / "engine.plan").read_bytes()[:-1])


def lose(place: Path) -> None:
    (place / "engine.plan").unlink()


def forget(place: Path) -> None:
    (place / "entry.json").unlink()


def garble(place: Path) -> None:
    (place / "entry.json").write_bytes(b"{}")


def add(place: Path) -> None:
    (place / "another.engine").write_bytes(b"from elsewhere")


def link(place: Path) -> None:
    (place / "engine.plan").rename(place.parent / "moved")
    (place / "engine.plan").symlink_to(place.parent / "moved")


def rename(place: Path) -> None:
    """The entry of another key in this one's place."""
    text = (place / "entry.json").read_text().replace("Orin", "Xavier")
    (place / "entry.json").write_text(text)


@pytest.mark.parametrize("damage", [flip, cut, lose, forget, garble, add, link, rename])
def test_what_is_not_as_it_was_stored_is_never_loaded(
    cache: EngineCache, damage: Callable[[Path], None]
) -> None:
    maker, loaded = Maker(), []

    def load(folder: Path) -> str:
        loaded.append(content(folder))
        return loaded[-1]

    cache.use(KEY, maker, load)
    damage(entries(cache)[0])
    assert cache.use(KEY, maker, load) == "engine.plan 2"
    assert loaded == ["engine.plan 1", "engine.plan 2"]
    assert cache.use(KEY, maker, load) == "engine.plan 2"
    assert sorted(path.name for path in entries(cache)[0].iterdir()) == ["engine.plan", "entry.json"]


def refusal() -> WorldError:
    return WorldError(Code.MODEL_LOAD_FAILED, "no", expected="yes", todo="none")


def test_a_whole_engine_that_cannot_be_loaded_is_built_anew_once(cache: EngineCache) -> None:
    maker = Maker()
    cache.use(KEY, maker, content)

    def picky(folder: Path) -> str:
        if content(folder) == "engine.plan 1":
            raise refusal()
        return content(folder)

    def never(folder: Path) -> str:
        raise refusal()

    assert cache.use(KEY, maker, picky) == "engine.plan 2"
    with pytest.raises(WorldError):
        cache.use(KEY, maker, never)
    assert maker.built == 3


def test_a_build_that_fails_leaves_nothing(cache: EngineCache) -> None:
    def failing(folder: Path) -> None:
        (folder / "engine.plan").write_bytes(b"half of it")
        raise refusal()

    with pytest.raises(WorldError):
        cache.use(KEY, failing, content)
    assert entries(cache) == []


def test_what_a_build_that_was_killed_left_is_swept(cache: EngineCache) -> None:
    cache.root.mkdir(parents=True)
    (cache.root / ".partial-dead").mkdir()
    (cache.root / ".partial-dead" / "engine.plan").write_bytes(b"half of it")
    cache.use(KEY, Maker(), content)
    assert [path.name for path in entries(cache)] == [KEY.digest()]


def test_an_entry_appears_whole(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the rename nothing is there, and by then every file and the folder were synced."""
    events: list[str] = []
    sync, rename_ = os.fsync, Path.rename

    def watched_sync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def watched_rename(self: Path, target: Path) -> Path:
        assert not target.exists()
        events.append("rename")
        return rename_(self, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    cache.use(KEY, Maker(), content)
    before = events[: events.index("rename")]
    assert before[:2] == ["engine.plan", "entry.json"]
    assert before[2].startswith(".partial-")
    assert events[-1] == "engines"


def test_the_least_recently_used_go_first_and_the_one_in_use_stays(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, limit_bytes=25_000)
    keys = [replace(KEY, gpu=str(index)) for index in range(3)]
    maker = Maker(size=10_000)
    for index, key in enumerate(keys[:2]):
        cache.use(key, maker, content)
        os.utime(tmp_path / key.digest(), ns=(index, index))
    cache.use(keys[0], maker, content)  # used again: now the second is the oldest
    cache.use(keys[2], maker, content)
    assert {path.name for path in entries(cache)} == {keys[0].digest(), keys[2].digest()}
    large = replace(KEY, gpu="large")
    cache.use(large, Maker(size=50_000), content)
    assert [path.name for path in entries(cache)] == [large.digest()]


def test_a_folder_that_cannot_be_written_is_told_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=os.strerror(errno.ENOTDIR)):
        EngineCache(tmp_path / "file" / "engines").use(KEY, Maker(), content)
