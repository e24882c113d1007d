"""Detectors and segmenters on the device: several outputs, large ones, each compared by its task."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from modelfleet_agent.control.protocol import ModelRef, SlotDesired
from modelfleet_agent.worker.model import read_folder
from modelfleet_core.gates.scores import check_report
from modelfleet_core.release.manifest import Task
from modelfleet_core.wire.report import Report
from modelfleet_runtimes import golden
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.comparators import for_manifest

from e2e.support import eventually
from tests.agent.serve.support import scenes
from tests.agent.serve.support.process import SLOT, ServeProcess, only, shadowing
from tests.runtimes.scenes import inputs

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> scenes.Built:
    return scenes.library(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path) as process:
        yield process


def serving(serve: ServeProcess, ref: ModelRef) -> None:
    serve.want(replace(only(ref), golden_folder=ref.folder))
    serve.until_state(ref)


@pytest.mark.parametrize("runtime", list(scenes.CLASSES))
@pytest.mark.parametrize("task", [Task.DETECTION, Task.SEGMENTATION])
def test_every_output_reaches_the_application(
    serve: ServeProcess, built: scenes.Built, task: Task, runtime: str
) -> None:
    ref = built(task, runtime)
    expected = scenes.answers(ref, inputs(3))
    serving(serve, ref)
    tested = serve.until_state(ref).self_test
    assert tested is not None
    assert (tested.passed, tested.samples) == (True, 8 if task is Task.DETECTION else 5)
    with serve.sdk() as model:
        found = model.infer({"image": inputs(3)})
        assert list(found) == list(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
        metadata = model.metadata()
        assert [tensor.name for tensor in metadata.outputs] == list(expected)
    known = eventually(lambda: serve.model(ref) if _has_golden(serve, ref) else None, 30)
    assert known is not None
    assert known.golden_total == 8
    assert known.golden_right == pytest.approx(_golden_score(ref), abs=1e-6)


def _has_golden(serve: ServeProcess, ref: ModelRef) -> bool:
    model = serve.model(ref)
    return model is not None and model.golden_right is not None


def _golden_score(ref: ModelRef) -> float:
    manifest, variant, _ = read_folder(Path(ref.folder), ref.variant)
    record = golden.read(Path(ref.folder) / "golden.npz")
    answer = scenes.answers(ref, record.inputs)
    assert variant.name == ref.variant
    return float(for_manifest(manifest).score(answer, record.truth).sum())


def post(serve: ServeProcess, body: dict[str, object], raw: bytes = b"") -> tuple[bytes, int]:
    head = json.dumps(body).encode()
    request = urllib.request.Request(
        f"{serve.http}/v2/models/{SLOT}/infer",
        data=head + raw,
        headers={"Inference-Header-Content-Length": str(len(head))} if raw else {},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        length = answer.headers.get("Inference-Header-Content-Length")
        return answer.read(), int(length or 0)


def test_large_masks_go_over_http_as_binary_and_as_json(serve: ServeProcess, built: scenes.Built) -> None:
    ref = built(Task.SEGMENTATION)
    images = np.concatenate([inputs(48)] * 2)
    serving(serve, ref)
    tensor = {"name": "image", "shape": list(images.shape), "datatype": "FP32"}
    described = {**tensor, "parameters": {"binary_data_size": images.nbytes}}
    data, length = post(
        serve, {"inputs": [described], "parameters": {"binary_data_output": True}}, images.tobytes()
    )
    output = json.loads(data[:length])["outputs"][0]
    assert (output["name"], output["shape"]) == ("logits", [96, 11, 96, 96])
    masks = np.frombuffer(data[length:], np.float32).reshape(96, 11, 96, 96)
    assert masks.nbytes > 38_000_000
    expected = scenes.answers(ref, inputs(2))["logits"]
    np.testing.assert_allclose(masks[:2], expected, atol=1e-4)
    single = {**tensor, "shape": [1, 1, 96, 96], "data": images[0].reshape(-1).tolist()}
    data, _ = post(serve, {"inputs": [single]})
    listed = np.asarray(json.loads(data)["outputs"][0]["data"], np.float32)
    np.testing.assert_array_equal(listed.reshape(1, 11, 96, 96), expected[:1])


def test_chosen_outputs_of_several(serve: ServeProcess, built: scenes.Built) -> None:
    ref = built(Task.DETECTION)
    expected = scenes.answers(ref, inputs(1))
    serving(serve, ref)
    tensor = {"name": "image", "shape": [1, 1, 96, 96], "datatype": "FP32", "data": inputs(1).tolist()}
    wanted = [{"name": "offset"}, {"name": "heatmap", "parameters": {"binary_data": True}}]
    data, length = post(serve, {"inputs": [tensor], "outputs": wanted})
    outputs = {item["name"]: item for item in json.loads(data[:length])["outputs"]}
    assert set(outputs) == {"heatmap", "offset"}
    heatmap = np.frombuffer(data[length:], np.float32).reshape(1, 10, 24, 24)
    np.testing.assert_array_equal(heatmap, expected["heatmap"])
    listed = np.asarray(outputs["offset"]["data"], np.float32).reshape(1, 2, 24, 24)
    np.testing.assert_array_equal(listed, expected["offset"])


def traffic(serve: ServeProcess, images: FloatArray) -> None:
    """One image after the other, each mirrored before the next."""
    with serve.sdk() as model:
        for number, image in enumerate(images):
            model(image)
            eventually(partial(_mirrored, serve, number + 1), 20, 0.002)


def _mirrored(serve: ServeProcess, count: int) -> bool:
    return serve.metric("modelfleet_mirror_total", outcome="run") >= count


def evidence(
    serve: ServeProcess, want: SlotDesired, candidate: ModelRef
) -> tuple[int, int, int, float, float]:
    """(compared, agreed, close, golden candidate, golden incumbent) of 24 scenes."""
    serve.want(replace(want, compute_budget=1.0))
    serve.until_state(candidate)
    eventually(partial(_has_golden, serve, candidate), 30)
    traffic(serve, inputs(24))

    def whole() -> list[Report] | None:
        found = serve.reports()
        return found if sum(report.n for report in found) >= 24 else None

    reports = eventually(whole, 20, what="reports of 24 images")
    assert reports is not None
    for report in reports:
        check_report(report)
    seen = [report.agreement for report in reports if report.agreement is not None]
    counted = reports[-1].golden
    assert counted is not None
    assert counted.total == 8
    assert counted.incumbent_right is not None
    sums = [sum(getattr(item, name) for item in seen) for name in ("compared", "agreed", "close")]
    return sums[0], sums[1], sums[2], counted.candidate_right, counted.incumbent_right


def test_a_detector_in_another_runtime_agrees(serve: ServeProcess, built: scenes.Built) -> None:
    incumbent = built(Task.DETECTION)
    other = replace(built(Task.DETECTION, "litert"), release="f" * 64)
    compared, agreed, _, ours, theirs = evidence(serve, shadowing(incumbent, other), other)
    assert (compared, agreed) == (24, 24)
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert theirs == pytest.approx(_golden_score(incumbent), abs=1e-6)


def test_a_detector_that_overlooks_objects_disagrees_and_loses_golden_score(
    serve: ServeProcess, built: scenes.Built
) -> None:
    incumbent, candidate = built(Task.DETECTION), built(Task.DETECTION, blind=True)
    manifest, _, _ = read_folder(Path(incumbent.folder), incumbent.variant)
    found = for_manifest(manifest).compare(
        scenes.answers(candidate, inputs(24)), scenes.answers(incumbent, inputs(24))
    )
    compared, agreed, close, ours, theirs = evidence(serve, shadowing(incumbent, candidate), candidate)
    assert (compared, agreed, close) == (24, int(found.agree.sum()), int(found.close.sum()))
    assert agreed < 18
    assert 0 < ours < theirs - 0.5
    assert ours != int(ours), "images are right in part"


def test_a_segmenter_agrees_with_itself(serve: ServeProcess, built: scenes.Built) -> None:
    incumbent = built(Task.SEGMENTATION)
    other = replace(built(Task.SEGMENTATION, "openvino"), release="f" * 64)
    compared, agreed, _, ours, theirs = evidence(serve, shadowing(incumbent, other), other)
    assert (compared, agreed) == (24, 24)
    assert ours == pytest.approx(theirs, abs=1e-2)
    assert 3 < theirs < 8
