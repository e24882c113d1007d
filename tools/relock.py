"""Make `requirements/*.txt` from pyproject.toml: pinned, hashed, for every system and Python we support.

Run by `make relock`. Needs `uv` on PATH, which nobody else needs: the files it writes are plain requirement
files that pip installs with `--require-hashes`. `requirements/dev.txt` is resolved first and constrains the
others, so a device and a developer get the same versions. The isolated environments of the builder have locks
of their own, shipped as package data: what is in them need not fit to anything here.

Refuses to write a file that names an index or a path: the place to fetch from is the user's own setting.
"""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"

# Lock -> what it covers. dev.txt comes first.
LOCKS: dict[str, tuple[str, list[str]]] = {
    "dev.txt": ("everything: all extras and the tools of the house", ["--extra", "all", "--group", "dev"]),
    "agent.txt": ("a device, without a runtime", ["--extra", "agent"]),
    "agent-onnxruntime.txt": ("a device with ONNX Runtime", ["--extra", "agent", "--extra", "onnxruntime"]),
    "agent-litert.txt": ("a device with LiteRT", ["--extra", "agent", "--extra", "litert"]),
    "agent-openvino.txt": ("a device with OpenVINO", ["--extra", "agent", "--extra", "openvino"]),
    "controller.txt": (
        "the controller with both databases and both blob stores",
        ["--extra", "controller", "--extra", "postgres", "--extra", "s3"],
    ),
    "cli.txt": ("the command line and the builder", ["--extra", "cli", "--extra", "build"]),
}

ISOLATED_FOLDER = ROOT / "controller" / "modelfleet_build" / "isolated" / "locks"
# Isolated environment -> what is asked for, and what of the closure is kept: pip installs it without looking
# at dependencies. Left out is what these tools name and never import here (pandas, coremltools, triton, ...).
# The nvidia libraries stay: the Linux wheels of torch link against them, and do not load without.
ISOLATED: dict[str, tuple[str, list[str], list[str]]] = {
    "torch": (
        "the isolated environment for ExecuTorch and for training hooks",
        ["executorch>=1.5,<1.6", "onnx>=1.18", "torch>=2.13,<2.14", "torch-pruning>=1.6", "torchao>=0.18"],
        [
            *("executorch", "filelock", "flatbuffers", "fsspec", "jinja2", "markupsafe", "ml-dtypes"),
            *("mpmath", "networkx", "numpy", "nvidia-*", "onnx", "packaging", "protobuf", "pyyaml"),
            *("ruamel-yaml", "setuptools", "sympy", "tabulate", "torch", "torch-pruning", "torchao"),
            *("tqdm", "typing-extensions"),
        ],
    ),
}

# The restriction of [tool.uv] environments stands in pyproject.toml; repeated on each of 140 lines it hides
# the markers that matter.
_COMMON = (
    "python_full_version < '3.15'",
    "implementation_name == 'cpython'",
    "platform_python_implementation == 'CPython'",
    "(sys_platform == 'darwin' or sys_platform == 'linux')",
)
_COMPILE = (
    *("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"),
    *("--no-annotate", "--no-header"),
)
FOREIGN = re.compile(r"https?://|^-|file:|/", re.MULTILINE)


def tidy(text: str) -> str:
    """Take the common restriction out of every line's marker."""
    lines = []
    for line in text.splitlines():
        if " ; " in line:
            requirement, _, marker = line.removesuffix(" \\").partition(" ; ")
            special = [clause for clause in marker.split(" and ") if clause not in _COMMON]
            line = " ; ".join([requirement, " and ".join(special)] if special else [requirement]) + " \\"
        lines.append(line)
    return "\n".join(lines) + "\n"


def resolve(uv: str, options: list[str], upgrade: bool, name: str, folder: Path) -> str:
    """Return the text of one lock file."""
    out = folder / name
    current = FOLDER / name
    if current.exists() and not upgrade:
        shutil.copy(current, out)  # uv prefers the versions it finds there
    command = [uv, *_COMPILE, *options, "-o", str(out), str(ROOT / "pyproject.toml")]
    if name != "dev.txt":
        command += ["-c", str(FOLDER / "dev.txt")]
    subprocess.run(command, check=True, cwd=ROOT)
    text = tidy(out.read_text())
    if found := FOREIGN.search(text):
        raise SystemExit(f"requirements/{name} would name an address or an option: {found[0]!r}; not written")
    return text


def kept(text: str, names: list[str]) -> str:
    """Take only the requirements with these names (patterns) out of a lock, with their hashes."""
    lines, keep = [], False
    for line in text.splitlines():
        if not line.startswith(" "):
            keep = any(fnmatch.fnmatch(line.partition("==")[0], name) for name in names)
        if keep:
            lines.append(line)
    # The last hash of a requirement does not continue, so dropping whole requirements leaves a sound file.
    return "\n".join(lines) + "\n"


def resolve_isolated(uv: str, name: str, upgrade: bool, folder: Path) -> str:
    """Return the text of one isolated environment's lock."""
    covers, wanted, names = ISOLATED[name]
    source, out = folder / f"{name}.in", folder / f"isolated-{name}.txt"
    source.write_text("\n".join(wanted) + "\n")
    current = ISOLATED_FOLDER / f"{name}.txt"
    if current.exists() and not upgrade:
        shutil.copy(current, out)
    command = [uv, *_COMPILE, "-o", str(out), str(source)]
    subprocess.run(command, check=True, cwd=ROOT)
    text = kept(tidy(out.read_text()), names)
    if found := FOREIGN.search(text):
        raise SystemExit(f"the lock {name} would name an address or an option: {found[0]!r}; not written")
    return f"# {covers}; made by `make relock`, do not edit\n{text}"


def main() -> None:
    """Write every lock; `--upgrade` takes the newest versions instead of the ones already locked."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("make relock needs `uv` on PATH (only for this; setting up does not need it)")
    upgrade = "--upgrade" in sys.argv[1:]
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, (covers, options) in LOCKS.items():
            text = resolve(uv, options, upgrade, name, Path(scratch))
            (FOLDER / name).write_text(f"# {covers}; made by `make relock`, do not edit\n{text}")
            print(f"requirements/{name}: {text.count('==')} packages", flush=True)
        ISOLATED_FOLDER.mkdir(exist_ok=True)
        for name in ISOLATED:
            text = resolve_isolated(uv, name, upgrade, Path(scratch))
            (ISOLATED_FOLDER / f"{name}.txt").write_text(text)
            print(f"isolated/locks/{name}.txt: {text.count('==')} packages", flush=True)


if __name__ == "__main__":
    main()
