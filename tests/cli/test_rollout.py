from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetctl.rollout.changes import changes
from fleetctl.rollout.outcome import exit_code, is_over
from fleetctl.rollout.source import LOST_S, follow
from modelfleet_core.clock import ManualClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, WorldError
from modelfleet_core.wire.operator import DecisionView, RolloutView

from tests.cli.kit import GATE, GOLDEN, NOW, PLAN, ROLLED_BACK, Cli, class_view, rollout

SHADOW = rollout()
CANARY = rollout(
    class_view(stage=1, stage_name="canary", stage_mode="live", outcomes={"probation": 1, "shadowing": 1})
)
DONE = rollout(
    class_view(
        state="completed", outcome="completed", stage=2, stage_name="all", stage_mode="live",
        outcomes={"committed": 2}, reason="2 of 2 devices committed",
    ),
    state="finished",
    outcome="completed",
)  # fmt: skip


def _ended(outcome: str) -> RolloutView:
    if outcome == "held":
        return rollout(class_view(state="held"), state="held", outcome="held")
    return rollout(class_view(state=outcome, outcome=outcome), state="finished", outcome=outcome)


# status, list, explain, plan


def test_status(person: Cli) -> None:
    person.controller.rollouts = [ROLLED_BACK]
    lines = person("rollout", "status", "digits-1-3").out.splitlines()
    assert lines[:3] == [
        "digits-1-3  ro_01  digits:1.3  rolled back",
        "rolled back in every class",
        "small-fleet plan: weaker evidence",
    ]
    assert [cell.strip() for cell in lines[3].split("  ") if cell] == [
        "CLASS", "STATE", "STAGE", "SINCE", "DEVICES", "GATES", "REASON",
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[4].split("  ") if cell] == [
        "x86-onnxruntime",
        "rolled back in shadow by latency_p95",
        "shadow (1 of 3, shadow)",
        "5m",
        "rolled back 2",
        "worse 1, fine 1",
        "latency_p95 is worse.",
    ]
    assert lines[5:] == [
        "",
        "DEVICE  CLASS            OUTCOME  REASON",
        "cam-1   x86-onnxruntime  refused  MF-2015: the signature does not match",
    ]
    person.controller.rollouts = [replace(ROLLED_BACK, bytes_sent=2_500_000)]
    assert "sent 2.5 MB" in person("rollout", "status", "ro_01").out.splitlines()


def test_list(person: Cli) -> None:
    assert person("rollout", "list").out.startswith("no rollouts yet;")
    person.controller.rollouts = [ROLLED_BACK, SHADOW]
    assert person("rollout", "list").out.splitlines() == [
        "NAME        ID     RELEASE     STATE        CLASSES                      AGE",
        "digits-1-3  ro_01  digits:1.3  rolled back  x86-onnxruntime rolled back  3h",
        "digits-1-3  ro_01  digits:1.3  running      x86-onnxruntime running      3h",
    ]


def test_explain_shows_every_number_and_the_sentence(person: Cli) -> None:
    person.controller.rollouts = [ROLLED_BACK]
    person.controller.decisions = [
        DecisionView(
            1,
            NOW,
            "ro_01",
            "x86-onnxruntime",
            "roll_back",
            "controller",
            "ROLLED BACK: p95 +21 %",
            "{}",
            "0",
            "1",
        ),
        DecisionView(2, NOW, "ro_02", "x86", "promote", "controller", "another", "{}", "1", "2"),
    ]
    out = person("rollout", "explain", "digits-1-3").out.splitlines()
    assert "class x86-onnxruntime: rolled back in shadow by latency_p95: latency_p95 is worse." in out
    gate = out.index(next(line for line in out if line.startswith("GATE")))
    assert out[gate].split() == [
        "GATE", "VERDICT", "EFFECT", "TOLERANCE", "EVIDENCE", "NEEDED",
        "PROMOTE", "NEEDED", "REPORTS", "DEVICES",
    ]  # fmt: skip
    assert out[gate + 1].split() == [
        "latency_p95", "worse", "21.4", "%", "5", "%", "83.2", "60", "0.4", "20", "12", "2",
    ]  # fmt: skip
    assert out[gate + 2].split()[:6] == ["golden", "fine", "-1.2pt", "2pt", "1", "2"]
    assert f"  {GATE.sentence}" in out
    assert f"  {GOLDEN.sentence}" in out
    assert out[-1].split(maxsplit=4) == [
        "12:00:00",
        "x86-onnxruntime",
        "roll_back",
        "controller",
        "ROLLED BACK: p95 +21 %",
    ]
    assert not any("another" in line for line in out)
    body = json.loads(person("rollout", "explain", "ro_01", "-o", "json").out)
    assert set(body) == {"rollout", "decisions", "schema"}
    assert body["rollout"]["classes"][0]["gates"][0]["evidence"] == 83.2


