"""Small real wheels on disk, and locks for them: isolated environments without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

from modelfleet_build.isolated.tools import IsolatedTool

CONVERTER = """
VERSION = 7


def double(value):
    return 2 * value
"""


def wheel(folder: Path, name: str, code: str = CONVERTER) -> Path:
    """A wheel of one module."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: elsewhere\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    records = [f"{entry},sha256={_digest(text)},{len(text)}" for entry, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*records, f"{info}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, text in files.items():
            archive.writestr(entry, text)
    return path


def tool(folder: Path, name: str = "toy", code: str = CONVERTER) -> IsolatedTool:
    """A tool of one wheel, which lies in `folder/wheels`."""
    wheels = folder / "wheels"
    wheels.mkdir(exist_ok=True)
    made = wheel(wheels, f"{name}tool", code)
    lock = folder / f"{name}.txt"
    lock.write_text(
        f"# a lock\n{name}tool==1.0 \\\n    --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}\n"
    )
    return IsolatedTool(name, lock, (3, 11), (3, 14), (f"{name}tool",), 50_000_000, "tests")


def spoiled(good: IsolatedTool) -> IsolatedTool:
    """The same with a hash that is not the wheel's."""
    lock = good.lock.with_name("spoiled.txt")
    lock.write_text(good.lock.read_text().partition("sha256:")[0] + "sha256:" + "0" * 64 + "\n")
    return replace(good, lock=lock)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
