"""docs/reference/cli.md: every command of the three programs with its arguments and options.

Two kinds of parser are read through one small model: the command line's (typer, which brings a copy of click)
and the agent's and controller's (argparse). `complaint` holds a command that some page shows against that
model, so that a renamed option cannot survive in a guide.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer.main

import fleetctl.cli
import modelfleet_agent.main
import modelfleet_controller.main


@dataclass(frozen=True, slots=True)
class Option:
    """One option or argument: its spellings, what it takes, what it is for."""

    spellings: tuple[str, ...]
    value: str  # "" for a flag
    text: str
    required: bool
    is_argument: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command or group of commands, with the full path that a user types."""

    path: str
    text: str
    options: tuple[Option, ...]
    children: dict[str, Command] = field(default_factory=dict["str", "Command"])

    def walk(self) -> Iterator[Command]:
        """Yield this command and all below it."""
        yield self
        for child in self.children.values():
            yield from child.walk()


def from_click(command: Any, path: str) -> Command:
    """Read a typer command (its copy of click is private, hence untyped); what is hidden stays hidden."""
    options = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        is_argument = parameter.param_type_name == "argument"
        is_flag = not is_argument and bool(getattr(parameter, "is_flag", False))
        value = "" if is_flag else str(parameter.metavar or parameter.name or "").upper()
        spellings = (value,) if is_argument else (*parameter.opts, *parameter.secondary_opts)
        text = " ".join((parameter.help or "").split())
        options.append(Option(tuple(spellings), value, text, bool(parameter.required), is_argument))
    children: dict[str, Command] = {}
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        child = command.get_command(None, name)
        if not child.hidden:
            children[name] = from_click(child, f"{path} {name}")
    return Command(path, (command.help or "").strip(), tuple(options), children)


def from_argparse(parser: argparse.ArgumentParser, path: str, text: str = "") -> Command:
    """Read an argparse parser and its subparsers."""
    options = []
    children: dict[str, Command] = {}
    for action in parser._actions:
        if isinstance(action.choices, dict):  # subparsers
            listed: list[argparse.Action] = getattr(action, "_choices_actions")  # noqa: B009 - not in the stubs
            texts = {choice.dest: choice.help or "" for choice in listed}
            for name, child in action.choices.items():
                if name in texts:
                    children[name] = from_argparse(child, f"{path} {name}", texts[name])
        elif action.dest != "help" and action.help != argparse.SUPPRESS:
            is_argument = not action.option_strings
            metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
            value = "" if action.nargs == 0 else metavar
            spellings = (metavar,) if is_argument else tuple(action.option_strings)
            needed = action.required if not is_argument else action.nargs not in {"?", "*"}
            options.append(Option(spellings, value, action.help or "", bool(needed), is_argument))
    return Command(path, (parser.description or text).strip(), tuple(options), children)


def _fleetctl() -> Command:
    """Return the command line; `build report` and its like stand below `build`, which is a command itself."""
    root: Any = typer.main.get_command(fleetctl.cli.root)
    made = from_click(root, "fleetctl")
    for path in fleetctl.cli.BESIDE_BUILD:
        verb, _, child = path.partition(" ")
        made.children[verb].children[child] = from_click(root.get_command(None, path), f"fleetctl {path}")
    return made


def programs() -> dict[str, Command]:
    """Return the three programs by name."""
    return {
        "fleetctl": _fleetctl(),
        "modelfleet-controller": from_argparse(modelfleet_controller.main._parser(), "modelfleet-controller"),
        "modelfleet-agent": from_argparse(modelfleet_agent.main._parser(), "modelfleet-agent"),
    }


INTRO = """# Commands

What `--help` says, on one page. Exit codes of `fleetctl rollout watch` and `status --wait`: 0 completed,
10 rolled back, 11 held, 12 aborted, 13 time-out, 14 partial, 15 superseded; of every command: 2 usage, 1 any
other error.
"""


def page() -> str:
    """Return the page."""
    lines = [INTRO]
    for program in programs().values():
        lines.append(f"## {program.path}\n")
        for command in program.walk():
            if command is not program:
                lines.append(f"### {command.path}\n")
            if command.text:
                lines.append(f"{_prose(command.text)}\n")
            if command.children:
                lines.append(f"Commands: {', '.join(f'`{name}`' for name in command.children)}\n")
            if command.options:
                lines.append("| option | meaning |\n|---|---|")
                lines += [_row(option) for option in command.options]
                lines.append("")
    return "\n".join(lines)


def _prose(text: str) -> str:
    """Keep paragraphs; those marked `\\b` (click: do not rewrap) or indented stay as they are."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = [line.rstrip() for line in paragraph.strip("\n").splitlines() if line.strip() != "\b"]
        if "\b" in paragraph or any(line.startswith("  ") for line in lines):
            paragraphs.append("```text\n" + "\n".join(lines) + "\n```")
        else:
            paragraphs.append("\n".join(line.strip() for line in lines))
    return "\n\n".join(paragraphs)


def examples(command: Command, known: dict[str, Command]) -> list[str]:
    """Return the command lines that a command's help shows; what follows two spaces is a remark."""
    text = re.sub(r"\s*\\\n\s*", " ", command.text)  # a backslash continues the line
    lines = (
        line.removeprefix("Example:").strip()
        for line in text.splitlines()
        if line.startswith(("  ", "Example: "))
    )
    return [line.partition("  ")[0] for line in lines if line.partition(" ")[0] in known]


def _row(option: Option) -> str:
    spelled = ", ".join(f"`{spelling}`" for spelling in option.spellings)
    if option.value and not option.is_argument:
        spelled += f" `{option.value}`"
    text = option.text.replace("|", "\\|")
    return f"| {spelled} | {text}{' (required)' if option.required else ''} |"


def words_of(line: str) -> list[str]:
    """Split a command line as a shell would, without `sudo` and variables before the program."""
    words = shlex.split(line, comments=True)
    while words and (words[0] == "sudo" or re.fullmatch(r"[A-Za-z_]+=.*", words[0])):
        words.pop(0)
    return words


def complaint(line: str, known: dict[str, Command]) -> str | None:
    """Say what is wrong with a command line of one of the programs; None when it parses."""
    words = words_of(line)
    command = known[words[0].rpartition("/")[2]]
    rest = words[1:]
    while rest and command.children and not rest[0].startswith("-"):
        if rest[0] not in command.children and any(option.is_argument for option in command.options):
            break  # `build MODEL.onnx`, beside `build report`
        if rest[0] not in command.children:
            return f"`{command.path}` has no command {rest[0]!r}"
        command = command.children[rest[0]]
        rest = rest[1:]
    spellings = {spelling for option in command.options for spelling in option.spellings} | {"--help"}
    for word in rest:
        if word in {"|", ">", "&&", ";", "&"}:
            break
        if word.startswith("-") and word != "-" and word.partition("=")[0] not in spellings:
            return f"`{command.path}` has no option {word!r}"
    return None
