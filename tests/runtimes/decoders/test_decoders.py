"""The bundled decoders: on a trained detector against another implementation, and on outputs made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import BATCH, Layout, LogicalTensor
from modelfleet_core.release.manifest import Decoder
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.decoders import Detections, infer, open_decoder, registry, settle
from modelfleet_runtimes.decoders.corners import to_pixels

from .. import scenes

IMAGE = (LogicalTensor("image", (BATCH, 3, 100, 200), Layout.NCHW),)
PLAIN = (
    LogicalTensor("boxes", (BATCH, 5, 4)),
    LogicalTensor("scores", (BATCH, 5)),
    LogicalTensor("classes", (BATCH, 5)),
)
YOLO = (LogicalTensor("output0", (BATCH, 4 + 3, 20)),)


def spelled(found: Detections) -> list[tuple[list[float], float, int]]:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    return [(box, round(score, 4), number) for box, score, number in rows]


def test_bundled_decoders_come_by_entry_points() -> None:
    points = metadata.entry_points(group="modelfleet.decoders")
    assert {point.name for point in points} >= {"boxes", "centernet", "yolo"}
    for point in points:
        assert point.load().name == point.name


def test_a_trained_detector_is_decoded_like_by_another_implementation() -> None:
    """The scenes are the first of those whose boxes the other implementation wrote down."""
    decoder = open_decoder(scenes.CENTERNET, (scenes.IMAGE,), scenes.HEADS)
    found = decoder.decode(scenes.answers(scenes.DETECTOR, 48))
    with np.load(scenes.MODELS / "scenes-found.npz", allow_pickle=False) as arrays:
        rows, counts = arrays["found_1.1"], arrays["counts_1.1"]
    begin = 0
    for item, count in zip(found, counts, strict=False):
        expected = rows[begin : begin + count]
        begin += int(count)
        assert len(item) == count
        np.testing.assert_allclose(item.boxes, expected[:, :4], atol=2e-3)
        np.testing.assert_allclose(item.scores, expected[:, 4], atol=1e-4)
        np.testing.assert_array_equal(item.classes, expected[:, 5])
    assert begin > 100


def centernet_heads(cells: dict[tuple[int, int, int], float]) -> dict[str, FloatArray]:
    """Heads on the 24 x 24 grid; every object is 16 x 8 pixels with its centre in the middle of its cell."""
    heatmap = np.zeros((1, 10, 24, 24), np.float32)
    for place, score in cells.items():
        heatmap[0][place] = score
    size = np.empty((1, 2, 24, 24), np.float32)
    size[:, 0], size[:, 1] = 0.5, 0.25
    return {"heatmap": heatmap, "size": size, "offset": np.full((1, 2, 24, 24), 0.5, np.float32)}


def centernet(**parameters: float | str) -> list[tuple[list[float], float, int]]:
    cells = {(3, 10, 5): 0.9, (3, 10, 6): 0.8, (4, 20, 20): 0.06, (7, 0, 0): 0.5, (1, 10, 5): 0.7}
    decoder = open_decoder(Decoder("centernet", dict(parameters)), (scenes.IMAGE,), scenes.HEADS)
    return spelled(decoder.decode(centernet_heads(cells))[0])


def test_peaks_become_boxes_inside_the_image() -> None:
    assert centernet() == [
        ([14.0, 38.0, 30.0, 46.0], 0.9, 3),  # its neighbour is no peak, class 1 in its place is suppressed
        ([0.0, 0.0, 10.0, 6.0], 0.5, 7),
        ([74.0, 78.0, 90.0, 86.0], 0.06, 4),
    ]
    assert [row[2] for row in centernet(score_threshold=0.4)] == [3, 7]
    assert [row[2] for row in centernet(iou_threshold=1.0)] == [3, 1, 7, 4]
    assert centernet(max_boxes=1)[0][2] == 3
    assert len(centernet(max_boxes=1)) == 1
    assert centernet(size_unit=16.0)[0][0] == [18.0, 40.0, 26.0, 44.0]
    assert centernet(stride=2.0, score_threshold=0.6)[0][0] == [3.0, 17.0, 19.0, 25.0]


def test_what_is_not_finite_is_no_box() -> None:
    heads = centernet_heads({(3, 10, 5): 0.9, (4, 20, 20): 0.6})
    heads["size"][0, 0, 10, 5] = np.nan
    decoder = open_decoder(scenes.CENTERNET, (scenes.IMAGE,), scenes.HEADS)
    assert [row[2] for row in spelled(decoder.decode(heads)[0])] == [4]
    heads["heatmap"][:] = np.nan
    assert len(decoder.decode(heads)[0]) == 0


def plain_outputs() -> dict[str, FloatArray]:
    boxes = np.asarray([[[10, 20, 30, 40], [150, 50, 260, 90], [1, 1, 2, 2], [0, 0, 0, 0], [5, 5, 9, 9]]])
    return {
        "boxes": boxes.astype(np.float32),
        "scores": np.asarray([[0.5, 0.9, 0.01, 0.8, np.nan]], np.float32),
        "classes": np.asarray([[2, 1, 1, -1, 1]], np.float32),
    }


def test_finished_boxes_are_sorted_clipped_and_rid_of_padding() -> None:
    decoder = open_decoder(Decoder("boxes"), IMAGE, PLAIN)
    assert spelled(decoder.decode(plain_outputs())[0]) == [
        ([150.0, 50.0, 200.0, 90.0], 0.9, 1),
        ([10.0, 20.0, 30.0, 40.0], 0.5, 2),
    ]
    assert decoder.classes is None
    assert open_decoder(Decoder("boxes", {"class_count": 3.0}), IMAGE, PLAIN).classes == 3


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("xyxy", [20, 10, 60, 30]),
        ("yxyx", [10, 20, 30, 60]),
        ("xywh", [20, 10, 40, 20]),
        ("cxcywh", [40, 20, 40, 20]),
    ],
)
def test_every_way_to_spell_a_box(form: str, values: list[float]) -> None:
    given_box = np.asarray([values], np.float32)
    assert to_pixels(given_box, form, "pixels", (200, 100)).tolist() == [[20, 10, 60, 30]]
    wide = (200, 100) if form != "yxyx" else (100, 200)
    shares = (given_box / np.asarray([*wide, *wide], np.float32)).astype(np.float32)
    np.testing.assert_allclose(to_pixels(shares, form, "image", (200, 100)), [[20, 10, 60, 30]], rtol=1e-6)


def yolo_output(turned: bool = False) -> FloatArray:
    """Candidates 3, 4, 5: two of class 1 in one place, one of class 2 there; 7 alone; the rest is noise."""
    output = np.full((1, 7, 20), 0.01, np.float32)
    for candidate, (box, number, score) in {
        3: ((50, 50, 20, 10), 1, 0.9),
        4: ((51, 50, 20, 10), 1, 0.8),
        5: ((50, 50, 20, 10), 2, 0.7),
        7: ((190, 90, 40, 40), 0, 0.6),
    }.items():
        output[0, :4, candidate] = box
        output[0, 4 + number, candidate] = score
    return output.transpose(0, 2, 1) if turned else output


@pytest.mark.parametrize("turned", [False, True])
def test_candidates_are_suppressed_within_their_class(turned: bool) -> None:
    tensor = (LogicalTensor("output0", (BATCH, 20, 7) if turned else (BATCH, 7, 20)),)
    decoder = open_decoder(Decoder("yolo"), IMAGE, tensor)
    assert decoder.classes == 3
    assert spelled(decoder.decode({"output0": yolo_output(turned)})[0]) == [
        ([40.0, 45.0, 60.0, 55.0], 0.9, 1),
        ([40.0, 45.0, 60.0, 55.0], 0.7, 2),
        ([170.0, 70.0, 200.0, 100.0], 0.6, 0),
    ]
    agnostic = open_decoder(Decoder("yolo", {"agnostic": 1.0}), IMAGE, tensor)
    assert [row[2] for row in spelled(agnostic.decode({"output0": yolo_output(turned)})[0])] == [1, 0]


@given(
    hnp.arrays(
        np.float32, (2, 7, 20), elements=st.floats(-2, 2, width=32) | st.sampled_from([np.nan, np.inf])
    ),
    st.integers(1, 30),
)
def test_any_output_gives_a_bounded_number_of_sane_boxes(output: FloatArray, most: int) -> None:
    decoder = open_decoder(Decoder("yolo", {"units": "image", "max_boxes": float(most)}), IMAGE, YOLO)
    for found in decoder.decode({"output0": output}):
        assert len(found) <= most
        assert ((found.boxes >= 0) & (found.boxes <= [200, 100, 200, 100])).all()
        assert ((found.scores >= 0.05 - 1e-6) & (found.scores <= 1)).all()
        assert (np.diff(found.scores) <= 0).all()
        assert ((found.classes >= 0) & (found.classes < 3)).all()


def test_only_the_decoder_that_fits_is_inferred() -> None:
    for inputs, outputs, name in (
        ((scenes.IMAGE,), scenes.HEADS, "centernet"),
        (IMAGE, PLAIN, "boxes"),
        (IMAGE, YOLO, "yolo"),
    ):
        (found,) = infer(inputs, outputs)
        assert found.name == name
        assert found == settle(found, inputs, outputs), "every parameter is spelled out"
        assert {"score_threshold", "confident", "iou_threshold", "max_boxes"} <= set(found.parameters)
    assert infer(IMAGE, (LogicalTensor("logits", (BATCH, 10)),)) == ()
    assert infer((LogicalTensor("x", (BATCH, 7)),), YOLO) == ()
    swapped = (scenes.HEADS[1], scenes.HEADS[0], LogicalTensor("offset", (BATCH, 3, 24, 24), Layout.NCHW))
    assert infer((scenes.IMAGE,), swapped) == ()


def unfit() -> Iterator[tuple[str, dict[str, float | str], tuple[LogicalTensor, ...]]]:
    for key, value in (
        ("stride", 0.0),
        ("score_threshold", 1.5),
        ("max_boxes", 5000.0),
        ("confident", "high"),
        ("heatmap", "no-such-output"),
        ("heatmap", 3.0),
        ("surprise", 1.0),
    ):
        yield "centernet", {key: value}, scenes.HEADS
    yield "centernet", {}, PLAIN
    yield "boxes", {"form": "polar"}, PLAIN
    yield "boxes", {}, (PLAIN[0], LogicalTensor("scores", (BATCH, 4)), PLAIN[2])
    yield "yolo", {}, PLAIN
    yield "yolo", {"order": "candidates-first"}, (LogicalTensor("y", (BATCH, 20, 4)),)


@pytest.mark.parametrize(("name", "parameters", "outputs"), list(unfit()))
def test_what_does_not_fit_is_refused(
    name: str, parameters: dict[str, float | str], outputs: tuple[LogicalTensor, ...]
) -> None:
    with pytest.raises(CallerError) as caught:
        open_decoder(Decoder(name, parameters), (scenes.IMAGE,), outputs)
    assert caught.value.code is Code.DECODER_UNFIT
    assert caught.value.expected


def test_an_unknown_and_a_broken_plug_in_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CallerError, match="no-such") as caught:
        open_decoder(Decoder("no-such"), IMAGE, YOLO)
    assert caught.value.code is Code.DECODER_UNKNOWN
    assert "centernet" in caught.value.expected
    broken = metadata.EntryPoint("broken", "no_such_module:plugin", "modelfleet.decoders")
    monkeypatch.setattr(registry, "_entry_points", lambda: {"broken": broken})
    with pytest.raises(CallerError, match="ModuleNotFoundError"):
        open_decoder(Decoder("broken"), IMAGE, YOLO)
    assert infer(IMAGE, YOLO) == ()


def test_outputs_of_another_model_are_refused() -> None:
    decoder = open_decoder(scenes.CENTERNET, (scenes.IMAGE,), scenes.HEADS)
    heads = dict(centernet_heads({}))
    for wrong in ({**heads, "size": heads["heatmap"]}, {"heatmap": heads["heatmap"]}):
        with pytest.raises(CallerError) as caught:
            decoder.decode(wrong)
        assert caught.value.code is Code.OUTPUTS_NOT_COMPARABLE