def test_plan(person: Cli) -> None:
    assert person("rollout", "plan", "digits:1.3", "--to", "all").out.splitlines() == [
        "digits:1.3 to 3 devices",
        "CLASS            DEVICES  VARIANT                   EACH  TOGETHER  STAGES",
        "x86-onnxruntime        2  x86-onnxruntime.int8  101.7 kB  203.5 kB  shadow 2, canary 1",
        "arm-litert             1  none fits                  0 B       0 B",
        "no variant fits cam-3: no variant fits",
        "gate latency_p95 tolerance 5%",
        "warning: small-fleet plan: weaker evidence",
    ]
    assert (
        json.loads(person("rollout", "plan", "digits:1.3", "--to", "all", "-o", "json").out)["devices"]
        == PLAN.devices
    )
    assert person.controller.rollouts == []


def test_status_says_what_is_waited_for(person: Cli) -> None:
    waiting = replace(GATE, verdict="undecided", sentence="errors: nothing reported yet")
    person.controller.rollouts = [rollout(class_view(gates=(waiting, GOLDEN)))]
    out = person("rollout", "status", "ro_01").out.splitlines()
    assert out[-1] == "x86-onnxruntime: errors: nothing reported yet"


# create


def _created(person: Cli) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(person.controller.bodies("POST", "/rollouts")[-1].body)
    return body | {"resource": json.loads(body["resource"])}


def test_the_short_form(person: Cli) -> None:
    ended = person(
        "rollout", "create", "digits:1.3", "--to", "site=north", "--stages", "5%,100%", "--shadow", "10m"
    )
    assert ended.code == 0, ended.err
    sent = _created(person)
    assert sent["resource"]["metadata"] == {"name": "digits-1-3"}
    spec = sent["resource"]["spec"]
    assert (spec["release"], spec["selector"]) == ("digits:1.3", {"matchLabels": {"site": "north"}})
    assert [s["mode"] for s in spec["stages"]] == ["shadow", "live", "live"]
    assert (sent["supersede"], sent["no_gates_reason"]) == (False, None)
    assert sent["idempotency_key"].startswith("op_")


def test_a_file_is_sent_as_it_is(person: Cli, tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(
        "apiVersion: modelfleet.dev/v1alpha1\nkind: FleetRollout\nmetadata: {name: a}\n"
        "spec: {release: digits:1.3, x: 1}\n"
    )
    assert person("rollout", "create", "-f", file, "--supersede", "--name", "b").code == 0
    sent = _created(person)
    assert sent["resource"] == {
        "apiVersion": "modelfleet.dev/v1alpha1",
        "kind": "FleetRollout",
        "metadata": {"name": "b"},
        "spec": {"release": "digits:1.3", "x": 1},
    }
    assert sent["supersede"] is True
    assert person("rollout", "create", "-f", file, "--no-gates", "--reason", "rehearsal").code == 0
    sent = _created(person)
    assert (sent["resource"]["spec"]["gates"], sent["no_gates_reason"]) == ([], "rehearsal")


@pytest.mark.parametrize(
    "arguments", [["--to", "north"], ["--to", "all", "--stages", "x"], ["--to", "all", "--shadow", "x"]]
)
def test_a_short_form_that_is_not_understood(person: Cli, arguments: list[str]) -> None:
    ended = person("rollout", "create", "digits:1.3", *arguments)
    assert (ended.code, "MF-1003" in ended.err) == (1, True), ended.err
    assert person.controller.sent == []


# watching


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("completed", 0),
        ("rolled_back", 10),
        ("held", 11),
        ("aborted", 12),
        ("partial", 14),
        ("superseded", 15),
        ("something_new", 1),
    ],
)
@pytest.mark.parametrize("command", [["status", "x", "--wait"], ["status", "x", "--watch"], ["watch", "x"]])
def test_the_exit_code_tells_the_end(person: Cli, command: list[str], outcome: str, code: int) -> None:
    person.controller.looks = [SHADOW, _ended(outcome)]
    ended = person("rollout", *command)
    assert ended.code == code
    assert outcome.replace("_", " ") in ended.out
    assert exit_code(_ended(outcome)) == code


def test_without_watching_the_exit_code_is_only_about_the_question(person: Cli) -> None:
    person.controller.rollouts = [ROLLED_BACK]
    assert person("rollout", "status", "ro_01").code == 0


