"""What an idle supervisor holds: proportional set size (PSS) after 30 s, with a real controller; limit 40 MB.

Everything is real: `modelfleet-controller serve`, `modelfleet-agent enroll` and `run`, with the serve that
it starts. PSS counts shared pages by their share, so it is measured for the one process alone and depends a
little on what else runs Python on the machine; RSS stands beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx

from modelfleet_core.clock import SystemClock
from modelfleet_core.trust.keys import generate_ecdsa_p256
from modelfleet_core.trust.policy import TrustFile, write_trust_file

from e2e.support import Process, eventually

SECONDS: Final = 30.0
LIMIT_MB: Final = 40.0


def memory_mb(pid: int) -> dict[str, float]:
    """PSS, RSS and private memory of a process, in megabytes (10^6 bytes)."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024 / 1e6
    private = found["Private_Clean"] + found["Private_Dirty"]
    return {"pss": found["Pss"], "rss": found["Rss"], "private": private}


def processor_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def enrol(url: str, admin: str, folder: Path) -> Path:
    """Enrols a device; path of its settings."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {admin}"}) as operator:
        trust = operator.get("/v1/trust").raise_for_status().json()
        body = {"kind": "enrolment", "name": "bench", "ttl_s": 600.0}
        token = operator.post("/v1/tokens", json=body).raise_for_status().json()["secret"]
    key = generate_ecdsa_p256().public().to_pem()
    pinned = TrustFile(trust["audience"], (key,), tuple(trust["director_keys"]), datetime.now(UTC))
    (folder / "trust.json").write_bytes(write_trust_file(pinned))
    config = folder / "agent.toml"
    config.write_text(f'state_dir = "{folder / "device"}"\nname = "bench"\n[serve]\nlisten = "127.0.0.1:0"\n')
    command = [sys.executable, "-P", "-m", "modelfleet_agent", "enroll", url, "--token", token]
    command += ["--trust", str(folder / "trust.json"), "--config", str(config)]
    subprocess.run(command, check=True, capture_output=True)
    return config


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="mf-", dir="/tmp") as name:
        folder = Path(name)
        command = [
            "modelfleet-controller",
            "serve",
            "--data",
            str(folder / "controller"),
            "--listen",
            "127.0.0.1:0",
        ]
        with Process([*command, "--poll-s", "1"], folder / "logs", name="controller") as controller:
            ready = controller.ready()
            config = enrol(ready.text("url"), ready.text("admin_token"), folder)
            with Process(
                ["modelfleet-agent", "run", "--config", config], folder / "logs", name="agent"
            ) as agent:
                agent.ready()
                status = folder / "device" / "status.json"
                eventually(lambda: status.exists() and json.loads(status.read_text())["serve"]["pid"], 30)
                serve = json.loads(status.read_text())["serve"]["pid"]
                before = processor_s(agent.pid)
                SystemClock().wait(SECONDS)
                used = processor_s(agent.pid) - before
                rows = {"supervisor": memory_mb(agent.pid), "serve, no model": memory_mb(serve)}
                agent.terminate()
            os.kill(serve, signal.SIGTERM)
    print(f"{'process':<16} {'PSS MB':>7} {'RSS MB':>7} {'private':>8}")
    for process, row in rows.items():
        print(f"{process:<16} {row['pss']:>7.1f} {row['rss']:>7.1f} {row['private']:>8.1f}")
    print(f"supervisor: {100 * used / SECONDS:.2f} % of one processor, checking in every second")
    verdict = "within" if rows["supervisor"]["pss"] < LIMIT_MB else "ABOVE"
    print(f"supervisor PSS {rows['supervisor']['pss']:.1f} MB is {verdict} the limit of {LIMIT_MB:g} MB")


if __name__ == "__main__":
    main()
