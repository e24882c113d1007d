"""The isolated tools that ship with Modelfleet: what is installed for each, and on which Python it runs.

A lock names packages, versions and hashes, never the place to fetch them from: that is pip's own setting.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOCKS: Final = Path(__file__).parent / "locks"
SCRIPTS: Final = Path(__file__).parent / "scripts"

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class IsolatedTool:
    """One isolated environment.

    Attributes:
        name: Plain name, as `fleetctl build env` spells it.
        lock: Requirements file with a hash for every file; complete, pip resolves nothing.
        oldest, newest: Range of Python versions that the locked packages run on, both inclusive.
        check: Modules that must be importable in the finished environment.
        disk_bytes: Free space that making it takes, downloads included.
        about: What it is for, in a few words.
    """

    name: str
    lock: Path
    oldest: Version
    newest: Version
    check: tuple[str, ...]
    disk_bytes: int
    about: str

    def lock_sha256(self) -> str:
        """Identity of what is installed."""
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()

    def versions(self, *packages: str) -> dict[str, str]:
        """Locked versions of some packages; the first line of one that differs by platform."""
        found: dict[str, str] = {}
        for line in self.lock.read_text(encoding="utf-8").splitlines():
            package, equals, rest = line.partition("==")
            if equals and package in packages:
                found.setdefault(package, rest.split()[0])
        return found

    def count(self) -> int:
        """Number of requirements in the lock; a platform may need fewer."""
        lines = self.lock.read_text(encoding="utf-8").splitlines()
        return sum("==" in line and not line.startswith(("#", " ")) for line in lines)


TORCH: Final = IsolatedTool(
    name="torch",
    lock=_LOCKS / "torch.txt",
    oldest=(3, 11),
    newest=(3, 13),
    check=("torch", "torchao", "executorch.runtime", "torch_pruning", "onnx"),
    disk_bytes=8 * 1024**3,
    about="ExecuTorch variants and training hooks",
)

SHIPPED: Final = (TORCH,)
