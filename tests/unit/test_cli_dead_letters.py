"""What `raytide dead-letters` says and with which code it ends, with a client that answers from memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from cluster.dead_letters import DeadLetter, Place, ReplayProgress, Selection
from cluster.errors import Refused
from raytide import cli_dead_letters
from raytide.cli import app

LETTER = DeadLetter(Place(12, "t", 1), "orders", "bad_time", "'[red]at' is no time", 6, 1_700_000_000_000_000, None, 5, 3)
PAYLOADS = {
    b'{"a": 1}\n': ('{"a": 1}\n', "text"),
    b"\x1b[31mred": ("1b5b3331 6d726564", "hex"),
    b"\xff\x00": ("ff00", "hex"),
    b"": ("", "text"),
    None: (None, None),
}


class Client:
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.payload: bytes | None = b"{"
        self.last = ReplayProgress(4, 2, 4, 4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to let go of."""

    def list_dead_letters(self, selection: Selection, limit: int) -> tuple[list[DeadLetter], int]:
        self.asked.append((selection, limit))
        return [LETTER], 7

    def get_dead_letter(self, place: Place) -> DeadLetter:
        self.asked.append(place)
        return replace(LETTER, payload=self.payload, key=b"k", headers=(("[b]id", b"\xff"),))

    def replay_dead_letters(self, selection: Selection, *, dry_run: bool) -> Iterator[ReplayProgress]:
        self.asked.append((selection, dry_run))
        yield ReplayProgress(4, 2)
        yield self.last


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(cli_dead_letters, "connect", lambda _address: made)
    return made


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["dead-letters", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_filters_become_a_selection(client: Client) -> None:
    run("list", "-s", "orders", "-r", "bad_time", "--since", "1970-01-01T00:00:01", "--until", "1970-01-01T01:00:02+01:00")
    run("list", "--upload", "u", "--open", "--limit", "5")
    run("list", "--replayed")
    run("replay", "t/1/12", "--reason", "bad_time", "--dry-run")
    assert client.asked == [
        (Selection("orders", "", "bad_time", 1_000_000, 2_000_000), 100),
        (Selection(upload_id="u", replayed=False), 5),
        (Selection(replayed=True), 100),
        (Selection(reason="bad_time", place=Place(12, "t", 1)), True),
    ]


@pytest.mark.usefixtures("client")
def test_a_list_for_people_and_for_programs() -> None:
    _, text = run("list")
    assert "1 of 7" in text
    code, text = run("list", "--json")
    found = json.loads(text)
    assert (code, found["total"], found["letters"][0]["place"]) == (0, 7, "t/1/12")
    assert found["letters"][0]["received_at"] == "2023-11-14T22:13:20+00:00"
    assert "payload" not in found["letters"][0]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_text_if_a_terminal_can_show_it(client: Client, payload: bytes | None) -> None:
    client.payload = payload
    found = json.loads(run("show", "t/1/12", "--json")[1])
    assert (found["payload"], found["payload_encoding"]) == PAYLOADS[payload]
    assert (found["key"], found["headers"]) == ("k", [["[b]id", "ff"]])
    _, text = run("show", "t/1/12")
    assert "'[red]at' is no time" in text, "nothing of a record is taken for markup"
    assert "header [b]id" in text
    assert "\x1b" not in text


@pytest.mark.usefixtures("client")
def test_a_replay_ends_with_0_when_nothing_stays_open() -> None:
    assert run("replay") == (0, "4 of 4 replayed under version 2\n")
    assert run("replay", "--dry-run")[1].startswith("4 of 4 would be replayed under version 2")


def test_a_replay_ends_with_1_when_something_stays_open(client: Client) -> None:
    client.last = ReplayProgress(4, 2, 4, 1, 1, {"bad_time": 1}, {"no source reads it": 1}, "Redis is away")
    code, text = run("replay")
    assert code == 1
    assert text.splitlines() == [
        "1 of 4 replayed under version 2",
        "  1 still rejected: bad_time",
        "  1 cannot be replayed: no source reads it",
        "  1 were replayed by somebody else meanwhile",
        "  note: Redis is away",
    ]
    code, text = run("replay", "--json")
    assert (code, json.loads(text)["rejected"], json.loads(text)["dry_run"]) == (1, {"bad_time": 1}, False)


def test_a_wrong_time_names_its_option(client: Client) -> None:
    with pytest.raises(Refused, match="--until is not a time"):
        run("list", "--until", "tomorrow")
    assert client.asked == []
