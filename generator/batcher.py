"""When a producer batch goes out: it is full, or its first message has waited long enough. Time is an argument."""

from __future__ import annotations

from generator.events import Message


class Batcher:
    """Collects messages; `take` hands them out when they are due."""

    def __init__(self, messages: int, seconds: float) -> None:
        self._messages, self._seconds = messages, seconds
        self._waiting: list[Message] = []
        self.deadline = float("inf")

    def add(self, message: Message, now: float) -> None:
        """Put a message into the batch; the first one starts its clock."""
        if not self._waiting:
            self.deadline = now + self._seconds
        self._waiting.append(message)

    def take(self, now: float) -> list[Message]:
        """Return the batch if it is due, else nothing."""
        return self.take_all() if len(self._waiting) >= self._messages or now >= self.deadline else []

    def take_all(self) -> list[Message]:
        """Return what there is, however little."""
        taken, self._waiting, self.deadline = self._waiting, [], float("inf")
        return taken
