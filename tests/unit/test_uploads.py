"""The upload service on stores in memory: every state, every way to break off, and a restart at each step."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.config import IngestConfig
from cluster.errors import BadFile, NotFound, Refused, RetryLater, Unreachable
from cluster.ingest.split import Piece
from cluster.records import Origin
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, FileSource, Long, Wide, feature
from cluster.stores.ports import Upload, UploadState
from cluster.uploads import LocalPieceRunner, PieceCounts, UploadProgress, processing
from cluster.uploads.transfer import arriving
from tests.upload_world import (
    CATALOG,
    DONE,
    FILE,
    HEADER,
    Fails,
    World,
    chunks,
    closing_quietly,
    error_of,
    header,
    send,
    wait_until_idle,
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "LONGEST_PAUSE_S", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_file_goes_through_every_state_once(world: World) -> None:
    with closing(world.service()) as service:
        progress = send(service)
    assert progress[0].upload.state is UploadState.RECEIVING
    last = progress[-1]
    assert (last.upload.state, last.received, last.pieces_done) == (UploadState.DONE, len(FILE), last.pieces_total)
    assert world.offline.states == DONE
    world.assert_taken_once()
    assert {b.origin for b in world.offline.files[last.upload.upload_id]} == {Origin.upload(last.upload.upload_id, 3)}


def test_a_file_without_rows_is_done(world: World) -> None:
    with closing(world.service()) as service:
        (*_, last) = send(service, HEADER)
    assert (last.upload.state, last.upload.rows, last.pieces_total) == (UploadState.DONE, 0, 0)


def test_the_same_bytes_under_the_same_key_are_taken_once(world: World) -> None:
    with closing(world.service()) as service:
        send(service)
        again = list(service.submit(header(), iter(())))
    assert [p.upload.state for p in again][-1] is UploadState.DONE
    world.assert_taken_once()


def test_without_a_key_the_bytes_and_the_source_are_the_key(world: World) -> None:
    with closing(world.service()) as service:
        send(service, idempotency_key="")
        send(service, idempotency_key="")
    assert world.only_upload().idempotency_key == f"features:{header().sha256}"
    world.assert_taken_once()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"source": "featurs"}, "did you mean 'features'"),
        ({"format": "xml"}, "format: 'xml'"),
        ({"size": 10**12}, "uploads.max_bytes"),
        ({"size": -1}, "size:"),
        ({"sha256": "abc"}, "sha256:"),
        ({"name": ""}, "name:"),
        ({"name": "a\nb"}, "name:"),
        ({"idempotency_key": "k" * 300}, "idempotency_key:"),
        ({"options": {"delimeter": ";"}}, "did you mean 'delimiter'"),
        ({"options": {"delimiter": "xx"}}, "one of , ; | and tab"),
        ({"options": {"delimiter": ";"}, "format": "jsonl"}, "jsonl has no option"),
    ],
)
def test_a_header_is_refused_before_a_byte_is_read(world: World, changes: dict[str, Any], text: str) -> None:
    with closing(world.service()) as service:
        error = error_of(service, **changes)
    assert isinstance(error, Refused)
    assert text in str(error)
    assert world.offline.list_uploads() == []


@pytest.mark.parametrize("changes", [{"source": "other"}, {"format": "jsonl"}, {"sha256": "0" * 64}])
def test_a_key_does_not_stand_for_two_files(world: World, changes: dict[str, Any]) -> None:
    other = build("demo", [*CATALOG.views.values(), FileSource("other", Long())])
    with closing(world.service_with(world.runner(), other)) as service:
        send(service)
        assert isinstance(error_of(service, **changes), Refused)
    assert world.only_upload().state is UploadState.DONE


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": len(FILE) + 1}, f"{len(FILE) + 1} bytes were announced but {len(FILE)} arrived"),
        ({"size": len(FILE) - 1}, "announced but more arrived"),
        ({"sha256": "0" * 64}, "another checksum"),
    ],
)
def test_other_bytes_than_announced_fail_and_can_be_sent_again(world: World, changes: dict[str, Any], text: str) -> None:
    with closing(world.service()) as service:
        with pytest.raises(BadFile, match=text):
            list(service.submit(header(**changes), chunks()))
        upload = world.only_upload()
        assert (upload.state, text in upload.error) == (UploadState.FAILED, True)
        assert world.spooled() == []
        if "sha256" not in changes:
            send(service)
            world.assert_taken_once()


@pytest.mark.parametrize(
    ("content", "format_", "text"),
    [
        (b"", "csv", "empty (0 bytes)"),
        (b"entity_id,value\n", "csv", "'feature_name', 'event_timestamp'"),
        (FILE, "parquet", "is not Parquet"),
    ],
)
def test_a_file_that_cannot_be_taken_as_a_whole_fails_with_the_reason(
    world: World, content: bytes, format_: str, text: str
) -> None:
    seen: list[UploadProgress] = []
    with closing(world.service()) as service, pytest.raises(BadFile) as caught:
        seen.extend(service.submit(header(content, format=format_), chunks(content)))
    assert text in str(caught.value)
    assert seen[-1].upload.state is UploadState.FAILED
    assert world.only_upload().error == str(caught.value)
    assert world.offline.rows() == []
    upload_id = world.only_upload().upload_id
    assert world.spooled() == [upload_id, f"{upload_id}.json"]


def test_a_delimiter_is_kept_until_the_file_is_read(world: World) -> None:
    with closing(world.service()) as service:
        content = FILE.replace(b",", b";")
        rows = send(service, content, options={"delimiter": ";"})[-1].upload.rows
    assert rows == 10


def cut(content: bytes = FILE) -> Iterator[bytes]:
    yield content[:100]
    raise ConnectionResetError


def test_a_transfer_that_breaks_off_can_be_done_again_under_its_key(world: World) -> None:
    with closing(world.service()) as service:
        with pytest.raises(RetryLater, match="broke off"):
            list(service.submit(header(), cut()))
        assert (world.only_upload().state, world.part().read_bytes()) == (UploadState.RECEIVING, FILE[:100])
        send(service)
    world.assert_taken_once()


def test_a_client_that_goes_away_during_the_transfer_may_come_again(world: World) -> None:
    with closing(world.service()) as service:
        progress = service.submit(header(), chunks())
        next(progress)
        progress.close()  # type: ignore[attr-defined]
        assert (world.only_upload().state, world.part().read_bytes()) == (UploadState.RECEIVING, b"")
        send(service)
    world.assert_taken_once()


def test_a_client_that_goes_away_after_the_transfer_does_not_stop_the_file(world: World) -> None:
    gate = threading.Event()
    world.offline.before = lambda method: gate.wait(20) if method == "open_upload" else None  # type: ignore[assignment]
    with closing(world.service()) as service:
        progress = service.submit(header(), chunks())
        while next(progress).upload.state is not UploadState.STORED:
            pass
        progress.close()  # type: ignore[attr-defined]
        gate.set()
        wait_until_idle(service)
    world.assert_taken_once()


def test_a_transfer_that_sends_nothing_is_ended(world: World) -> None:
    silence = threading.Event()

    def silent() -> Iterator[bytes]:
        yield FILE[:10]
        silence.wait(20)

    with closing(world.service(idle_timeout_s=0.05)) as service:
        with pytest.raises(RetryLater, match="idle_timeout_s"):
            list(service.submit(header(), silent()))
        silence.set()
    with closing(world.service()) as patient:
        send(patient)
    world.assert_taken_once()


def test_the_reader_of_an_abandoned_transfer_ends() -> None:
    read = 0
    went_on = threading.Event()

    def endless() -> Iterator[bytes]:
        nonlocal read
        try:
            while True:
                read += 1
                yield b"x"
        finally:
            went_on.set()

    source = arriving(endless(), 5)
    next(source)
    source.close()  # type: ignore[attr-defined]
    assert went_on.wait(20)
    assert read < 100


def test_transfers_above_the_limit_are_told_to_come_back(world: World) -> None:
    with closing(world.service(concurrent=1)) as service:
        first = service.submit(header(), chunks())
        next(first)
        assert "uploads.concurrent" in str(error_of(service, idempotency_key="other"))
        list(first)
        send(service, idempotency_key="other")
    assert [u.state for u in world.offline.list_uploads()] == [UploadState.DONE] * 2


def test_a_full_disk_is_named_with_its_limit(world: World) -> None:
    with closing(world.service(min_free_bytes=10**18)) as service:
        error = error_of(service)
    assert isinstance(error, RetryLater)
    assert "uploads.min_free_bytes" in str(error)
    assert world.spooled() == []


def test_two_clients_with_one_key_share_one_transfer(world: World) -> None:
    with closing(world.service()) as service:
        first, second = service.submit(header(), chunks()), service.submit(header(), iter(()))
        next(first)
        next(second)
        rest: list[UploadProgress] = []
        watcher = threading.Thread(target=lambda: rest.extend(second))
        watcher.start()
        list(first)
        watcher.join(20)
    assert rest[-1].upload.state is UploadState.DONE
    world.assert_taken_once()


def test_two_files_at_once_both_arrive(world: World) -> None:
    with closing(world.service()) as service:
        both = [service.submit(header(idempotency_key=key), chunks()) for key in "ab"]
        for progress in itertools.zip_longest(*both):
            assert any(progress)
    assert [(u.state, u.rows) for u in world.offline.list_uploads()] == [(UploadState.DONE, 10)] * 2


@pytest.mark.parametrize("method", ["open_upload", "append_upload", "commit_upload", "upload_newest"])
def test_a_writer_that_is_away_for_a_moment_costs_an_attempt_only(world: World, method: str) -> None:
    world.offline.before = Fails(method, Unreachable("the writer is away"), times=2)
    with closing(world.service()) as service:
        send(service)
    world.assert_taken_once()


@pytest.mark.parametrize("state", [UploadState.STORED, UploadState.PROCESSING, UploadState.DONE])
def test_a_state_is_written_until_the_writer_takes_it(world: World, state: UploadState) -> None:
    world.offline.before = Fails(f"set {state}", Unreachable("the writer is away"), times=5)
    with closing(world.service()) as service:
        send(service)
    world.assert_taken_once()


def test_a_transaction_that_the_writer_lost_is_started_again(world: World) -> None:
    appends = itertools.count()

    def lose(method: str) -> None:
        if method == "append_upload" and next(appends) == 3:
            world.offline.lose_transactions()

    world.offline.before = lose
    with closing(world.service()) as service:
        send(service)
    world.assert_taken_once()


def test_a_file_that_fails_each_time_is_failed_with_the_last_reason(world: World) -> None:
    world.offline.before = Fails("commit_upload", Refused("no transaction"), times=3)
    with closing(world.service()) as service:
        assert str(error_of(service)) == "no transaction"
        assert (world.only_upload().state, world.offline.rows()) == (UploadState.FAILED, [])
        send(service)
    world.assert_taken_once()


@pytest.mark.parametrize("times", [1, 3])
def test_a_commit_whose_answer_is_lost_is_not_done_twice(world: World, times: int) -> None:
    world.offline.after = Fails("commit_upload", Unreachable("no answer"), times)
    with closing(world.service()) as service:
        send(service)
    assert world.offline.states.count(UploadState.COMMITTED) == 1
    world.assert_taken_once()


def test_an_error_of_our_own_fails_the_file_instead_of_leaving_it(world: World) -> None:
    class Broken:
        def run(self, *_: object) -> Iterator[PieceCounts]:
            raise ZeroDivisionError

        check = run

    with closing(world.service_with(Broken(), CATALOG)) as service:
        assert "error of Raytide itself" in str(error_of(service))
    assert world.only_upload().state is UploadState.FAILED


def test_the_online_store_may_be_away_after_the_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Fails("write", Unreachable("redis is away"), times=6)
    write = world.online.write

    def sometimes(rows: pa.Table) -> int:
        away("write")
        return write(rows)

    monkeypatch.setattr(world.online, "write", sometimes)
    with closing(world.service()) as service:
        states = [p.upload.state for p in send(service)]
    assert UploadState.COMMITTED in states
    world.assert_taken_once()


class Crash(BaseException):
    """What a killed process leaves: nothing more of it happens."""


CRASHES = ["set STORED", "set PROCESSING", "open_upload", "append_upload", "commit_upload", "upload_newest", "set DONE"]


@pytest.mark.parametrize("step", CRASHES)
def test_a_restart_at_any_step_finishes_the_file_once(world: World, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    died = threading.Event()

    def die(method: str) -> None:
        if died.is_set() or method == step:
            died.set()
            raise Crash

    world.offline.before = die
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    killed = world.service()
    progress = killed.submit(header(), chunks())
    follower = threading.Thread(target=lambda: list(progress), daemon=True)
    follower.start()
    assert died.wait(20)
    world.offline.before = lambda _method: None
    world.offline.lose_transactions()
    world.is_killed(killed)
    with closing(world.service()) as service:
        service.resume_unfinished()
        wait_until_idle(service)
    killed.close()
    follower.join(20)
    world.assert_taken_once()


def test_a_restart_during_the_transfer_lets_it_be_sent_again(world: World) -> None:
    killed = world.service()
    progress = killed.submit(header(), chunks())
    next(progress)
    world.is_killed(killed)
    with closing(world.service()) as service:
        service.resume_unfinished()
        wait_until_idle(service)
        assert world.only_upload().state is UploadState.RECEIVING
        send(service)
    world.assert_taken_once()


def test_a_restart_before_the_first_byte_fails_the_file_until_it_is_sent_again(world: World) -> None:
    world.offline.begin_upload(
        Upload("id", "key", "a.csv", "features", "csv", header().sha256, len(FILE), UploadState.RECEIVING)
    )
    with closing(world.service()) as service:
        service.resume_unfinished()
        wait_until_idle(service)
        assert world.only_upload().state is UploadState.FAILED
        assert "transfer was cut off" in world.only_upload().error
        send(service)
    world.assert_taken_once()


def test_a_restart_without_the_spooled_file_fails_it(world: World) -> None:
    upload = world.offline.begin_upload(
        Upload("id", "key", "a.csv", "features", "csv", header().sha256, len(FILE), UploadState.RECEIVING)
    )
    world.offline.set_upload_state(upload.upload_id, UploadState.PROCESSING)
    with closing(world.service()) as service:
        service.resume_unfinished()
        wait_until_idle(service)
    assert (world.only_upload().state, "spooled file is gone" in world.only_upload().error) == (UploadState.FAILED, True)


def test_closing_breaks_off_between_pieces_and_a_restart_goes_on(world: World) -> None:
    service = world.service()
    closer = threading.Thread(target=service.close)

    def close_in_the_middle(method: str) -> None:
        if method == "append_upload":
            closer.start()
            world.offline.before = lambda _method: None
            service._stop.wait(20)

    world.offline.before = close_in_the_middle
    assert "is stopping" in str(error_of(service))
    closer.join(20)
    assert world.only_upload().state is UploadState.PROCESSING
    with closing(world.service()) as second:
        second.resume_unfinished()
        wait_until_idle(second)
    world.assert_taken_once()


def test_closing_does_not_wait_for_an_online_store_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def away(_rows: pa.Table) -> int:
        tried.set()
        raise Unreachable("redis is away")

    service = world.service()
    with monkeypatch.context() as patch:
        patch.setattr(world.online, "write", away)
        failed = threading.Thread(target=lambda: list(closing_quietly(service.submit(header(), chunks()))))
        failed.start()
        assert tried.wait(20)
        service.close()
        failed.join(20)
    assert world.only_upload().state is UploadState.COMMITTED
    with closing(world.service()) as second:
        second.resume_unfinished()
        wait_until_idle(second)
    world.assert_taken_once()


def test_a_closed_service_takes_no_files(world: World) -> None:
    service = world.service()
    service.close()
    assert "send the file again when it is back" in str(error_of(service))


def test_a_file_that_another_process_works_on_is_watched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = world.offline.begin_upload(
        Upload("id", "key", "a.csv", "features", "csv", header().sha256, len(FILE), UploadState.RECEIVING)
    )
    world.offline.set_upload_state(upload.upload_id, UploadState.PROCESSING)
    monkeypatch.setattr("cluster.uploads.service._WATCH_SECONDS", 0.01)
    with closing(world.service()) as service:
        progress = service.submit(header(), iter(()))
        assert next(progress).upload.state is UploadState.PROCESSING
        world.offline.set_upload_state(upload.upload_id, UploadState.FAILED, "it went wrong there")
        with pytest.raises(BadFile, match="it went wrong there"):
            list(progress)


def test_pieces_are_cut_only_as_they_are_wanted(world: World) -> None:
    cut_pieces: list[int] = []

    class Careful(LocalPieceRunner):
        def run(self, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]) -> Iterator[PieceCounts]:
            def noted() -> Iterator[Piece]:
                for piece in pieces:
                    cut_pieces.append(piece.number)
                    yield piece

            for done, counts in enumerate(super().run(catalog, upload, noted())):
                assert cut_pieces == list(range(done + 1))
                yield counts

    runner = Careful(IngestConfig(), world.port)
    with closing(world.service_with(runner, CATALOG)) as service:
        send(service)
    assert len(cut_pieces) > 3
    world.assert_taken_once()


@feature(mode="row")
def ratio(amount: float, count: float) -> float:
    return amount / count


def test_a_row_whose_feature_function_fails_is_rejected_with_its_line(world: World) -> None:
    orders = FileSource("orders", Wide("user_id", "at", (Field("amount"), Field("count"))))
    catalog = build("demo", [FeatureView("ratios", Entity("user", "user_id"), orders, [ratio])])
    content = b"user_id,at,amount,count\nu1,2024-05-01,1,2\nu2,2024-05-01,1,0\nu3,2024-05-01,3,2\n"
    with closing(world.service_with(world.runner(), catalog)) as service:
        last = send(service, content, source="orders")[-1]
    assert (last.upload.rows, last.upload.rejected) == (2, 1)
    assert world.offline.rows() == [("u1", 0.5, 0), ("u3", 1.5, 2)]
    rejects = [r for batches in world.offline.files.values() for b in batches for r in b.rejects.to_pylist()]
    assert [(r["position"], r["reason"], r["payload"]) for r in rejects] == [(1, "transform_failed", b"u2,2024-05-01,1,0")]


def test_an_unknown_source_is_not_found(world: World) -> None:
    with closing(world.service()) as service:
        assert isinstance(error_of(service, source="nothing"), NotFound)
