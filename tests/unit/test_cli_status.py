"""`raytide status`: once, again and again, on a terminal and into a file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from rich.console import Console

from cluster.errors import Unreachable
from cluster.status import OnlineReport, OnlineState, PartitionReport, StatusReport, WriterReport
from raytide import cli_status

NOW = 1_700_000_000_000_000
REPORT = StatusReport(
    *("shop", 4, NOW),
    partitions=(PartitionReport("orders", 0, "RUNNING", next_offset=5, end_offset=9, events=100, lag_seconds=1.5),),
    writer=WriterReport("RUNNING", free_bytes=2**40),
    online=OnlineReport(OnlineState.OK),
)
LATER = replace(REPORT, taken_at=NOW + 2_000_000, partitions=(replace(REPORT.partitions[0], events=300),))


class Client:
    """Answers with what it is given, one after the other; then somebody presses Ctrl-C."""

    def __init__(self, *answers: StatusReport | Exception) -> None:
        self._answers = iter(answers)

    def status(self) -> StatusReport:
        answer = next(self._answers, None)
        if answer is None:
            raise KeyboardInterrupt
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[StatusReport | Exception]:
    given: list[StatusReport | Exception] = []

    @contextmanager
    def connect(_address: str | None) -> Iterator[Client]:
        yield Client(*given)

    monkeypatch.setattr(cli_status, "connect", connect)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return given


def screen(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> io.StringIO:
    seen = io.StringIO()
    monkeypatch.setattr(cli_status, "output", Console(file=seen, width=200, height=40, force_terminal=is_terminal))
    return seen


def test_json_has_what_is_computed_too(answers: list[StatusReport | Exception], capsys: pytest.CaptureFixture[str]) -> None:
    answers.append(REPORT)
    cli_status.status(as_json=True)
    (partition,) = json.loads(capsys.readouterr().out)["partitions"]
    assert (partition["lag"], partition["lag_seconds"]) == (4, 1.5)


def test_a_page_once(answers: list[StatusReport | Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    answers.append(REPORT)
    seen = screen(monkeypatch, is_terminal=False)
    cli_status.status()
    assert seen.getvalue().splitlines()[1].strip() == "all is well"


def test_plain_lines_into_a_file_also_while_nothing_answers(
    answers: list[StatusReport | Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers += [REPORT, Unreachable("no gateway answers at h:1"), LATER]
    seen = screen(monkeypatch, is_terminal=False)
    with pytest.raises(KeyboardInterrupt):
        cli_status.status(watch=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("2023-11-14T22:13:20+00:00 partitions 1 RUNNING, 4 records and 2 s behind; writer RUNNING")
    assert "100 events/s" in second
    assert "no answer: no gateway answers at h:1" in seen.getvalue()


def test_a_page_that_is_drawn_again_on_a_terminal(
    answers: list[StatusReport | Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers += [REPORT, LATER]
    seen = screen(monkeypatch, is_terminal=True)
    with pytest.raises(KeyboardInterrupt):
        cli_status.status(watch=True)
    assert seen.getvalue().count("all is well") >= 2
    assert " 100 " in seen.getvalue(), "events per second"


def test_an_app_that_is_not_there_is_an_error(answers: list[StatusReport | Exception]) -> None:
    answers.append(Unreachable("no gateway answers at h:1"))
    with pytest.raises(Unreachable):
        cli_status.status(watch=True)
