"""Which decoder turns a detector's outputs into boxes: the one asked for, or the only one that fits."""

from __future__ import annotations

import math

from modelfleet_build.facts import ModelFacts
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Decoder, Task
from modelfleet_runtimes.decoders import infer, settle


def parse_decoder(text: str) -> Decoder:
    """Read `NAME` or `NAME:key=value,key=value`; a value that is a number is one.

    Raises:
        CallerError: MF-1423, it is not of that form.
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, float | str] = {}
    for part in rest.split(",") if rest else []:
        key, equals, value = part.partition("=")
        if not key or not equals or not value or key in parameters:
            raise _malformed(text, f"{part!r} is no new key=value")
        parameters[key] = _value(value)
    try:
        return Decoder(name, parameters)
    except ValueError as error:
        raise _malformed(text, str(error)) from error


def choose_decoder(task: Task, given: Decoder | None, facts: ModelFacts) -> tuple[Decoder | None, str]:
    """The decoder with all its parameters, and a sentence where it was not asked for.

    None for tasks that decode nothing.

    Raises:
        CallerError: MF-1423, a decoder for another task; MF-4013, MF-4014, the given one is not installed or
            does not fit; MF-4015, none was given and not exactly one fits.
    """
    if task is not Task.DETECTION:
        if given is not None:
            raise CallerError(
                Code.BUILD_REQUEST,
                f"the decoder {given.name} is given for the task {task.value}",
                expected="a decoder for detection only",
                todo="leave --decoder out, or give --task detection",
            )
        return None, ""
    if given is not None:
        return settle(given, facts.inputs, facts.outputs), ""
    fitting = infer(facts.inputs, facts.outputs)
    if len(fitting) != 1:
        shapes = ", ".join(f"{item.name} {['n', *item.shape[1:]]}" for item in facts.outputs)
        many = ", ".join(item.name for item in fitting)
        raise CallerError(
            Code.DECODER_MISSING,
            f"it is not plain how {shapes} become boxes: "
            + (f"{many} would all fit" if many else "no decoder fits by itself"),
            expected="a decoder",
            todo="give --decoder NAME:key=value,... (docs/guides/build.md)",
        )
    told = ", ".join(f"{key}={_spelled(value)}" for key, value in fitting[0].parameters.items())
    return fitting[0], f"no decoder was given; {fitting[0].name} fits the outputs and is used with {told}"


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _spelled(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _malformed(text: str, why: str) -> CallerError:
    return CallerError(
        Code.BUILD_REQUEST,
        f"the decoder is given as {text[:100]!r}: {why}",
        expected="NAME or NAME:key=value,key=value",
        todo="correct --decoder",
    )
