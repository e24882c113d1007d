"""Where the demo keeps what it makes, and where it takes its models from.

Everything lies under one work folder, so whoever looks for the demo's files or processes needs to know only
that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError

LONGEST_WORK = 70
"""A Unix socket's path has at most 107 bytes, and the longest of ours adds some 40 to the work folder."""

MODELS = {
    "1.0": "digits-1.0.onnx",
    "1.1": "digits-1.1.onnx",
    "1.2": "digits-1.2-mislabelled.onnx",
    "1.3": "digits-1.3-slow.onnx",
    "1.4": "digits-1.4-daylight.onnx",
}
"""Version -> source file in the models' folder."""

DATA = ("calibration.npz", "validation.npz", "golden.npz", "live.npz")


@dataclass(frozen=True, slots=True)
class Models:
    """The folder with the ONNX files and the four data files."""

    folder: Path

    def model(self, version: str) -> Path:
        return self.folder / MODELS[version]

    def data(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


@dataclass(frozen=True, slots=True)
class Places:
    """The work folder and what lies in it.

    `keys` is outside the controller's folder: a thief of the controller finds no release key (architecture
    section 4).
    """

    work: Path

    @property
    def controller(self) -> Path:
        return self.work / "controller"

    @property
    def keys(self) -> Path:
        return self.work / "keys"

    @property
    def releases(self) -> Path:
        return self.work / "releases"

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    @property
    def cameras(self) -> Path:
        return self.work / "cameras"

    @property
    def trust(self) -> Path:
        return self.work / "trust.json"

    @property
    def pair_lock(self) -> Path:
        return self.work / "pair.lock"

    @property
    def token(self) -> Path:
        """The admin token, readable by this user alone; for `--keep`."""
        return self.work / "admin.token"

    def device(self, name: str) -> Path:
        return self.work / "d" / name


def make(work: Path) -> Places:
    """The work folder, made if need be, with its sub folders.

    Raises:
        CallerError: MF-6050, the path is too long for Unix sockets; MF-6050, the folder holds something
        already.
    """
    work = work.resolve()
    if len(str(work).encode()) > LONGEST_WORK:
        raise CallerError(
            Code.DEMO_WORK_FOLDER,
            f"the work folder's path has {len(str(work).encode())} bytes: {work}",
            expected=f"at most {LONGEST_WORK}, so that Unix sockets fit in it",
            todo="name a shorter one: fleetctl demo --work /tmp/demo",
        )
    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        raise CallerError(
            Code.DEMO_WORK_FOLDER,
            f"{work} holds something already",
            expected="a folder that is empty or does not exist",
            todo="name another one by --work, or remove this one",
        )
    places = Places(work)
    for folder in (
        work,
        places.controller,
        places.keys,
        places.releases,
        places.logs,
        places.cameras,
        work / "d",
    ):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return places


def find_models(given: Path | None) -> Models:
    """The folder that `--models` names, or `examples/digits` of the checkout.

    Raises:
        CallerError: MF-6051, a file is missing.
    """
    folder = (given or _checkout() / "examples" / "digits").resolve()
    missing = [name for name in (*MODELS.values(), *DATA) if not (folder / name).is_file()]
    if missing:
        raise CallerError(
            Code.DEMO_MODELS,
            f"{folder} has no {', '.join(missing)}",
            expected="the demo's models and data files, as in the checkout's folder examples/digits",
            todo="run from a checkout, or name a folder: fleetctl demo --models DIR",
        )
    return Models(folder)


def camera_program() -> Path:
    """The application of the demo.

    Raises:
        CallerError: MF-6051, this is no checkout.
    """
    program = _checkout() / "examples" / "camera.py"
    if not program.is_file():
        raise CallerError(
            Code.DEMO_MODELS,
            f"{program} does not exist",
            expected="the checkout that fleetctl was installed from (pip install -e .)",
            todo="clone the repository and run `make demo` there",
        )
    return program


def _checkout() -> Path:
    return Path(__file__).resolve().parents[3]
