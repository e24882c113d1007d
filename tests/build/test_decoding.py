from __future__ import annotations

import pytest

from modelfleet_build.decoding import choose_decoder, parse_decoder
from modelfleet_build.facts import ModelFacts
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, LogicalTensor
from modelfleet_core.release.manifest import Decoder, Task

from tests.runtimes.scenes import HEADS, IMAGE


def facts(outputs: tuple[LogicalTensor, ...] = HEADS) -> ModelFacts:
    return ModelFacts("0", "0", 1, 17, False, (IMAGE,), outputs, {})


def test_a_decoder_as_people_write_it() -> None:
    assert parse_decoder("centernet") == Decoder("centernet")
    assert parse_decoder("centernet:stride=4,heatmap=hm.1,confident=.5") == Decoder(
        "centernet", {"stride": 4.0, "heatmap": "hm.1", "confident": 0.5}
    )


@pytest.mark.parametrize(
    "text",
    ["", ":a=1", "Center Net", "centernet:stride", "centernet:=4", "centernet:stride=", "centernet:a=1,a=2",
     "centernet:" + "a" * 300 + "=1", "centernet:" + ",".join(f"k{i}=1" for i in range(40))],
)  # fmt: skip
def test_what_is_no_decoder(text: str) -> None:
    with pytest.raises(CallerError, match="NAME:key=value") as caught:
        parse_decoder(text)
    assert caught.value.code is Code.BUILD_REQUEST


def test_words_that_look_like_numbers_but_are_not_finite_stay_words() -> None:
    assert parse_decoder("x:a=nan,b=inf").parameters == {"a": "nan", "b": "inf"}


def test_the_one_that_fits_is_told_with_all_it_assumes() -> None:
    decoder, told = choose_decoder(Task.DETECTION, None, facts())
    assert decoder is not None
    assert decoder.name == "centernet"
    assert "size_unit=32" in told
    assert "heatmap=heatmap" in told
    given, nothing = choose_decoder(Task.DETECTION, Decoder("centernet", {"size_unit": 16.0}), facts())
    assert given is not None
    assert (given.parameters["size_unit"], given.parameters["stride"], nothing) == (16.0, 4.0, "")
    assert choose_decoder(Task.SEGMENTATION, None, facts()) == (None, "")


def test_what_cannot_be_told_is_asked_for() -> None:
    with pytest.raises(CallerError, match="no decoder fits") as caught:
        choose_decoder(Task.DETECTION, None, facts((LogicalTensor("y", (BATCH, 10)),)))
    assert caught.value.code is Code.DECODER_MISSING
    assert "--decoder" in caught.value.todo


def test_two_that_fit_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    both = (Decoder("boxes"), Decoder("centernet"))
    monkeypatch.setattr("modelfleet_build.decoding.infer", lambda inputs, outputs: both)
    with pytest.raises(CallerError, match="boxes, centernet would all fit"):
        choose_decoder(Task.DETECTION, None, facts())


def test_a_decoder_belongs_to_detection() -> None:
    with pytest.raises(CallerError) as caught:
        choose_decoder(Task.CLASSIFICATION, Decoder("centernet"), facts())
    assert caught.value.code is Code.BUILD_REQUEST