@pytest.mark.parametrize("command", [["status", "x", "--wait"], ["status", "x", "--watch"], ["watch", "x"]])
def test_time_out_is_13(person: Cli, command: list[str]) -> None:
    person.controller.looks = [SHADOW]
    ended = person("rollout", *command, "--timeout", "90s", "--interval", "10")
    assert ended.code == 13
    assert person.clock.monotonic() == 90
    assert len(person.controller.sent) == 10


def test_lines_one_per_change(person: Cli) -> None:
    person.controller.looks = [SHADOW, SHADOW, CANARY, CANARY, DONE]
    ended = person("rollout", "watch", "digits-1-3")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "12:00:00 rollout digits-1-3 (ro_01): digits:1.3 to x86-onnxruntime",
        "12:00:00 x86-onnxruntime: stage shadow (1 of 3, shadow)",
        "12:00:00 x86-onnxruntime: devices shadowing 2",
        "12:00:00 x86-onnxruntime: running",
        "12:00:00 rollout digits-1-3: running",
        "12:00:02 x86-onnxruntime: stage canary (2 of 3, live)",
        "12:00:02 x86-onnxruntime: devices probation 1, shadowing 1",
        "12:00:04 x86-onnxruntime: stage all (3 of 3, live)",
        "12:00:04 x86-onnxruntime: devices committed 2",
        "12:00:04 x86-onnxruntime: completed: 2 of 2 devices committed",
        "12:00:04 rollout digits-1-3: completed",
    ]


def test_json_one_document_per_change(person: Cli) -> None:
    person.controller.looks = [SHADOW, SHADOW, DONE]
    ended = person("rollout", "watch", "digits-1-3", "-o", "json")
    assert [json.loads(line)["state"] for line in ended.out.splitlines()] == ["running", "finished"]
    person.controller.looks = [SHADOW, DONE]
    assert person("rollout", "watch", "digits-1-3", "-o", "yaml").out.count("---\n") == 2


def test_wait_says_only_the_end(person: Cli) -> None:
    person.controller.looks = [SHADOW, CANARY, ROLLED_BACK]
    ended = person("rollout", "status", "ro_01", "--wait")
    assert ended.out.splitlines()[0] == "digits-1-3  ro_01  digits:1.3  rolled back"
    person.controller.looks = [SHADOW, ROLLED_BACK]
    ended = person("rollout", "status", "ro_01", "--wait", "-o", "json")
    assert json.loads(ended.out)["outcome"] == "rolled_back"


def test_a_live_screen_leaves_its_last_state(person: Cli) -> None:
    person.env["TERM"] = "xterm-256color"
    person.width = 160
    person.controller.looks = [SHADOW, CANARY, DONE]
    ended = person("rollout", "watch", "digits-1-3", tty=True)
    assert ended.code == 0
    assert "\x1b[?1049h" not in ended.out, "not the alternate screen"
    last = ended.out.split("\x1b[2K")[-1]
    for word in ("completed", "all (3 of 3, live)", "committed 2", "2 of 2 devices committed"):
        assert word in last
    assert "canary" not in last
    assert ended.out.rstrip().endswith("\x1b[?25h"), "the cursor is back"


def test_a_live_screen_says_that_the_time_is_over(person: Cli) -> None:
    person.width = 160
    person.controller.looks = [SHADOW]
    ended = person("rollout", "watch", "digits-1-3", "--timeout", "1s", tty=True)
    assert ended.code == 13
    assert "the time is over; the rollout goes on" in ended.out


def test_create_and_watch(person: Cli) -> None:
    person.controller.looks = [ROLLED_BACK]
    assert person("rollout", "create", "digits:1.3", "--to", "all", "--watch").code == 10


AWAY = WorldError(Code.CONTROLLER_UNREACHABLE, "away", expected="", todo="")


def _looks(*results: RolloutView | Exception) -> Any:
    given = list(results)

    def look() -> RolloutView:
        found = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(found, Exception):
            raise found
        return found

    return look


def test_a_controller_that_restarts_is_waited_for() -> None:
    seen = list(follow(_looks(SHADOW, AWAY, AWAY, DONE), ManualClock(), interval_s=1))
    assert [(s.view, s.problem) for s in seen] == [
        (SHADOW, None),
        (None, "away"),
        (None, "away"),
        (DONE, None),
    ]


def test_the_trouble_is_said_once(person: Cli) -> None:
    plain = person.connect_api

    class Flaky:
        def __init__(self) -> None:
            self.count = 0

        def rollout(self, name: str) -> RolloutView:
            self.count += 1
            if self.count in (2, 3):
                raise AWAY
            return SHADOW if self.count < 4 else DONE

    person.connect = lambda target: Flaky()  # type: ignore[method-assign,assignment,return-value]
    ended = person("rollout", "watch", "x")
    assert ended.code == 0
    assert ended.err == "12:00:01 away; trying again\n"
    assert plain() is not None


