"""The uploads at work in this process, one for each idempotency key, and none that another process has. Any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cluster.errors import RetryLater
from cluster.stores.upload_rules import AFTER_COMMIT
from cluster.uploads.claims import Claims, Elsewhere
from cluster.uploads.job import Job
from cluster.uploads.transfer import BrokenOff

#: How long somebody who wants a cancelled upload again waits for the thread that works on it to notice.
LETTING_GO_SECONDS = 10.0
_ELSEWHERE = "another process of the gateway is at work on this file: ask for its state, or send it again in a moment"
_TAKEN_OVER = "another client went on with this file, as nothing came from this one: ask for its state, or resume it again"


class Jobs:
    """Whoever is given a new job owns the upload until `leave`: nobody else moves it, or touches its bytes."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def claim(self, key: str, make: Callable[[], Job]) -> tuple[Job, bool]:
        """Return the job at work, or a new one that is the caller's.

        Raise Elsewhere when another process has the key, RetryLater while a cancelled job ends.
        """
        while True:
            with self._lock:
                job = self._jobs.get(key)
                if job is None:
                    job = make()
                    if not self._claims.take(key):
                        raise Elsewhere(_ELSEWHERE)
                    self._jobs[key] = job
                    return job, True
            if not job.is_cancelled or job.upload.state in AFTER_COMMIT:  # it was too late
                return job, False
            if not job.wait(LETTING_GO_SECONDS):
                raise RetryLater("the upload was cancelled, and its last pieces are still ending: try again in a moment")

    def take_over(self, job: Job, quiet_s: float, make: Callable[[], Job]) -> Job | None:
        """Return a new job, the caller's, in place of one whose transfer brings nothing for `quiet_s`; None if it does."""
        if not job.give_way(quiet_s, BrokenOff(_TAKEN_OVER)):
            return None
        mine = make()
        with self._lock:
            self._jobs[job.upload.idempotency_key] = mine
        job.end(BrokenOff(_TAKEN_OVER))
        return mine

    def leave(self, job: Job) -> None:
        """Forget a job, if it was not taken over; before its end is told, so that whoever hears of it can claim the key."""
        with self._lock:
            if self._jobs.get(job.upload.idempotency_key) is job:
                del self._jobs[job.upload.idempotency_key]
                self._claims.release(job.upload.idempotency_key)

    def find(self, key: str) -> Job | None:
        """Return the job at work."""
        with self._lock:
            return self._jobs.get(key)

    def every(self) -> list[Job]:
        """Return all jobs."""
        with self._lock:
            return list(self._jobs.values())
