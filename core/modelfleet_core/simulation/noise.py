"""How simulated devices behave: the noise models behind the gates' numbers (research: gates section 2).

Latency of a paired report: log ratio of quantiles = effect + device's own effect N(0, device_sd) + AR(1)
noise with t4 innovations (heavy tails). Rates: binomial over `inputs` with gamma-distributed factors
between devices and between windows (overdispersion). All randomness comes from the generator that is passed
in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Final

OVERDISPERSION_SHAPE: Final = 2.0
"""Gamma factors of mean 1 and coefficient of variation 0.71."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Of latency pairs.

    Attributes:
        report_sd: of one report's log ratio, 0.07 on a quiet device, 0.28 on a noisy one.
        device_sd: of the candidate's effect between devices.
        rho: autocorrelation from window to window, 0 <= rho < 1.
    """

    report_sd: float = 0.07
    device_sd: float = 0.03
    rho: float = 0.0


QUIET: Final = Noise()
NOISY: Final = Noise(report_sd=0.28)
AUTOCORRELATED: Final = Noise(report_sd=0.07, rho=0.8)
NOISY_AUTOCORRELATED: Final = Noise(report_sd=0.28, rho=0.8)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the candidate does on a device, in every report of a mode.

    Attributes:
        latency: relative increase of the quantile over the incumbent, 0.2 = +20 %.
        errors: share of inputs on which the candidate alone fails, 0-1; mean of the class.
        disagreement: share of inputs with another answer than the incumbent's, 0-1; mean of the class.
        bricks: the device falls silent once it serves the candidate.
    """

    latency: float = 0.0
    errors: float = 0.001
    disagreement: float = 0.01
    bricks: bool = False


GOOD: Final = Behaviour()


class DeviceNoise:
    """One device's random state: its own effects and the noise that it carries from window to window."""

    __slots__ = ("_carried", "_disagreement", "_effect", "_errors", "_noise", "_rng")

    def __init__(self, noise: Noise, effect: float, errors: float, disagreement: float, rng: Random) -> None:
        """One device with its own effects; made by `draw_devices`."""
        self._noise = noise
        self._rng = rng
        self._effect = effect
        self._errors = errors
        self._disagreement = disagreement
        self._carried = self._shock()

    def log_ratio(self, behaviour: Behaviour) -> float:
        """Log ratio of latency quantiles of one report; moves the noise on by one window."""
        rho = self._noise.rho
        self._carried = (
            rho * self._carried + math.sqrt(1 - rho * rho) * self._shock() if rho else self._shock()
        )
        return math.log1p(behaviour.latency) + self._effect + self._carried

    def error_rate(self, behaviour: Behaviour, inputs: int) -> float:
        """Error rate of one report of `inputs` inputs."""
        return self._rate(behaviour.errors * self._errors, inputs)

    def disagreement_rate(self, behaviour: Behaviour, inputs: int) -> float:
        """Disagreement of one report of `inputs` inputs."""
        return self._rate(behaviour.disagreement * self._disagreement, inputs)

    def _rate(self, mean: float, inputs: int) -> float:
        share = min(0.95, mean * _gamma(self._rng))
        return binomial(self._rng, inputs, share) / inputs

    def _shock(self) -> float:
        """t4 scaled to the report's standard deviation."""
        heavy = self._rng.gauss(0.0, 1.0) / math.sqrt(_gamma(self._rng))
        return heavy / math.sqrt(2.0) * self._noise.report_sd


def draw_devices(count: int, noise: Noise, rng: Random) -> list[DeviceNoise]:
    """The devices of a class: rates differ by gamma factors, scaled so that the class has the stated mean.

    Latency effects are not centred: a candidate may be a little slower on the devices that a class happens
    to have.
    """
    effects = [rng.gauss(0.0, noise.device_sd) for _ in range(count)]
    errors, disagreements = _factors(count, rng), _factors(count, rng)
    return [DeviceNoise(noise, *own, rng) for own in zip(effects, errors, disagreements, strict=True)]


def _factors(count: int, rng: Random) -> list[float]:
    drawn = [_gamma(rng) for _ in range(count)]
    mean = sum(drawn) / max(1, count)
    return [factor / mean for factor in drawn]


def _gamma(rng: Random) -> float:
    return rng.gammavariate(OVERDISPERSION_SHAPE, 1.0 / OVERDISPERSION_SHAPE)


def binomial(rng: Random, trials: int, share: float) -> int:
    """A binomial number, by jumping from success to success: O(trials * share)."""
    if share <= 0.0:
        return 0
    if share > 0.5:
        return trials - binomial(rng, trials, 1.0 - share)
    log_miss = math.log1p(-share)
    successes, at = 0, 0
    while True:
        at += 1 + int(math.log(1.0 - rng.random()) / log_miss)
        if at > trials:
            return successes
        successes += 1
