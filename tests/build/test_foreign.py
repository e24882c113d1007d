"""What is read of foreign programs' files, and what they get."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfleet_build.foreign import bare_environment, last_line, read_bounded


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (b"", ""),
        (b" \n\n", ""),
        (b"one\ntwo \n", "; its last line was: two"),
        (b"x" * 100_000 + b"\nthe end\n", "; its last line was: the end"),
        (b"y" * 100_000, "; its last line was: " + "y" * 300),
        (b"\xff\n", "; its last line was: \ufffd"),
    ],
)
def test_of_a_log_of_any_size_the_last_line_is_told(tmp_path: Path, log: bytes, told: str) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(log)
    assert last_line(path) == told


def test_a_file_is_read_to_one_byte_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(b"12345")
    assert [read_bounded(path, limit) for limit in (3, 4, 5, 9)] == [b"1234", b"12345", b"12345", b"12345"]


def test_nothing_of_the_caller_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    given = bare_environment(tmp_path, 3)
    assert "x" not in given.values()
    assert (given["HOME"], given["TMPDIR"], given["OMP_NUM_THREADS"]) == (str(tmp_path), str(tmp_path), "3")
