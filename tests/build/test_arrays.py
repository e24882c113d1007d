from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from modelfleet_build.arrays import AnswerWriter, answer_bytes, read_answers, samples_that_fit
from modelfleet_core.release.contract import BATCH, LogicalTensor

OUTPUTS = (LogicalTensor("a/b", (BATCH, 3)), LogicalTensor("c", (BATCH, 2, 4)))


def _write(folder: Path, samples: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    answers = {t.name: random.normal(size=(samples, *t.shape[1:])).astype(np.float32) for t in OUTPUTS}
    with AnswerWriter(folder, "validation", OUTPUTS, samples) as writer:
        for row in range(samples):
            writer.add({name: value[row : row + 1] for name, value in answers.items()})
    return answers


def test_answers_come_back_and_outlive_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    written = _write(folder, 7)
    back = read_answers(folder, "validation", OUTPUTS, 7)
    shutil.rmtree(folder)
    assert list(back) == ["a/b", "c"]
    for name, value in written.items():
        np.testing.assert_array_equal(back[name], value)


def test_a_failed_run_is_nan_in_every_output(tmp_path: Path) -> None:
    with AnswerWriter(tmp_path, "golden", OUTPUTS, 1) as writer:
        writer.add(None)
    assert all(np.isnan(value).all() for value in read_answers(tmp_path, "golden", OUTPUTS, 1).values())


def test_a_child_that_stopped_half_way_is_noticed(tmp_path: Path) -> None:
    with AnswerWriter(tmp_path, "validation", OUTPUTS, 7) as writer:
        writer.add(None)
    with pytest.raises(ValueError):
        read_answers(tmp_path, "validation", OUTPUTS, 7)
    _write(tmp_path, 6)
    with pytest.raises(ValueError, match="shape"):
        read_answers(tmp_path, "validation", OUTPUTS, 7)


def test_room_for_answers() -> None:
    assert answer_bytes(OUTPUTS) == 4 * (3 + 8)
    assert samples_that_fit((LogicalTensor("huge", (BATCH, 1 << 30)),)) == 1
