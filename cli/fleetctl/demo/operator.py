"""What the demo does as an operator, by the very code of fleetctl's commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleetctl import safefile
from fleetctl.client.api import Api
from fleetctl.client.transport import Target, Transport
from fleetctl.release import folder as folders
from fleetctl.release import keys
from fleetctl.release import push as pushing
from fleetctl.trust.memory import TrustMemory
from modelfleet_core.clock import Clock, Entropy
from modelfleet_core.ids import new_id
from modelfleet_core.release.manifest import MANIFEST_NAME
from modelfleet_core.trust.keys import load_private_key
from modelfleet_core.trust.policy import write_trust_file
from modelfleet_core.wire.operator import (
    DecisionView,
    DeviceView,
    Operation,
    ReleasePush,
    ReleaseView,
    RolloutCreate,
    RolloutView,
    TokenRequest,
    Verb,
)

from .places import Places

TOKEN_LIFE_S = 900.0


class Operator:
    """One person with an admin token and the release key."""

    def __init__(self, url: str, token: str, places: Places, clock: Clock, entropy: Entropy) -> None:
        self._api = Api(Transport(Target(url, token)))
        self._url = url
        self._places = places
        self._clock = clock
        self._entropy = entropy
        self._key_file = places.keys / "release.key"

    def close(self) -> None:
        """Closes the connections."""
        self._api.transport.close()

    def make_keys(self) -> None:
        """What `release keygen`, `trust init` and `trust export` do: a release key outside the controller's
        folder, known to the controller, and the trust file that devices are given.
        """
        keys.make(self._key_file)
        pem = keys.read_public(self._key_file.with_name(self._key_file.name + keys.PUBLIC_SUFFIX)).to_pem()
        told = self._api.add_release_key(pem)
        trust = TrustMemory(self._places.keys / "trust").remember(told, [pem], self._clock.now())
        safefile.write(self._places.trust, write_trust_file(trust))

    def make_stranger(self) -> Path:
        """A key of somebody who has taken the controller: it accepts that key, our trust file does not."""
        path = self._places.keys / "stranger.key"
        keys.make(path)
        self._api.add_release_key(keys.read_public(path.with_name(path.name + keys.PUBLIC_SUFFIX)).to_pem())
        return path

    def sign(self, folder: Path, key: Path | None = None) -> None:
        """What `release sign` does."""
        signer = load_private_key((key or self._key_file).read_bytes())
        folders.sign(folders.read(folder), signer)

    def push(self, folder: Path) -> str:
        """What `release push` does; `name:version`."""
        view, _ = pushing.push(folders.read(folder), self._api, _quiet)
        return view.release

    def flags(self) -> list[str]:
        """Root options with which `fleetctl` talks to this controller."""
        return ["--url", self._url, "--token-file", str(self._places.token)]

    def enrolment_token(self, uses: int, *, allow_override: bool = False) -> str:
        """A token for that many devices."""
        request = TokenRequest(
            kind="enrolment",
            name="demo devices",
            ttl_s=TOKEN_LIFE_S,
            max_uses=uses,
            allow_override=allow_override,
        )
        return self._api.create_token(request).secret or ""

    def devices(self) -> tuple[DeviceView, ...]:
        return self._api.devices().items

    def label(self, device: str, labels: Mapping[str, str]) -> None:
        """Replaces a device's labels."""
        self._api.label_device(device, dict(labels))

    def revoke(self, device: str) -> None:
        """Refuses every further request of the device."""
        self._api.revoke_device(device)

    def release(self, reference: str) -> ReleaseView:
        return self._api.release(reference)

    def upload(self, data: bytes) -> str:
        """A blob; its digest."""
        return self._api.upload(data)

    def create_rollout(self, resource: str) -> RolloutView:
        return self._api.create_rollout(RolloutCreate(resource=resource, idempotency_key=self._key()))

    def rollout(self, rollout: str) -> RolloutView:
        return self._api.rollout(rollout)

    def rollouts(self) -> tuple[RolloutView, ...]:
        return self._api.rollouts().items

    def abort(self, rollout: str, reason: str) -> None:
        """Switched devices go back, no more are added."""
        self._api.operate(rollout, Operation(Verb.ABORT, self._key(), reason))

    def decisions(self) -> list[DecisionView]:
        """The whole decision log, in order."""
        return sorted(self._api.decisions().items, key=lambda link: link.sequence)

    def push_with(self, folder: Path, bundles: Mapping[str, bytes]) -> ReleaseView:
        """Pushes a folder's manifest with other bundles than those beside it: an attacker's way."""
        manifest = self._api.upload((folder / MANIFEST_NAME).read_bytes())
        digests = {name: self._api.upload(data) for name, data in bundles.items()}
        return self._api.push_release(ReleasePush(manifest, digests))

    def _key(self) -> str:
        return new_id("op", self._clock.now(), self._entropy(10))


def _quiet(what: str, done: int, everything: int) -> None:
    """A push of a few hundred kilobytes to this machine needs no progress."""
