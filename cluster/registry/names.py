"""What things may be called, and what to suggest when a name is unknown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from cluster.errors import Misconfigured

MAX_LENGTH = 128
#: What a topic's name may grow by; Kafka's limit of 249 counts the dead-letter topic's name as well.
DEAD_LETTERS = ".dead-letters"

_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_LENGTH - 1}}}")
_TOPIC = re.compile(rf"[a-zA-Z0-9._-]{{1,{249 - len(DEAD_LETTERS)}}}")


def check_name(what: str, name: object) -> None:
    """Raise Misconfigured unless `name` can be part of a Redis field, a column name and a reference."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Misconfigured(
            f"{what} {name!r}: names are lower case letters, digits and underscores, start with a letter and have at most "
            f"{MAX_LENGTH} characters",
        )


def check_topic(source: str, topic: object) -> None:
    """Raise Misconfigured unless Kafka takes `topic`, and its dead-letter topic too."""
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise Misconfigured(
            f"source '{source}': {topic!r} is not a topic name; Kafka allows letters, digits, '.', '_' and '-', and "
            f"{249 - len(DEAD_LETTERS)} of them leave room for the dead-letter topic",
        )


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean ...?' or, with nothing near, the known names; empty when there are none."""
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, n=3):
        return f"; did you mean {' or '.join(repr(c) for c in close)}?"
    return f"; known: {', '.join(names[:10])}" if names else ""
