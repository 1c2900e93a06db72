"""What went wrong, named after what the caller should do.

    RaytideError
    ├── RetryLater        the other side is away or full; nothing was done, or doing it again is harmless
    │   ├── Busy          as many as allowed are at it: come again in a while, or raise the limit that is named
    │   └── Unreachable   a needed service does not answer (exit code 3)
    ├── Refused           never retry as it is: the request is wrong, or the state forbids it
    │   ├── NotFound      the named thing does not exist
    │   ├── Fenced        a newer epoch owns the partition: stop at once, write nothing more
    │   ├── Lost          what should be read next no longer exists: a person decides how to go on
    │   ├── Gap           the batch does not start where the ledger ends: rebuild from the stored offset
    │   ├── BadFile       the upload as a whole cannot be taken
    │   └── OverLimit     there is more of something than one call may carry: send less, or raise the limit
    └── Misconfigured     configuration or definitions are wrong (exit code 2)

Every message names the thing, the cause and the next step; data values stay out of it. All parameters go to the base
class, so that each error unpickles with its attributes after crossing a Ray boundary.
"""

from __future__ import annotations


class RaytideError(Exception):
    """Base of every error that Raytide raises on purpose."""


class RetryLater(RaytideError):
    """Nothing was done, or doing it again is harmless; try again after a while."""


class Busy(RetryLater):
    """As many as allowed do the same at the moment; the message names the limit."""


class Unreachable(RetryLater):
    """A needed service does not answer."""


class Refused(RaytideError):
    """The request will never succeed as it is."""


class NotFound(Refused):
    """The named thing does not exist."""


class Fenced(Refused):
    """A newer epoch owns the partition."""

    def __init__(self, topic: str, partition: int, epoch: int, current: int) -> None:
        super().__init__(topic, partition, epoch, current)
        self.topic, self.partition, self.epoch, self.current = topic, partition, epoch, current

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]: epoch {self.epoch} was replaced by epoch {self.current}; "
            "this actor must stop, its successor continues from the stored offset"
        )


class Lost(Refused):
    """What should be read next no longer exists; the message says what is missing and each way on."""


class Gap(Refused):
    """A batch does not start where the ledger ends."""

    def __init__(self, topic: str, partition: int, first: int, expected: int) -> None:
        super().__init__(topic, partition, first, expected)
        self.topic, self.partition, self.first, self.expected = topic, partition, first, expected

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]: batch starts at {self.first} but the ledger ends at {self.expected}; "
            "read again from the stored offset"
        )


class BadFile(Refused):
    """The upload as a whole cannot be taken; nothing of it was stored."""


class OverLimit(Refused):
    """There is more of something than one call may carry; the message names the limit."""


class Misconfigured(RaytideError):
    """Configuration or definitions are wrong; the message says where and how to fix it."""
