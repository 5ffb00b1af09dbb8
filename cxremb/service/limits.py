"""How much a service takes, and how often one sender may ask."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_SENDERS = 10_000  # that are remembered; the ones that asked longest ago are forgotten first


@dataclass(frozen=True)
class Limits:
    """How much the service takes."""

    body_bytes: int = 64_000_000  # a film is 10 to 30 MB as DICOM
    per_minute: int = 600  # requests of one sender
    waiting: int = 64  # studies


class RateLimit:
    """So many requests a minute for each sender, all at once if they like: a bucket that fills at a steady rate."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.now = per_minute, now
        self.left: dict[str, tuple[float, float]] = {}  # sender -> requests left, and when they were

    def wait(self, sender: str) -> int:
        """0 if the sender may ask now, and it counts; else the seconds until they may."""
        now = self.now()
        left, at = self.left.pop(sender, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - at) * self.per_minute / 60)
        allowed = left >= 1
        self.left[sender] = left - allowed, now
        if len(self.left) > MOST_SENDERS:
            del self.left[next(iter(self.left))]
        return 0 if allowed else math.ceil((1 - left) * 60 / self.per_minute)
