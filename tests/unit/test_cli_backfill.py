"""What `raytide backfill` says and with which code it ends, with a client that answers from memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from cluster.backfills import Asked, BackfillProgress, Left
from cluster.errors import Refused
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState
from raytide import cli_backfill
from raytide.cli import app

PARTS = (
    BackfillPart("t", 0, 0, 10, 10, 10, events=4, rows=8, superseded=8),
    BackfillPart("t", 1, 5, 10, 10, 10, rows=2, open=3),
)
DONE = Backfill("b1", "order", "orders", ("a",), 2, 1_000_000, 2_000_000, PARTS, BackfillState.DONE, "gateway:1")


class Client:
    """Remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.last = BackfillProgress(DONE, ())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to let go of."""

    def backfill(self, asked: Asked, *, dry_run: bool) -> Iterator[BackfillProgress]:
        self.asked.append((asked, dry_run))
        yield BackfillProgress(replace(DONE, state=BackfillState.RUNNING), ())
        yield replace(self.last, dry_run=dry_run)

    def list_backfills(self, limit: int) -> list[Backfill]:
        self.asked.append(limit)
        return [DONE]

    def cancel_backfill(self, backfill_id: str) -> Backfill:
        self.asked.append(backfill_id)
        return replace(DONE, state=BackfillState.STOPPED)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(cli_backfill, "connect", lambda _address: made)
    return made


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["backfill", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


RANGE = ("--from", "1970-01-01T00:00:01", "--to", "1970-01-01T01:00:02+01:00")


@pytest.mark.parametrize("verb", [["order"], ["run", "order"]])
def test_a_view_is_meant_where_no_verb_stands(client: Client, verb: list[str]) -> None:
    code, said = run(*verb, *RANGE)
    assert code == 0
    assert client.asked == [(Asked("order", 1_000_000, 2_000_000), False)]
    assert " ".join(said.split()) == (
        "b1 is DONE: 15 of 15 records read, 4 of the range recomputed under version 2: 10 rows, 8 superseded "
        "3 are dead letters: see `raytide dead-letters replay`"
    )


def test_options_may_come_first(client: Client) -> None:
    assert run(*RANGE, "order")[0] == 0
    assert client.asked == [(Asked("order", 1_000_000, 2_000_000), False)]


def test_json_has_everything_and_the_sums(client: Client) -> None:
    client.last = BackfillProgress(DONE, (Left("upload u", 2, "gone"),))
    code, said = run("order", *RANGE, "--json")
    told = json.loads(said)
    assert code == 1, "some of the range stay as they are"
    assert (told["state"], told["read"], told["offsets"], told["rows"], told["open"]) == ("DONE", 15, 15, 10, 3)
    assert told["left"] == [{"place": "upload u", "records": 2, "why": "gone"}]
    assert told["parts"][1]["partition"] == 1


def test_a_dry_run_says_what_would_be_read(client: Client) -> None:
    client.last = BackfillProgress(DONE, (Left("upload u", 2, "gone"),))
    code, said = run("order", *RANGE, "--dry-run")
    assert code == 1
    assert said.splitlines() == ["15 records would be read, for version 2", "  2 of upload u stay as they are: gone"]
    assert client.asked[0][1] is True


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": BackfillState.STOPPED, "note": "cancelled"}, "note: cancelled"),
        ({"parts": (replace(PARTS[0], rejected=2),)}, "2 do not pass any more"),
    ],
)
def test_what_did_not_end_well_exits_1(client: Client, changes: dict[str, Any], says: str) -> None:
    client.last = BackfillProgress(replace(DONE, **changes), ())
    code, said = run("order", *RANGE)
    assert code == 1
    assert says in said


def test_list_and_cancel(client: Client) -> None:
    assert json.loads(run("list", "--json", "--limit", "3")[1])[0]["backfill_id"] == "b1"
    code, said = run("cancel", "b1")
    assert (code, said) == (0, "b1 is STOPPED: 15 of 15 read\n")
    assert json.loads(run("cancel", "b1", "--json")[1])["state"] == "STOPPED"
    assert "order" in run("list")[1]
    assert client.asked == [3, "b1", "b1", 100]


def test_a_time_that_is_none_is_named(client: Client) -> None:
    with pytest.raises(Refused, match="--from is not a time"):
        run("order", "--from", "soon", "--to", "1970-01-01")
    assert client.asked == []
