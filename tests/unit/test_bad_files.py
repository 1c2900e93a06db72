"""Every file of the corpus ends in the state, with the error, the rows and the rejects that it has to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.records import Reason
from cluster.stores.ports import UploadState
from tests.bad_files import CASES, cut, damage
from tests.bad_files.case import Case, Done, Failed, Reject
from tests.bad_files.world import CATALOG, INGEST
from tests.file_world import Became, FileWorld
from tests.file_world import Reject as Kept

#: One row in a piece, and the whole file: where pieces are cut must not matter.
PIECES = [1, 8 * 1024 * 1024]
KEPT_OF_TOO_LARGE = 1024


@pytest.fixture(scope="module", params=PIECES, ids=lambda size: f"pieces of {size}")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileWorld]:
    opened = FileWorld(tmp_path_factory.mktemp("files"), CATALOG, INGEST, request.param)
    yield opened
    opened.close()


def check(case: Case, became: Became) -> None:
    """Fail unless a file became what it has to."""
    expected = case.expected
    if isinstance(expected, Done):
        assert (became.state, became.error) == (UploadState.DONE, None)
        assert became.rows == list(expected.rows)
        assert [(r.position, r.reason) for r in became.rejects] == [(r.position, r.reason) for r in expected.rejects]
        assert became.counts == (len(expected.rows), len(expected.rejects))
        for wanted, kept in zip(expected.rejects, became.rejects, strict=True):
            check_payload(wanted, kept)
        return
    assert expected.text in str(became.error)
    assert isinstance(became.error, expected.error)
    assert became.state is (UploadState.FAILED if isinstance(expected, Failed) else None)
    assert (became.rows, became.rejects, became.counts) == ([], [], (0, 0))


def check_payload(wanted: Reject, kept: Kept) -> None:
    """Fail unless quarantine has the row as it came; a row of Parquet as JSON."""
    if wanted.reason == Reason.TOO_LARGE:
        assert len(kept.payload) == KEPT_OF_TOO_LARGE
        assert kept.payload.startswith((wanted.payload or b"{")[:KEPT_OF_TOO_LARGE])
    elif wanted.payload is not None:
        assert kept.payload == wanted.payload
    else:
        assert isinstance(json.loads(kept.payload), dict)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_ends_as_it_has_to(world: FileWorld, case: Case) -> None:
    check(case, world.take(case.sent))
    left = {file.suffix for file in (world.folder / "spool").iterdir()}
    assert left <= {"", ".json"}, "nothing half received is left"


def test_the_corpus_has_every_reason_that_a_row_of_a_file_can_have() -> None:
    found: dict[str, set[str]] = {"csv": set(), "jsonl": set(), "parquet": set()}
    for case in CASES:
        if isinstance(case.expected, Done):
            found[case.format] |= {reject.reason for reject in case.expected.rejects}
    every = {str(reason) for reason in Reason}
    json_only = {"malformed_json", "not_an_object", "empty_message", "unknown_field"}
    assert found["csv"] == every - json_only - {"tombstone"}
    assert found["jsonl"] == every - {"malformed_row", "tombstone"}
    assert found["parquet"] == every - json_only - {"malformed_row", "tombstone"}


def test_each_file_of_the_corpus_is_there_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) >= 300


@pytest.mark.parametrize("cases", [cut.csv_cuts, cut.jsonl_cuts, cut.parquet_cuts], ids=["csv", "jsonl", "parquet"])
def test_a_file_that_is_cut_off_anywhere_ends_as_it_has_to(tmp_path: Path, cases: Callable[[], list[Case]]) -> None:
    world = FileWorld(tmp_path, CATALOG, INGEST, piece_bytes=100)
    try:
        for case in cases():
            try:
                check(case, world.take(case.sent))
            except AssertionError as error:
                raise AssertionError(case.name) from error
    finally:
        world.close()


def test_a_damaged_parquet_file_is_refused_or_read_and_never_ends_the_process(tmp_path: Path) -> None:
    outcomes = damage.in_another_process(tmp_path)
    assert len(outcomes) == len(cut.PARQUET_FILE)
    assert set(outcomes) == {"refused", "read"}
    # Damage that Parquet itself does not see, within a value or a statistic, leaves all rows accounted for.
    assert outcomes.count("refused") > len(outcomes) / 3
