"""Waiting for a condition, with a deadline: never for a time."""
import time


def wait_until(condition, what, deadline_s=20.0, every_s=0.01):
    """Returns what condition() returned as soon as it is true."""
    end = time.monotonic() + deadline_s
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(every_s)  # between two looks at something that cannot call us
