"""Transfers that break off and go on: from the byte that the server has, also after a restart, one at a time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cluster.errors import BadFile, RaytideError, Refused, RetryLater
from cluster.stores.ports import UploadState
from cluster.uploads import UploadProgress, UploadService, incoming, processing
from tests.upload_world import CATALOG, FILE, World, chunks, closing_quietly, error_of, header, send, wait_until_idle

SECONDS = 20


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "LONGEST_PAUSE_S", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def cut_at(count: int) -> Iterator[bytes]:
    yield FILE[:count]
    raise ConnectionResetError


def break_off(service: UploadService, count: int) -> None:
    with pytest.raises(RetryLater, match="broke off"):
        list(service.submit(header(), cut_at(count)))


def resumed(service: UploadService) -> list[UploadProgress]:
    """Go on as a client does: wait for the first answer, and send what is missing."""
    told = threading.Event()
    first: list[UploadProgress] = []

    def rest() -> Iterator[bytes]:
        assert told.wait(SECONDS)
        yield from chunks(FILE[first[0].received :])

    progress = service.submit(header(resume=True), rest())
    first.append(next(progress))
    told.set()
    return [*first, *progress]


@pytest.mark.parametrize("count", [0, 1, 100, len(FILE)])
@pytest.mark.parametrize("restart", [False, True])
def test_a_transfer_goes_on_from_the_byte_that_is_here(world: World, count: int, restart: bool) -> None:  # noqa: FBT001
    with closing(world.service()) as service:
        break_off(service, count)
        assert (world.only_upload().state, world.part().stat().st_size) == (UploadState.RECEIVING, count)
        if not restart:
            progress = resumed(service)
    if restart:
        with closing(world.service()) as service:
            service.resume_unfinished()
            progress = resumed(service)
    assert (progress[0].upload.state, progress[0].received) == (UploadState.RECEIVING, count)
    assert progress[-1].upload.state is UploadState.DONE
    world.assert_taken_once()


def test_a_killed_gateway_keeps_what_arrived(world: World) -> None:
    arrived = threading.Event()

    def stuck() -> Iterator[bytes]:
        yield FILE[:120]
        arrived.set()
        threading.Event().wait(SECONDS)

    killed = world.service()
    follower = threading.Thread(target=lambda: list(closing_quietly(killed.submit(header(), stuck()))), daemon=True)
    follower.start()
    assert arrived.wait(SECONDS)
    while not world.part().stat().st_size:  # as a kill would find it once the buffer is written
        for job in killed._jobs.every():
            assert job._transfer is not None
            job._transfer._incoming._file.flush()
    world.is_killed(killed)
    with closing(world.service()) as service:
        service.resume_unfinished()
        assert resumed(service)[0].received == 120
    world.assert_taken_once()


def test_several_cuts_are_hashed_once_in_one_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(world.service()) as service:
        break_off(service, 50)
        monkeypatch.setattr(incoming, "_READ_BYTES", 0)  # nothing can be read again
        for count in (100, 200):
            with pytest.raises(RetryLater):
                list(service.submit(header(resume=True), iter_then_break(FILE[count // 2 : count])))
        resumed(service)
    world.assert_taken_once()


def iter_then_break(content: bytes) -> Iterator[bytes]:
    yield content
    raise ConnectionResetError


def test_a_beginning_that_is_another_is_noticed_and_given_up(world: World) -> None:
    with closing(world.service()) as service:
        break_off(service, 100)
    world.part().write_bytes(b"x" * 100)
    with closing(world.service()) as service:
        with pytest.raises(BadFile, match="another checksum: send the file again, from its start"):
            resumed(service)
        assert (world.only_upload().state, world.spooled()) == (UploadState.FAILED, [])
        assert resumed(service)[0].received == 0
    world.assert_taken_once()


def test_without_resume_a_transfer_starts_from_its_first_byte(world: World) -> None:
    with closing(world.service()) as service:
        break_off(service, 100)
        assert send(service)[0].received == 0
    world.assert_taken_once()


def test_the_first_answer_comes_before_a_chunk_is_asked_for(world: World) -> None:
    asked = threading.Event()

    def noted() -> Iterator[bytes]:
        asked.set()
        yield from chunks()

    with closing(world.service()) as service:
        progress = service.submit(header(), noted())
        assert next(progress).upload.state is UploadState.RECEIVING
        assert not asked.is_set()
        list(progress)
    world.assert_taken_once()


def test_a_file_that_failed_is_not_sent_again_to_be_resumed(world: World) -> None:
    with closing(world.service()) as service:
        assert isinstance(error_of(service, max_rejects=4), BadFile)
        progress = list(service.submit(header(resume=True), iter(())))
    assert progress[0].received == len(FILE)
    world.assert_taken_once()


def test_a_transfer_that_stands_still_gives_way_to_one_that_resumes(world: World) -> None:
    still = threading.Event()
    with closing(world.service(takeover_s=0.05, concurrent=1)) as service:

        def standing() -> Iterator[bytes]:
            yield FILE[:100]
            still.wait(SECONDS)

        errors: list[RaytideError] = []

        def first() -> None:
            try:
                list(service.submit(header(), standing()))
            except RaytideError as error:
                errors.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        while not any(job.progress.received == 100 for job in service._jobs.every()):
            pass
        assert resumed(service)[0].received == 100
        thread.join(SECONDS)
        still.set()
    assert "another client went on" in str(errors[0])
    world.assert_taken_once()


def test_a_thread_that_is_stuck_at_its_client_cannot_touch_what_was_taken_over(world: World) -> None:
    with closing(world.service(takeover_s=0.05)) as service:
        stuck = service.submit(header(), chunks())
        next(stuck)  # and nobody asks for more: the client is gone, and the server has not noticed
        resumed(service)
        stuck.close()  # type: ignore[attr-defined]
    world.assert_taken_once()


def test_a_transfer_that_moves_is_followed_by_one_that_resumes(world: World) -> None:
    go_on, second_asked = threading.Event(), threading.Event()

    def moving() -> Iterator[bytes]:
        yield FILE[:100]
        assert second_asked.wait(SECONDS)
        yield FILE[100:150]
        assert go_on.wait(SECONDS)
        yield FILE[150:]

    with closing(world.service(takeover_s=SECONDS)) as service:
        first = threading.Thread(target=lambda: list(service.submit(header(), moving())))
        first.start()
        while not any(job.progress.received == 100 for job in service._jobs.every()):
            pass
        second = service.submit(header(resume=True), iter(()))
        threading.Timer(0.05, second_asked.set).start()
        assert next(second).upload.state is UploadState.RECEIVING
        go_on.set()
        assert list(second)[-1].upload.state is UploadState.DONE
        first.join(SECONDS)
    world.assert_taken_once()


def test_a_resumed_transfer_needs_room_for_the_rest_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    with closing(world.service()) as service:
        break_off(service, 100)
        monkeypatch.setattr(service._spool, "check_room", asked.append)
        resumed(service)
    assert asked[0] == len(FILE) - 100


def test_room_that_ends_while_a_file_arrives_ends_the_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "_ROOM_CHECK_BYTES", 100)
    with closing(world.service()) as service:
        check, asked = service._spool.check_room, []

        def full_later(size: int) -> None:
            asked.append(size)
            if len(asked) > 1:
                raise incoming.NoRoom("no room (uploads.min_free_bytes)")
            check(size)

        monkeypatch.setattr(service._spool, "check_room", full_later)
        assert "uploads.min_free_bytes" in str(error_of(service))
        assert (world.only_upload().state, world.spooled()) == (UploadState.FAILED, [])
        monkeypatch.undo()
        send(service)
    world.assert_taken_once()


def test_a_beginning_that_nobody_goes_on_with_has_its_time(world: World) -> None:
    with closing(world.service()) as service:
        break_off(service, 100)
        world.waits_seconds(world.config.resume_s)
        service.tidy()
        assert world.only_upload().state is UploadState.RECEIVING
        world.waits_seconds(1)
        service.tidy()
        upload = world.only_upload()
        assert (upload.state, world.spooled()) == (UploadState.FAILED, [])
        assert "uploads.resume_s" in upload.error
        assert resumed(service)[0].received == 0
    world.assert_taken_once()


def test_a_restart_gives_a_beginning_its_whole_time_again(world: World) -> None:
    with closing(world.service()) as service:
        break_off(service, 100)
    world.waits_seconds(10 * world.config.resume_s)
    with closing(world.service()) as service:
        service.resume_unfinished()
        service.tidy()
        assert resumed(service)[0].received == 100
    world.assert_taken_once()


def test_a_transfer_at_work_is_never_too_old(world: World) -> None:
    with closing(world.service()) as service:
        progress = service.submit(header(), chunks())
        next(progress)
        world.waits_seconds(10 * world.config.resume_s)
        service.tidy()
        list(progress)
    world.assert_taken_once()


def test_a_key_still_stands_for_one_content_when_it_is_resumed(world: World) -> None:
    other = FILE + b"u9,age,1,2024-05-01\n"
    with closing(world.service_with(world.runner(), CATALOG)) as service:
        break_off(service, 100)
        wrong = header(other, resume=True, sha256=hashlib.sha256(other).hexdigest())
        with pytest.raises(Refused, match="sha256"):
            list(service.submit(wrong, iter(())))
        resumed(service)
    world.assert_taken_once()


def test_all_is_well_after_a_resume_with_nobody_at_work(world: World) -> None:
    with closing(world.service()) as service:
        break_off(service, 100)
        wait_until_idle(service)
        report = service.spool_report()
        assert (report.bytes, report.files, report.receiving) == (100, 0, 1)
        resumed(service)
        report = service.spool_report()
    assert (report.bytes, report.files, report.receiving) == (len(FILE), 1, 0)
    assert report.budget_bytes == world.config.budget_bytes