def test_a_controller_that_stays_away_is_an_error() -> None:
    clock = ManualClock()
    with pytest.raises(WorldError):
        list(follow(_looks(SHADOW, AWAY), clock, interval_s=10))
    assert LOST_S < clock.monotonic() <= LOST_S + 20
    with pytest.raises(WorldError):
        list(follow(_looks(AWAY), ManualClock(), interval_s=1))


def test_what_the_controller_refuses_is_not_tried_again() -> None:
    error = CallerError(Code.NOT_FOUND, "no", expected="", todo="")
    clock = ManualClock()
    with pytest.raises(CallerError):
        list(follow(_looks(SHADOW, error), clock, interval_s=1))
    assert clock.monotonic() == 1


def test_never_more_than_five_looks_a_second() -> None:
    clock = ManualClock()
    list(follow(_looks(SHADOW, SHADOW, DONE), clock, interval_s=0))
    assert clock.monotonic() == pytest.approx(0.4)


def test_a_held_class_alone_does_not_end_the_watch() -> None:
    one = rollout(class_view(state="held"), class_view("arm-litert"))
    assert not is_over(one)
    assert exit_code(one) == 13


def test_changes_tell_gates_and_devices_in_trouble() -> None:
    lines = changes(SHADOW, ROLLED_BACK)
    assert f"x86-onnxruntime: gate latency_p95 worse: {GATE.sentence}" in lines
    assert f"x86-onnxruntime: gate golden fine: {GOLDEN.sentence}" in lines
    assert "x86-onnxruntime: device cam-1 refused: MF-2015: the signature does not match" in lines
    assert "rollout digits-1-3: rolled back: rolled back in every class" in lines
    assert changes(ROLLED_BACK, ROLLED_BACK) == []
    more = replace(ROLLED_BACK, bytes_sent=5)
    assert changes(ROLLED_BACK, more) == []


# verbs


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pause", "ro_01", "--reason", "r"], {"verb": "pause", "reason": "r"}),
        (["resume", "ro_01"], {"verb": "resume"}),
        (["promote", "ro_01", "--class", "a", "--class", "b"], {"verb": "promote", "classes": ["a", "b"]}),
        (
            ["promote", "ro_01", "--full", "--reason", "r", "--yes"],
            {"verb": "promote", "full": True, "reason": "r"},
        ),
        (["abort", "ro_01", "--yes"], {"verb": "abort"}),
        (["abort", "ro_01", "--leave", "-y"], {"verb": "abort", "leave": True}),
        (["retry", "ro_01"], {"verb": "retry"}),
        (["undo", "ro_01", "--yes"], {"verb": "undo"}),
    ],
)
def test_verbs(person: Cli, arguments: list[str], expected: dict[str, object]) -> None:
    person.controller.rollouts = [SHADOW]
    ended = person("rollout", *arguments)
    assert ended.code == 0, ended.err
    assert ended.out == f"ro_01: {arguments[0]} done\n"
    sent = json.loads(person.controller.bodies("POST", "/operations")[0].body)
    key = sent.pop("idempotency_key")
    plain = {"reason": "", "full": False, "leave": False, "classes": []}
    assert sent == plain | expected
    assert key.startswith("op_")


@pytest.mark.parametrize(
    "arguments", [["abort", "ro_01"], ["undo", "ro_01"], ["promote", "ro_01", "--full", "--reason", "r"]]
)
def test_what_cannot_be_taken_back_is_asked(person: Cli, arguments: list[str]) -> None:
    person.controller.rollouts = [SHADOW]
    ended = person("rollout", *arguments)
    assert ended.code == 1
    assert "Rerun with --yes" in ended.err
    assert person("rollout", *arguments, tty=True, stdin="no\n").code == 1
    assert person.controller.sent == []
    assert person("rollout", *arguments, tty=True, stdin="yes\n").code == 0


def test_a_reason_has_a_limit(person: Cli) -> None:
    person.controller.rollouts = [SHADOW]
    ended = person("rollout", "promote", "ro_01", "--reason", "r" * 1001)
    assert (ended.code, "MF-6011" in ended.err, person.controller.sent) == (1, True, [])


def test_every_call_has_its_own_key(person: Cli) -> None:
    person.controller.rollouts = [SHADOW]
    for _ in range(2):
        person.clock.advance(1)
        assert person("rollout", "pause", "ro_01").code == 0
    keys = [json.loads(s.body)["idempotency_key"] for s in person.controller.bodies("POST")]
    assert len(set(keys)) == 2
