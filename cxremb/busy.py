"""A server that is busy is asked again, later and later. obstore itself gives up after two seconds.

How long a server asks to be left alone (`Retry-After`) cannot be kept to: obstore does not say it.
"""

import logging
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
BUSY = re.compile(r"status code: (?:429|503)\b|<Code>SlowDown")  # as obstore says it
PATIENCE = 180.0  # seconds: a bucket that grows splits its load in minutes
FIRST, LONGEST = 1.0, 20.0  # seconds before it is asked again; doubled each time
remarks = logging.getLogger("cxremb")


def patiently(where: str, ask: Callable[[], T]) -> T:
    """What `ask` gives, which is called again for `PATIENCE` seconds while the server at `where` says it is busy.

    `ask` may be called several times, so it has to be something that may be said twice. Raises what it raises.
    """
    from obstore.exceptions import BaseError

    end, pause = time.monotonic() + PATIENCE, FIRST
    while True:
        try:
            return ask()
        except BaseError as error:
            if not BUSY.search(str(error)) or time.monotonic() + pause > end:
                raise
        if pause == FIRST:
            remarks.warning("%s: the server is busy, waiting", where)
        time.sleep(pause * random.uniform(0.5, 1.0))  # so that many jobs do not come back together
        pause = min(2 * pause, LONGEST)
