"""The rows of a file to upload: long records from the seed, some of them bad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from generator.events import FeatureEvent, Maker
from generator.profiles import Settings


@dataclass(frozen=True, slots=True)
class FileRows:
    """Made anew each time they are asked for, and the same each time, so that a file of any size needs no memory.

    Each is a pair: the row as it is written, and the event that must be stored of it, None for a bad one.
    """

    settings: Settings
    number: int
    now: datetime
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[FeatureEvent, FeatureEvent | None]]:
        settings, number = self.settings, self.number
        maker = Maker(settings, number % settings.producers, f"file-{number}")
        for turn in range(self.count):
            time = self.now - timedelta(seconds=self.count - turn)
            event = maker.feature(turn + number * self.count, time, time)
            if maker.happens(settings.profile.bad):
                yield _spoilt(event, turn), None
            else:
                yield event, event


@dataclass(frozen=True, slots=True)
class FileEvents:
    """What must be stored of a file, row by row, None for a bad one: its index is the row's number, from 0."""

    made: FileRows

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[FeatureEvent | None]:
        return (event for _, event in self.made)


def _spoilt(event: FeatureEvent, turn: int) -> FeatureEvent:
    """Make a row bad in a way that each format can hold."""
    ways = (
        {"entity_id": ""},
        {"feature_name": "no_such_feature"},
        {"validated_at": event.validated_at + timedelta(days=3650)},
        {"entity_id": "x" * 257},
    )
    return msgspec.structs.replace(event, **ways[turn % len(ways)])
