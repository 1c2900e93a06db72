"""Cancel, retry and watch, at any moment, and how often they like; and limits on rejected rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import BadFile, NotFound, Refused, RetryLater, Unreachable
from cluster.stores.ports import Upload, UploadState
from cluster.uploads import UploadProgress, UploadService, jobs, processing
from tests.upload_world import (
    FILE,
    HEADER,
    ROWS,
    Fails,
    World,
    chunks,
    closing_quietly,
    error_of,
    header,
    send,
    wait_until_idle,
)

SECONDS = 20


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("cluster.uploads.service._WATCH_SECONDS", 0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def assert_absent(world: World) -> None:
    assert world.only_upload().state is UploadState.CANCELLED
    assert (world.offline.rows(), world.offline.files) == ([], {})
    assert list(world.online.entities()) == []


def begun(world: World) -> Upload:
    """Record an upload as another process would have."""
    plain = Upload("id", "key", "a.csv", "features", "csv", header().sha256, len(FILE), UploadState.RECEIVING)
    return world.offline.begin_upload(plain)


# ---- cancel


def test_a_transfer_that_is_cancelled_leaves_nothing(world: World) -> None:
    with closing(world.service()) as service:
        progress = service.submit(header(), chunks())
        next(progress)
        upload = service.cancel(world.only_upload().upload_id)
        assert (upload.state, upload.original_kept, world.spooled()) == (UploadState.CANCELLED, False, [])
        assert [p.upload.state for p in progress][-1] is UploadState.CANCELLED
        assert_absent(world)
        send(service)
    world.assert_taken_once()


def test_a_client_that_waits_to_send_hears_of_the_end(world: World) -> None:
    forever = threading.Event()

    def silent() -> Iterator[bytes]:
        yield FILE[:10]
        forever.wait(SECONDS)

    with closing(world.service()) as service:
        seen: list[UploadProgress] = []
        client = threading.Thread(target=lambda: seen.extend(service.submit(header(), silent())))
        client.start()
        while not any(job.progress.received for job in service._jobs.every()):
            pass
        service.cancel(world.only_upload().upload_id)
        client.join(SECONDS)
        forever.set()
    assert seen[-1].upload.state is UploadState.CANCELLED
    assert_absent(world)


STEPS = ["set STORED", "open_upload", "append_upload", "commit_upload"]


@pytest.mark.parametrize("step", STEPS)
def test_a_file_is_cancelled_at_any_step_before_its_commit(world: World, step: str) -> None:
    with closing(world.service()) as service:

        def cancel(method: str) -> None:
            if method == step:
                world.offline.before = lambda _method: None
                service.cancel(world.only_upload().upload_id)

        world.offline.before = cancel
        states = [p.upload.state for p in send(service)]
        assert states[-1] is UploadState.CANCELLED
        assert_absent(world)
        assert service.get(world.only_upload().upload_id).original_kept
        send(service)
    world.assert_taken_once()


@pytest.mark.parametrize("step", ["upload_newest", "set DONE"])
def test_a_file_in_history_is_not_cancelled(world: World, step: str) -> None:
    with closing(world.service()) as service:
        refused: list[Refused] = []

        def cancel(method: str) -> None:
            if method == step:
                with pytest.raises(Refused, match="its rows are in history") as caught:
                    service.cancel(world.only_upload().upload_id)
                refused.append(caught.value)

        world.offline.before = cancel
        send(service)
        assert refused
        with pytest.raises(Refused, match="history"):
            service.cancel(world.only_upload().upload_id)
    world.assert_taken_once()


def test_cancelling_twice_is_cancelling_once(world: World) -> None:
    with closing(world.service()) as service:
        progress = service.submit(header(), chunks())
        next(progress)
        upload_id = world.only_upload().upload_id
        assert service.cancel(upload_id) == service.cancel(upload_id)
        with pytest.raises(NotFound):
            service.cancel("nobody")
    assert_absent(world)


def test_what_failed_is_not_cancelled(world: World) -> None:
    with closing(world.service()) as service:
        error_of(service, max_rejects=0)
        with pytest.raises(Refused, match="FAILED"):
            service.cancel(world.only_upload().upload_id)
    assert world.only_upload().state is UploadState.FAILED


def test_a_transfer_that_was_cut_is_cancelled_too(world: World) -> None:
    with closing(world.service()) as service:
        progress = service.submit(header(), chunks())
        next(progress)
        progress.close()  # type: ignore[attr-defined]
        service.cancel(world.only_upload().upload_id)
        assert world.spooled() == []
    assert_absent(world)


def test_a_restart_leaves_a_cancelled_file_alone(world: World) -> None:
    with closing(world.service()) as service:
        send(service, max_rejects=100)
    upload = begun_again(world)
    with closing(world.service()) as service:
        service.cancel(upload.upload_id)
        service.resume_unfinished()
        wait_until_idle(service)
    assert world.only_upload().state is UploadState.CANCELLED


def begun_again(world: World) -> Upload:
    """Let the file be another that is RECEIVING: what a killed gateway leaves just before STORED."""
    known = world.only_upload()
    world.offline._uploads.clear()
    world.offline.files.clear()
    return world.offline._keep(
        Upload(known.upload_id, "key", "a.csv", "features", "csv", known.sha256, known.bytes, UploadState.RECEIVING)
    )


def test_a_cancelled_file_is_sent_again_only_when_its_pieces_have_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LETTING_GO_SECONDS", 0.05)
    inside, go_on = threading.Event(), threading.Event()

    def hold(method: str) -> None:
        if method == "append_upload" and not inside.is_set():
            inside.set()
            assert go_on.wait(SECONDS)

    world.offline.before = hold
    with closing(world.service()) as service:
        first = threading.Thread(target=lambda: list(closing_quietly(service.submit(header(), chunks()))))
        first.start()
        assert inside.wait(SECONDS)
        assert service.cancel(world.only_upload().upload_id).state is UploadState.CANCELLED
        with pytest.raises(RetryLater, match="still ending"):
            send(service)
        with pytest.raises(RetryLater, match="still ending"):
            service.retry(world.only_upload().upload_id)
        go_on.set()
        first.join(SECONDS)
        assert_absent(world)
        send(service)
    world.assert_taken_once()


# ---- retry


def retried(service: UploadService, world: World) -> list[UploadProgress]:
    upload_id = world.only_upload().upload_id
    assert service.retry(upload_id).state in (UploadState.STORED, UploadState.PROCESSING, UploadState.COMMITTED)
    return list(service.watch(upload_id))


def test_what_failed_is_worked_on_again_from_the_kept_bytes(world: World) -> None:
    world.offline.before = Fails("commit_upload", Refused("no transaction"), times=3)
    with closing(world.service()) as service:
        error_of(service)
        assert retried(service, world)[-1].upload.state is UploadState.DONE
    world.assert_taken_once()


def test_a_cancelled_file_is_worked_on_again_after_a_restart(world: World) -> None:
    with closing(world.service()) as service:
        world.offline.before = lambda method: cancel_at(service, world, method)
        send(service)
        world.offline.before = lambda _method: None
    with closing(world.service()) as service:
        service.resume_unfinished()
        retried(service, world)
    world.assert_taken_once()


def cancel_at(service: UploadService, world: World, method: str) -> None:
    if method == "open_upload":
        service.cancel(world.only_upload().upload_id)


def test_a_limit_holds_for_a_retry_as_well(world: World) -> None:
    with closing(world.service()) as service:
        error_of(service, max_rejects=4)
    with closing(world.service()) as service:
        last = retried(service, world)[-1].upload
    assert (last.state, "more than 4" in last.error) == (UploadState.FAILED, True)


def test_a_retry_whose_answer_was_lost_is_asked_for_again(world: World) -> None:
    with closing(world.service()) as service:
        error_of(service, max_rejects=4)
        world.offline.before = Fails("set STORED", Unreachable("no answer"))
        with pytest.raises(Unreachable):
            service.retry(world.only_upload().upload_id)
        assert world.only_upload().state is UploadState.RECEIVING
        assert retried(service, world)[-1].upload.state is UploadState.FAILED


def test_a_retry_that_is_at_work_is_not_started_twice(world: World) -> None:
    inside, go_on = threading.Event(), threading.Event()
    with closing(world.service()) as service:
        error_of(service, max_rejects=4)

        def hold(method: str) -> None:
            if method == "open_upload":
                inside.set()
                assert go_on.wait(SECONDS)

        world.offline.before = hold
        upload_id = world.only_upload().upload_id
        service.retry(upload_id)
        assert inside.wait(SECONDS)
        assert service.retry(upload_id).upload_id == upload_id
        go_on.set()
        wait_until_idle(service)
    assert world.offline.states.count(UploadState.STORED) == 3  # the transfer's, the retry's, and its worker's


def test_what_did_not_fail_is_not_retried(world: World) -> None:
    with closing(world.service()) as service:
        send(service)
        with pytest.raises(Refused, match="is DONE: only one that is FAILED or CANCELLED"):
            service.retry(world.only_upload().upload_id)
        with pytest.raises(NotFound):
            service.retry("nobody")
        progress = service.submit(header(idempotency_key="other"), chunks())
        receiving = next(progress).upload.upload_id
        with pytest.raises(Refused, match="is RECEIVING"):
            service.retry(receiving)


def test_a_file_whose_bytes_are_gone_has_to_be_sent_again(world: World) -> None:
    with closing(world.service(budget_bytes=0)) as service:
        error_of(service, max_rejects=4)
        service.tidy()
        with pytest.raises(Refused, match=r"are gone .*send the file again"):
            service.retry(world.only_upload().upload_id)
        assert world.only_upload().state is UploadState.FAILED


# ---- watch


def test_a_watcher_sees_the_end_with_all_counts(world: World) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(method: str) -> None:
        if method == "open_upload":
            inside.set()
            assert go_on.wait(SECONDS)

    world.offline.before = hold
    with closing(world.service()) as service:
        sender = threading.Thread(target=lambda: send(service))
        sender.start()
        assert inside.wait(SECONDS)
        watched = service.watch(world.only_upload().upload_id)
        next(watched)
        go_on.set()
        last = list(watched)[-1]
        sender.join(SECONDS)
        assert (last.upload.state, last.upload.original_kept, last.received) == (UploadState.DONE, True, len(FILE))
        assert (last.rows_validated, last.rows_rejected, last.values_online) == (10, 5, 1)
        assert last.pieces_split == last.pieces_total == last.pieces_done
        (again,) = service.watch(last.upload.upload_id)
        assert (again.upload, again.rows_validated, again.rows_rejected) == (last.upload, 10, 5)


def test_a_watcher_stays_while_a_cut_transfer_waits_and_is_resumed(world: World) -> None:
    with closing(world.service()) as service:
        progress = service.submit(header(), chunks())
        next(progress)
        progress.close()  # type: ignore[attr-defined]
        watched = service.watch(world.only_upload().upload_id)
        assert next(watched).upload.state is UploadState.RECEIVING
        sender = threading.Thread(target=lambda: send(service, resume=True))
        sender.start()
        assert list(watched)[-1].upload.state is UploadState.DONE
        sender.join(SECONDS)


@pytest.mark.parametrize("at_work", [False, True])
def test_a_watcher_that_is_gone_is_let_go(world: World, at_work: bool) -> None:  # noqa: FBT001
    with closing(world.service()) as service:
        upload = begun(world)
        if at_work:
            progress = service.submit(header(), chunks())
            next(progress)
        asked: list[bool] = []

        def wanted() -> bool:
            asked.append(True)
            return len(asked) < 4

        assert {p.upload.state for p in service.watch(upload.upload_id, wanted)} == {UploadState.RECEIVING}


def test_a_watcher_of_nobody_is_told(world: World) -> None:
    with closing(world.service()) as service, pytest.raises(NotFound):
        next(service.watch("nobody"))


def test_a_watcher_of_a_file_that_fails_hears_its_state(world: World) -> None:
    with closing(world.service()) as service:
        error_of(service, content=HEADER + b"1\n", max_rejects=0)
        (last,) = service.watch(world.only_upload().upload_id)
    assert (last.upload.state, last.rows_rejected) == (UploadState.FAILED, 0)


# ---- limits on rejected rows


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_rejects": 4}, "max_rejects: 5 rows were rejected so far, more than 4"),
        ({"max_rejects": 0}, "max_rejects: 1 rows were rejected so far, more than 0"),
        ({"max_reject_share": 0.33}, "max_reject_share: 5 of 15 rows were rejected, a larger share than 0.33"),
        ({"max_reject_share": 0.0}, "a larger share than 0"),
    ],
)
def test_too_many_rejects_fail_the_file_as_a_whole(world: World, limits: dict[str, Any], text: str) -> None:
    with closing(world.service()) as service:
        error = error_of(service, **limits)
    upload = world.only_upload()
    assert isinstance(error, BadFile)
    assert text in str(error)
    assert "row 1 wrong_type ('value' is not a number)" in str(error)
    assert "two" not in str(error)  # data stays out of it
    assert (upload.state, upload.error) == (UploadState.FAILED, str(error))
    assert (world.offline.rows(), world.offline.files, list(world.online.entities())) == ([], {}, [])


@pytest.mark.parametrize("limits", [{"max_rejects": 5}, {"max_reject_share": 1 / 3}, {"max_reject_share": 1.0}])
def test_as_many_rejects_as_allowed_are_taken(world: World, limits: dict[str, Any]) -> None:
    with closing(world.service()) as service:
        send(service, **limits)
    world.assert_taken_once()


def test_a_file_without_rows_has_no_share(world: World) -> None:
    with closing(world.service()) as service:
        assert send(service, HEADER, max_reject_share=0.0, max_rejects=0)[-1].upload.state is UploadState.DONE


def test_a_count_ends_a_file_as_early_as_it_is_certain(world: World) -> None:
    appended: list[str] = []
    world.offline.before = appended.append
    with closing(world.service()) as service:
        error_of(service, HEADER + ROWS * 50, max_rejects=0)
    assert appended.count("append_upload") < 5


class Crash(BaseException):
    """What a killed process leaves: nothing more of it happens."""


def test_limits_outlive_the_gateway(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    died = threading.Event()

    def die(_method: str) -> None:
        died.set()
        raise Crash

    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    world.offline.before = lambda method: die(method) if method == "set STORED" else None
    killed = world.service()
    client = threading.Thread(target=lambda: list(killed.submit(header(max_rejects=4), chunks())), daemon=True)
    client.start()
    assert died.wait(SECONDS)
    world.offline.before = lambda _method: None
    world.is_killed(killed)
    with closing(world.service()) as service:
        service.resume_unfinished()
        wait_until_idle(service)
    killed.close()
    client.join(SECONDS)
    assert (world.only_upload().state, "more than 4" in world.only_upload().error) == (UploadState.FAILED, True)


def test_what_is_to_be_watched_starts_with_files_at_work_and_the_rows_that_they_have(world: World) -> None:
    seen: list[list[Upload]] = []

    with closing(world.service()) as service:
        send(service, HEADER, idempotency_key="earlier")

        def look(method: str) -> None:
            if method == "commit_upload":
                seen.append(service.to_watch(5))

        world.offline.before = look
        send(service)
        after = service.to_watch(5)
    ((at_work, earlier),) = seen
    assert (at_work.state, at_work.rows, at_work.rejected) == (UploadState.PROCESSING, 10, 5)
    assert (earlier.idempotency_key, earlier.state) == ("earlier", UploadState.DONE)
    assert {upload.state for upload in after} == {UploadState.DONE}
