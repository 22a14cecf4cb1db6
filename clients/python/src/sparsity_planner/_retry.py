"""Which requests are sent again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

import httpx

# Statuses of a service or proxy that cannot answer now.
PASSING = frozenset({429, 502, 503, 504})
# The longest `Retry-After` that is waited for, in seconds; after a longer one the error is raised.
LONGEST_WAIT = 60.0
FIRST_WAIT = 0.25


@dataclass
class Attempts:
    """
    The attempts at one request.

    One that is safe to repeat is sent again after errors of the connection, 502, 503, 504 and 429. Any
    other only where the service certainly did nothing: it was not reached, or refused by quota (429).
    """

    retries: int
    repeatable: bool
    made: int = 1

    def wait_after_response(self, response: httpx.Response) -> float | None:
        """Seconds to wait; None where this answer is the last."""
        status = response.status_code
        if status not in PASSING or not (self.repeatable or status == 429):
            return None
        asked = response.headers.get("retry-after", "")
        seconds = float(asked) if asked.isdecimal() else 0.0
        return None if seconds > LONGEST_WAIT else self._next(seconds)

    def wait_after_error(self, error: httpx.RequestError) -> float | None:
        """Seconds to wait; None where this error is the last."""
        passing = isinstance(error, httpx.TransportError)
        if not passing or isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            return None
        unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        return self._next(0.0) if self.repeatable or unsent else None

    def _next(self, at_least: float) -> float | None:
        if self.made > self.retries:
            return None
        longest = min(FIRST_WAIT * 2.0**self.made, LONGEST_WAIT)
        self.made += 1
        # Jitter, so that clients which failed together do not come back together.
        return at_least + random.uniform(longest / 2, longest)
