"""Originals that are kept, for how long and how many, and files that are only checked."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.errors import BadFile, RaytideError, RetryLater, Unreachable
from cluster.stores.ports import UploadState
from cluster.uploads import CheckProgress, UploadService, incoming, processing
from tests.upload_world import FILE, HEADER, ROWS, World, chunks, error_of, header, send

SECONDS = 20


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "LONGEST_PAUSE_S", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def kept(service: UploadService) -> dict[str, bool]:
    return {upload.idempotency_key: upload.original_kept for upload in service.listed(100)}


def test_an_original_is_kept_as_long_as_it_may(world: World) -> None:
    with closing(world.service()) as service:
        assert send(service)[-1].upload.original_kept
        world.waits_seconds(world.config.retention_s)
        service.tidy()
        assert kept(service) == {"key": True}
        world.waits_seconds(1)
        service.tidy()
        assert (kept(service), world.spooled()) == ({"key": False}, [])
        assert send(service)[-1].upload.state is UploadState.DONE


def test_the_oldest_originals_go_when_all_are_more_than_the_budget(world: World) -> None:
    with closing(world.service(budget_bytes=2 * len(FILE))) as service:
        for key in "abc":
            send(service, idempotency_key=key)
            world.waits_seconds(1)
        service.tidy()
        assert kept(service) == {"a": False, "b": True, "c": True}
        report = service.spool_report()
    assert (report.bytes, report.files, report.budget_bytes) == (2 * len(FILE), 2, 2 * len(FILE))


def test_originals_of_files_that_have_not_ended_are_never_removed(world: World) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(method: str) -> None:
        if method == "append_upload":
            inside.set()
            assert go_on.wait(SECONDS)

    world.offline.before = hold
    with closing(world.service(budget_bytes=0)) as service:
        sender = threading.Thread(target=lambda: send(service))
        sender.start()
        assert inside.wait(SECONDS)
        world.waits_seconds(10 * world.config.retention_s)
        service.tidy()
        assert service.spool_report().files == 1
        go_on.set()
        sender.join(SECONDS)
        assert world.only_upload().state is UploadState.DONE
        service.tidy()
        assert service.spool_report().files == 0


def test_an_original_left_by_a_killed_gateway_stays_until_it_is_worked_on(world: World) -> None:
    with closing(world.service()) as service:
        send(service)
    known = world.only_upload()
    world.offline._keep(replace(known, state=UploadState.PROCESSING))
    with closing(world.service(budget_bytes=0)) as service:
        service.tidy()
        assert service.get(known.upload_id).original_kept


def test_nothing_is_removed_while_the_writer_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_upload_id: str) -> Any:
        raise Unreachable("the writer is away")

    with closing(world.service(budget_bytes=0)) as service:
        send(service)
        with monkeypatch.context() as patch:
            patch.setattr(world.offline, "get_upload", away)
            service.tidy()
        assert service.spool_report().files == 1


def test_a_file_of_another_history_has_its_time_too(world: World) -> None:
    with closing(world.service()) as service:
        send(service)
        world.offline._uploads.clear()
        service.tidy()
        assert service.spool_report().files == 1
        world.waits_seconds(world.config.retention_s + 1)
        service.tidy()
        assert world.spooled() == []


def test_old_originals_make_room_for_a_new_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(world.service()) as service:
        for key in "ab":
            send(service, idempotency_key=key)
            world.waits_seconds(1)
        check = service._spool.check_room

        def room_for_two(size: int) -> None:
            if service.spool_report().bytes + size > 2 * len(FILE):
                raise incoming.NoRoom("no room (uploads.min_free_bytes)")
            check(size)

        monkeypatch.setattr(service._spool, "check_room", room_for_two)
        send(service, idempotency_key="c")
        assert kept(service) == {"a": False, "b": True, "c": True}
        assert "uploads.min_free_bytes" in str(error_of(service, FILE * 3, idempotency_key="d"))


def test_the_originals_of_a_source_are_easy_to_find(world: World) -> None:
    with closing(world.service()) as service:
        send(service)
        upload_id = world.only_upload().upload_id
        assert service._spool.originals("features") == {upload_id: service._spool.path(upload_id)}
        assert service._spool.originals("other") == {}
        assert service._spool.originals()[upload_id].read_bytes() == FILE


# ---- files that are only checked


def checked(service: UploadService, content: bytes = FILE, **changes: Any) -> CheckProgress:
    *_, last = service.check(header(content, **changes), chunks(content))
    return last


def assert_untouched(world: World) -> None:
    assert (world.offline.list_uploads(), world.offline.rows(), world.offline.states) == ([], [], [])
    assert list(world.online.entities()) == []
    assert list(Path(world.config.spool).rglob("*.*")) == [] == world.spooled()
    assert list((Path(world.config.spool) / "checks").iterdir()) == []


def test_a_checked_file_is_told_and_forgotten(world: World) -> None:
    with closing(world.service()) as service:
        found = checked(service)
    assert (found.received, found.rows, found.rejected, found.done, found.error) == (len(FILE), 10, 5, True, "")
    assert found.reasons == {"wrong_type": 5}
    first = found.examples[0]
    assert (first.row, first.reason, first.detail) == (1, "wrong_type", "'value' is not a number")
    assert [r.row for r in found.examples] == [1, 4, 7, 10, 13]
    assert first.raw == b"u2,age,two,2024-05-01"
    assert_untouched(world)


def test_the_first_answer_of_a_check_comes_before_a_chunk_is_asked_for(world: World) -> None:
    asked = threading.Event()

    def noted() -> Iterator[bytes]:
        asked.set()
        yield from chunks()

    with closing(world.service()) as service:
        progress = service.check(header(), noted())
        assert next(progress) == CheckProgress(0)
        assert not asked.is_set()
        progress.close()  # type: ignore[attr-defined]


def test_examples_are_the_first_twenty_and_short(world: World) -> None:
    content = HEADER + b"".join(b"u1,age,%s,2024-05-01\n" % (b"x" * 2000) for _ in range(40))
    with closing(world.service(piece_bytes=10_000)) as service:
        found = checked(service, content)
    assert [row.row for row in found.examples] == list(range(20))
    assert {len(row.raw) for row in found.examples} == {1024}
    assert found.rejected == 40


@pytest.mark.parametrize(
    ("content", "changes", "text"),
    [
        (b"entity_id,value\n", {}, "'feature_name', 'event_timestamp'"),
        (b"", {}, "empty (0 bytes)"),
        (FILE, {"max_rejects": 4}, "more than 4"),
        (FILE, {"max_reject_share": 0.1}, "a larger share than 0.1"),
        (gzip.compress(FILE)[:-9], {"compression": "gzip"}, "is cut off"),
    ],
)
def test_what_would_be_refused_as_a_whole_is_told(world: World, content: bytes, changes: dict[str, Any], text: str) -> None:
    with closing(world.service()) as service:
        found = checked(service, content, **changes)
    assert found.done
    assert text in found.error
    assert_untouched(world)


def broken(content: bytes = FILE) -> Iterator[bytes]:
    yield content[:10]
    raise ConnectionResetError


@pytest.mark.parametrize(
    ("chunks_", "changes", "error"),
    [(broken, {}, RetryLater), (chunks, {"sha256": "0" * 64}, BadFile), (chunks, {"size": 3}, BadFile)],
)
def test_a_check_that_breaks_off_keeps_nothing(
    world: World, chunks_: Any, changes: dict[str, Any], error: type[RaytideError]
) -> None:
    with closing(world.service()) as service:
        with pytest.raises(error):
            list(service.check(header(**changes), chunks_()))
        assert_untouched(world)
        assert checked(service).done


def test_a_client_that_goes_away_ends_its_check(world: World) -> None:
    with closing(world.service(concurrent=1)) as service:
        progress = service.check(header(), chunks())
        while not next(progress).rows:
            pass
        progress.close()  # type: ignore[attr-defined]
        assert_untouched(world)
        assert checked(service).done


def test_checks_count_as_transfers(world: World) -> None:
    with closing(world.service(concurrent=1)) as service:
        progress = service.check(header(), chunks())
        next(progress)
        assert "uploads.concurrent" in str(error_of(service))
        list(progress)
        send(service)


def test_a_check_takes_no_key(world: World) -> None:
    with closing(world.service()) as service:
        checked(service)
        send(service)
        assert checked(service, HEADER + ROWS).done
    world.assert_taken_once()


def test_what_a_killed_gateway_was_checking_is_gone_at_the_next_start(world: World) -> None:
    killed = world.service()
    progress = killed.check(header(), chunks())
    while not next(progress).rows:
        pass
    world.is_killed(killed)
    with closing(world.service()):
        assert [file for file in Path(world.config.spool).rglob("*") if file.is_file()] == []
    progress.close()  # type: ignore[attr-defined]
    killed.close()


def test_a_check_ends_when_the_gateway_stops(world: World) -> None:
    service = world.service()
    progress = service.check(header(), chunks())
    while not next(progress).rows:
        pass
    service.close()
    with pytest.raises(RetryLater, match="check the file again"):
        list(progress)
    assert_untouched(world)


# ---- packed files


def zstd(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_a_packed_file_is_taken_and_kept_as_it_came(world: World, name: str, pack: Any) -> None:
    packed = pack(FILE[:100]) + pack(FILE[100:])
    with closing(world.service()) as service:
        last = send(service, packed, compression=name)[-1].upload
        assert (last.state, last.rows, last.rejected, last.bytes) == (UploadState.DONE, 10, 5, len(packed))
        assert service._spool.path(last.upload_id).read_bytes() == packed


def test_a_packed_file_may_not_unpack_to_more_than_a_file_may_be(world: World) -> None:
    packed = gzip.compress(HEADER + ROWS * 1000)
    with closing(world.service(max_bytes=10_000)) as service:
        error = error_of(service, packed, compression="gzip")
    assert isinstance(error, BadFile)
    assert "unpacks to more than 10000 bytes (uploads.max_bytes)" in str(error)
    assert world.offline.rows() == []
