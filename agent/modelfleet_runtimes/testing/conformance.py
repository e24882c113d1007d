"""What the agent and the builder rely on in every runtime, as tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.release.contract import InputContract
from modelfleet_runtimes.binding import FloatArray
from modelfleet_runtimes.port import Runtime

# Asks for metadata in a fresh interpreter and lists what heavy modules that imported.
_LIGHT_IMPORT = """
import importlib, json, sys
module, attribute = sys.argv[1:]
plugin = getattr(importlib.import_module(module), attribute)
plugin.name, plugin.package, plugin.extra, plugin.formats, plugin.version()
json.dump(sorted(name for name in sys.modules if "." not in name), sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class ConformanceCase:
    """A variant on disk and what it answers.

    Attributes:
        folder: Variant folder; the suite copies it before it damages anything.
        entry: File to open.
        contract: Its contract; the first dimension of every logical tensor must be `BATCH`.
        inputs: Logical inputs of at least three different samples.
        expected: Logical outputs for them.
        tolerance: Largest absolute error of any output element.
        heavy: Top-level modules that must not be imported before `open`.
    """

    folder: Path
    entry: str
    contract: InputContract
    inputs: dict[str, FloatArray]
    expected: dict[str, FloatArray]
    tolerance: float
    heavy: tuple[str, ...]


class RuntimeConformance:
    """Subclass it, name the subclass `Test...` and give it the fixtures `runtime` and `case`."""

    def test_metadata_without_the_library(self, runtime: Runtime, case: ConformanceCase) -> None:
        module = type(runtime).__module__
        command = [sys.executable, "-c", _LIGHT_IMPORT, module, "plugin"]
        answer = subprocess.run(command, capture_output=True, check=True, timeout=60)
        imported = set(json.loads(answer.stdout))
        assert not imported & {"numpy", *case.heavy}
        assert runtime.name
        assert runtime.formats
        assert runtime.version() is not None

    def test_answers_as_expected(self, runtime: Runtime, case: ConformanceCase) -> None:
        session = runtime.open(case.folder, case.entry, case.contract, threads=1)
        try:
            for row in range(_samples(case)):
                answer = session.run(_row(case.inputs, row))
                assert list(answer) == [binding.logical.name for binding in case.contract.outputs]
                for name, value in answer.items():
                    assert value.dtype == np.float32
                    assert value.flags.c_contiguous
                    np.testing.assert_allclose(
                        value, _row(case.expected, row)[name], rtol=0, atol=case.tolerance
                    )
        finally:
            session.close()

    def test_batch_equals_single_samples(self, runtime: Runtime, case: ConformanceCase) -> None:
        session = runtime.open(case.folder, case.entry, case.contract)
        try:
            together = session.run(case.inputs)
            for row in range(_samples(case)):
                alone = session.run(_row(case.inputs, row))
                for name, value in alone.items():
                    np.testing.assert_allclose(
                        together[name][row : row + 1], value, rtol=0, atol=case.tolerance
                    )
        finally:
            session.close()

    def test_answers_are_repeatable_and_owned_by_the_caller(
        self, runtime: Runtime, case: ConformanceCase
    ) -> None:
        session = runtime.open(case.folder, case.entry, case.contract)
        try:
            first = session.run(_row(case.inputs, 0))
            kept = {name: value.copy() for name, value in first.items()}
            session.run(_row(case.inputs, 1))
            again = session.run(_row(case.inputs, 0))
            for name, value in kept.items():
                np.testing.assert_array_equal(first[name], value)
                np.testing.assert_array_equal(again[name], value)
                first[name][...] = 0  # writable
        finally:
            session.close()

    def test_inputs_may_be_strided_and_are_left_alone(self, runtime: Runtime, case: ConformanceCase) -> None:
        session = runtime.open(case.folder, case.entry, case.contract)
        try:
            plain = _row(case.inputs, 0)
            strided = {name: np.repeat(value, 2, axis=-1)[..., ::2] for name, value in plain.items()}
            copies = {name: value.copy() for name, value in strided.items()}
            one, two = session.run(plain), session.run(strided)
            for name, value in one.items():
                np.testing.assert_array_equal(two[name], value)
            for name, value in copies.items():
                np.testing.assert_array_equal(strided[name], value)
        finally:
            session.close()

    def test_sessions_are_independent(self, runtime: Runtime, case: ConformanceCase) -> None:
        one = runtime.open(case.folder, case.entry, case.contract)
        two = runtime.open(case.folder, case.entry, case.contract)
        before = two.run(_row(case.inputs, 0))
        one.run(_row(case.inputs, 1))
        one.close()
        after = two.run(_row(case.inputs, 0))
        two.close()
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)

    def test_inputs_that_break_the_contract(self, runtime: Runtime, case: ConformanceCase) -> None:
        session = runtime.open(case.folder, case.entry, case.contract)
        good = _row(case.inputs, 0)
        name = next(iter(good))
        bad: dict[str, dict[str, Any]] = {
            "missing": {},
            "unknown name": {**good, "no such input": good[name]},
            "wrong dtype": {**good, name: good[name].astype(np.float64)},
            "wrong shape": {**good, name: good[name][..., :-1]},
            "no sample": {**good, name: good[name][:0]},
            "NaN": {**good, name: np.full_like(good[name], np.nan)},
        }
        try:
            for kind, inputs in bad.items():
                with pytest.raises(CallerError) as caught:
                    session.run(inputs)
                assert caught.value.code is Code.INPUT_BREAKS_CONTRACT, kind
            session.run(good)
        finally:
            session.close()

    def test_values_outside_the_stated_range(self, runtime: Runtime, case: ConformanceCase) -> None:
        first = case.contract.inputs[0]
        narrow = replace(first.logical, minimum=0.0, maximum=1.0)
        contract = replace(case.contract, inputs=(replace(first, logical=narrow), *case.contract.inputs[1:]))
        session = runtime.open(case.folder, case.entry, contract)
        inputs = _row(case.inputs, 0)
        try:
            with pytest.raises(CallerError) as caught:
                session.run({**inputs, narrow.name: np.full_like(inputs[narrow.name], 2.0)})
            assert caught.value.code is Code.INPUT_BREAKS_CONTRACT
        finally:
            session.close()

    def test_a_closed_session_refuses(self, runtime: Runtime, case: ConformanceCase) -> None:
        session = runtime.open(case.folder, case.entry, case.contract)
        session.close()
        session.close()
        with pytest.raises(WorldError) as caught:
            session.run(_row(case.inputs, 0))
        assert caught.value.code is Code.SESSION_CLOSED

    @pytest.mark.parametrize("damage", ["empty", "noise", "truncated", "absent"])
    def test_files_that_cannot_be_loaded(
        self, runtime: Runtime, case: ConformanceCase, tmp_path: Path, damage: str
    ) -> None:
        folder = tmp_path / "damaged"
        shutil.copytree(case.folder, folder)
        entry = folder / case.entry
        if damage == "absent":
            entry.unlink()
        elif damage == "truncated":
            entry.write_bytes(entry.read_bytes()[:-1000])
        else:
            entry.write_bytes(b"" if damage == "empty" else b"not a model at all " * 50)
        with pytest.raises(WorldError) as caught:
            runtime.open(folder, case.entry, case.contract)
        assert caught.value.code is Code.MODEL_LOAD_FAILED

    def test_a_contract_that_is_not_the_files(self, runtime: Runtime, case: ConformanceCase) -> None:
        first = case.contract.outputs[0]
        other = replace(first, physical=replace(first.physical, name="no_such_tensor"))
        contract = replace(case.contract, outputs=(other, *case.contract.outputs[1:]))
        with pytest.raises(WorldError) as caught:
            runtime.open(case.folder, case.entry, contract)
        assert caught.value.code is Code.CONTRACT_MISMATCH

    @pytest.mark.parametrize("entry", ["../model", "a/b", ".hidden", "model.unknown"])
    def test_entries_that_are_no_plain_file(
        self, runtime: Runtime, case: ConformanceCase, entry: str
    ) -> None:
        name = entry if entry.endswith(".unknown") else entry + runtime.formats[0]
        with pytest.raises(CallerError) as caught:
            runtime.open(case.folder, name, case.contract)
        assert caught.value.code is Code.ENTRY_NOT_SUPPORTED


def _samples(case: ConformanceCase) -> int:
    return int(next(iter(case.inputs.values())).shape[0])


def _row(arrays: dict[str, FloatArray], row: int) -> dict[str, FloatArray]:
    return {name: value[row : row + 1] for name, value in arrays.items()}
