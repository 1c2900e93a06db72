"""Two processes of one gateway over one spool, as two services in this one: locks on files tell them apart all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import BadFile, RetryLater
from cluster.stores.ports import UploadState
from cluster.uploads import UploadService
from cluster.uploads.claims import Claims, Elsewhere
from cluster.uploads.job import Job
from tests.upload_world import FILE, World, chunks, error_of, header, send, wait_until_idle

TAKES = """
import sys, time
from pathlib import Path
from cluster.uploads.claims import Claims
print(Claims(Path(sys.argv[1])).take("key"), flush=True)
time.sleep(60)
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def one(world: World) -> Iterator[UploadService]:
    service = world.service()
    yield service
    service.close()


@pytest.fixture
def other(world: World) -> Iterator[UploadService]:
    service = world.service()
    yield service
    service.close()


def begin(service: UploadService, count: int, content: bytes = FILE, *, resume: bool = True) -> int:
    """Send the first `count` bytes, from where the service has them, and break off; return where that was."""
    told: list[int] = []

    def cut() -> Iterator[bytes]:
        yield from chunks(content[told[0] : count])
        raise RetryLater("the client went away")

    transfer = service.submit(header(resume=resume), cut())
    told.append(next(transfer).received)
    with pytest.raises(RetryLater):
        list(transfer)
    return told[0]


def finish(service: UploadService, count: int) -> None:
    list(service.submit(header(resume=True), chunks(FILE[count:])))
    wait_until_idle(service)


def test_a_name_is_had_by_one_until_it_lets_go(tmp_path: Path) -> None:
    mine, theirs = Claims(tmp_path), Claims(tmp_path)
    assert mine.take("a/b")
    assert not theirs.take("a/b")
    assert theirs.take("other")
    mine.release("a/b")
    assert theirs.take("a/b")
    theirs.release("a/b")
    theirs.release("other")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_had_is_free(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", TAKES, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == "True\n"
        assert not Claims(tmp_path).take("key")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    assert Claims(tmp_path).take("key")


def test_each_name_is_had_by_one_of_many_threads_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0

    def often(claims: Claims) -> None:
        nonlocal inside, most
        for _ in range(300):
            if claims.take("key"):
                inside += 1
                most = max(most, inside)
                inside -= 1
                claims.release("key")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(often, [Claims(tmp_path) for _ in range(4)]))
    assert most == 1


def test_a_file_that_one_receives_is_not_taken_by_the_other(world: World, one: UploadService, other: UploadService) -> None:
    transfer = one.submit(header(), chunks())
    assert next(transfer).upload.state is UploadState.RECEIVING
    assert isinstance(error_of(other), Elsewhere)
    list(transfer)
    world.assert_taken_once()


def test_a_cut_transfer_goes_on_wherever_its_client_comes_back(world: World, one: UploadService, other: UploadService) -> None:
    assert begin(one, 50) == 0
    assert begin(other, 120) == 50
    assert begin(one, 200) == 120
    finish(other, 200)
    world.assert_taken_once()


def test_a_checksum_is_not_that_of_bytes_which_another_process_replaced(
    world: World, one: UploadService, other: UploadService
) -> None:
    begin(one, 100)
    begin(other, 100, b"x" * len(FILE), resume=False)
    with pytest.raises(BadFile, match="checksum"):
        finish(one, 100)
    assert not world.offline.rows()


def test_starting_beside_another_ends_nothing_that_arrives_there(
    world: World, one: UploadService, other: UploadService
) -> None:
    announced = one._announced(header())
    job, _ = one._jobs.claim("key", lambda: Job(announced))
    world.offline.begin_upload(announced)  # and not a byte so far
    other.resume_unfinished()
    wait_until_idle(other)
    assert world.only_upload().state is UploadState.RECEIVING
    one._jobs.leave(job)
    other.resume_unfinished()
    wait_until_idle(other)
    assert world.only_upload().state is UploadState.FAILED


def test_a_file_that_another_works_on_is_followed_to_its_end(world: World, one: UploadService, other: UploadService) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def before(method: str) -> None:
        if method == "commit_upload":
            reached.set()
            assert go_on.wait(30)

    world.offline.before = before
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, one)
        assert reached.wait(30)
        followed = other.submit(header(), chunks())
        assert next(followed).upload.state is UploadState.PROCESSING
        go_on.set()
        *_, last = followed
        assert last.upload.state is UploadState.DONE
        assert sending.result(30)[-1].upload.state is UploadState.DONE
    world.assert_taken_once()


def test_one_cancels_what_the_other_receives(world: World, one: UploadService, other: UploadService) -> None:
    transfer = one.submit(header(), chunks())
    upload_id = next(transfer).upload.upload_id
    assert other.cancel(upload_id).state is UploadState.CANCELLED
    *_, last = transfer
    assert last.upload.state is UploadState.CANCELLED
    assert not world.offline.rows()


def test_one_leaves_alone_what_the_other_has_in_its_hands(world: World, one: UploadService, other: UploadService) -> None:
    transfer = one.submit(header(), chunks())
    next(transfer)
    world.waits_seconds(world.config.resume_s + 1)
    other.tidy()
    assert world.part().exists()
    list(transfer)
    world.assert_taken_once()


def test_a_start_clears_checks_of_the_dead_and_not_of_the_living(world: World, one: UploadService) -> None:
    folder = Path(world.config.spool, "checks")
    (folder / "dead.part").write_bytes(b"x")

    def meanwhile() -> Iterator[bytes]:
        yield FILE[:50]
        world.service().close()
        yield FILE[50:]

    *_, last = one.check(header(), meanwhile())
    assert not (folder / "dead.part").exists()
    assert last.done
    assert not last.error
    assert not list(folder.iterdir())
