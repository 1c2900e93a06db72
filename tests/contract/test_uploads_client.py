"""The client's half of files, against a gateway in memory that cuts, refuses and fails on request."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from featurestore.v1 import ingest_pb2

from cluster.errors import BadFile, NotFound, Refused, RetryLater, Unreachable
from cluster.gateway.arrow import CHUNK_BYTES
from cluster.stores.ports import UploadState
from raytide import perseverance
from raytide.answers import CheckView, RejectedRowView, UploadProgressView
from raytide.client import RaytideClient
from raytide.perseverance import Breaking, Contact, Perseverance
from tests.upload_gateway import CANCELLED, DONE, FAILED, PROCESSING, RECEIVING, Kept, Trouble, UploadGateway, serving

AWAY = grpc.StatusCode.UNAVAILABLE
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseverance, "LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def gateway() -> UploadGateway:
    return UploadGateway()


@pytest.fixture
def client(gateway: UploadGateway) -> Iterator[RaytideClient]:
    with serving(gateway) as address, RaytideClient(address, timeout_s=20) as connected:
        yield connected


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    path.write_bytes(os.urandom(3 * MIB + 5))
    return path


def content_of(gateway: UploadGateway) -> bytes:
    (kept,) = gateway.kept.values()
    return bytes(kept.content)


# ---- sent


def test_a_file_arrives_in_chunks_and_its_words_are_told(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    seen: list[UploadProgressView] = []
    done = client.upload_file(file, source="orders", progress=seen.append)
    assert content_of(gateway) == file.read_bytes()
    assert set(gateway.chunk_sizes[:-1]) == {CHUNK_BYTES}
    assert (done.state, done.rows, done.rejected, done.original_kept) == (UploadState.DONE, 9, 1, True)
    assert [view.upload.state for view in seen[-2:]] == [UploadState.PROCESSING, UploadState.DONE]
    last = seen[-1]
    assert (last.received, last.size) == (file.stat().st_size, file.stat().st_size)
    assert (last.pieces_total, last.pieces_done, last.pieces_split) == (2, 2, 2)
    assert (last.rows_validated, last.rows_rejected, last.values_online) == (9, 1, 4)


def test_what_is_asked_for_is_in_the_header(gateway: UploadGateway, client: RaytideClient, tmp_path: Path) -> None:
    path = tmp_path / "orders.txt"
    path.write_bytes(b"a;b\n")
    client.upload_file(
        path,
        source="orders",
        format="csv",
        compression="zstd",
        delimiter=";",
        null="NULL",
        max_rejects=3,
        max_reject_share=0.5,
        idempotency_key="k",
    )
    (header,) = gateway.headers
    assert (header.name, header.source, header.idempotency_key, header.resume) == ("orders.txt", "orders", "k", True)
    assert (header.format, header.compression) == (ingest_pb2.FILE_FORMAT_CSV, ingest_pb2.COMPRESSION_ZSTD)
    assert dict(header.options) == {"delimiter": ";", "null": "NULL"}
    assert (header.max_rejects, header.max_reject_share) == (3, 0.5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "CSV NONE"),
        ("a.CSV.GZ", "CSV GZIP"),
        ("a.jsonl.zst", "JSONL ZSTD"),
        ("a.b.ndjson", "JSONL NONE"),
        ("a.parquet", "PARQUET NONE"),
    ],
)
def test_suffixes_say_what_a_file_is(
    gateway: UploadGateway, client: RaytideClient, tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    client.upload_file(tmp_path / name, source="orders", delimiter="|")
    (header,) = gateway.headers
    format_, compression = kind.split()
    assert header.format == ingest_pb2.FileFormat.Value(f"FILE_FORMAT_{format_}")
    assert header.compression == ingest_pb2.Compression.Value(f"COMPRESSION_{compression}")
    assert dict(header.options) == ({"delimiter": "|"} if format_ == "CSV" else {})
    assert not header.HasField("max_rejects")
    assert not header.HasField("max_reject_share")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compression": "zip"}, "compression 'zip' is not known.*none, gzip, zstd"),
        ({"format": "xml"}, "format 'xml' is not known.*csv, parquet, jsonl"),
        ({"max_rejects": -1}, "max_rejects is -1"),
        ({"max_reject_share": 1.5}, "max_reject_share is 1.5"),
    ],
)
def test_options_that_make_no_sense_send_nothing(
    gateway: UploadGateway, client: RaytideClient, file: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        client.upload_file(file, source="orders", **options)  # type: ignore[arg-type] # some are wrong on purpose
    assert gateway.calls == []


def test_a_file_that_failed_or_was_cancelled_is_returned(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    gateway.end = (FAILED, "column amount is missing")
    failed = client.upload_file(file, source="orders")
    assert (failed.state, failed.error) == (UploadState.FAILED, "column amount is missing")
    gateway.end = (CANCELLED, "")
    assert client.upload_file(file, source="orders").state is UploadState.CANCELLED


def test_the_same_file_again_is_not_sent_again(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    first = client.upload_file(file, source="orders")
    chunks = len(gateway.chunk_sizes)
    assert client.upload_file(file, source="orders") == first
    assert len(gateway.chunk_sizes) == chunks


# ---- cut


def test_a_cut_transfer_goes_on_where_it_stopped(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    gateway.cut_at = [MIB, MIB, 2 * MIB]
    done = client.upload_file(file, source="orders")
    assert done.state is UploadState.DONE
    assert content_of(gateway) == file.read_bytes()
    assert gateway.calls == ["UploadFile"] * 4
    assert sum(gateway.chunk_sizes) == file.stat().st_size, "no byte was sent twice"


def test_a_transfer_of_a_program_that_died_goes_on(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    gateway.cut_at = [MIB]
    with pytest.raises(RetryLater):
        client.upload_file(file, source="orders", patience_s=0)
    assert client.upload_file(file, source="orders").state is UploadState.DONE
    assert sum(gateway.chunk_sizes) == file.stat().st_size


def test_a_call_that_breaks_after_the_last_chunk_is_followed_by_watching(
    gateway: UploadGateway, client: RaytideClient, file: Path
) -> None:
    gateway.cut_after_all = [Trouble(AWAY), Trouble(grpc.StatusCode.CANCELLED)]
    assert client.upload_file(file, source="orders").state is UploadState.DONE
    assert gateway.calls == ["UploadFile", "WatchUpload", "WatchUpload"]


@pytest.mark.parametrize(
    "refusal",
    [
        RetryLater("8 transfers at once (uploads.concurrent)"),
        Trouble(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"),
        Trouble(AWAY),
    ],
)
def test_a_busy_gateway_is_asked_again(gateway: UploadGateway, client: RaytideClient, file: Path, refusal: Exception) -> None:
    gateway.refusals = [refusal, refusal]
    assert client.upload_file(file, source="orders").state is UploadState.DONE
    assert gateway.calls == ["UploadFile"] * 3


def test_a_refusal_is_not_asked_again(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    gateway.refusals = [NotFound("header.source: unknown")]
    with pytest.raises(NotFound, match="unknown"):
        client.upload_file(file, source="orders")
    assert gateway.calls == ["UploadFile"]


def test_a_gateway_that_restarts_is_waited_for(gateway: UploadGateway, file: Path) -> None:
    gateway.cut_at = [MIB]
    cut = threading.Event()
    gateway.at_chunk = lambda kept: cut.set() if len(kept.content) >= MIB else None
    done: list[UploadState] = []
    with serving(gateway) as address:
        client = RaytideClient(address)
        thread = threading.Thread(target=lambda: done.append(client.upload_file(file, source="orders").state))
        thread.start()
        assert cut.wait(20)
    with serving(gateway, int(address.rpartition(":")[2])):
        thread.join(60)
        client.close()
    assert done == [UploadState.DONE]
    assert sum(gateway.chunk_sizes) == file.stat().st_size


def test_nobody_at_an_address_is_soon_said(file: Path) -> None:
    with serving(UploadGateway()) as address:
        pass
    with RaytideClient(address) as client, pytest.raises(Unreachable, match="no gateway answers"):
        client.upload_file(file, source="orders", patience_s=1e9)


def test_patience_ends_without_getting_further_and_begins_anew_with_it() -> None:
    now = [0.0]
    attempts = Perseverance(10, Contact(lambda: now[0]), Breaking())
    reached = iter([(0, 0), (5, 0), (5, 0), (5, 0), (5, 0)])
    tried = []
    with pytest.raises(RetryLater):  # noqa: PT012 - the attempts are the test
        for attempt in attempts.attempts():
            with attempt:
                tried.append(now[0])
                attempts.heard(next(reached))
                now[0] += 6
                raise RetryLater("cut")
    assert tried == [0, 6, 12, 18], "from the second on it got no further, which is known since 12"


def test_a_file_that_waits_behind_others_is_patient_while_these_get_further() -> None:
    now = [0.0]
    contact = Contact(lambda: now[0])
    others = iter(range(1, 4))
    other, waiting = Perseverance(10, contact, Breaking()), Perseverance(10, contact, Breaking())
    tried = []
    with pytest.raises(RetryLater):  # noqa: PT012 - the attempts are the test
        for attempt in waiting.attempts():
            with attempt:
                tried.append(now[0])
                other.heard((next(others, 3), 0))
                now[0] += 6
                raise RetryLater("8 files are being received already")
    assert tried == [0, 6, 12, 18], "the others stopped at 12, and from then on it waited for 10 seconds"


def test_a_closed_client_says_so(client: RaytideClient, file: Path) -> None:
    client.close()
    with pytest.raises(Refused, match="closed by this program"):
        client.upload_file(file, source="orders")


# ---- changed


def test_a_file_that_changes_while_it_is_sent_is_an_error(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    def append(kept: Kept) -> None:
        if len(kept.content) == CHUNK_BYTES:
            with file.open("ab") as stream:
                stream.write(b"one more row")

    gateway.at_chunk = append
    file.write_bytes(os.urandom(16 * MIB))  # more than what is on its way at once
    with pytest.raises(BadFile, match=r"orders\.csv changed while it was sent.*send it again"):
        client.upload_file(file, source="orders")
    (kept,) = gateway.kept.values()
    assert kept.upload.state == RECEIVING


def test_a_file_that_changes_between_two_attempts_is_an_error(
    gateway: UploadGateway, client: RaytideClient, file: Path
) -> None:
    def shorten(kept: Kept) -> None:
        if len(kept.content) >= MIB:
            os.truncate(file, MIB)

    gateway.cut_at, gateway.at_chunk = [MIB], shorten
    with pytest.raises(BadFile, match="changed while it was sent"):
        client.upload_file(file, source="orders")


# ---- several


def test_several_files_go_at_once_and_come_back_in_order(gateway: UploadGateway, client: RaytideClient, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.csv" for number in range(8)]
    for path in paths:
        path.write_bytes(path.name.encode())
    together = threading.Barrier(3)

    def meet(kept: Kept) -> None:
        if kept.upload.name in {"0.csv", "1.csv", "2.csv"}:
            together.wait(20)

    gateway.at_chunk = meet
    told: set[str] = set()
    results = list(client.upload_files(paths, source="orders", parallel=3, progress=lambda path, _view: told.add(path.name)))
    assert [result.path for result in results] == paths
    assert all(result.done and not result.why for result in results)
    assert told == {path.name for path in paths}
    assert gateway.most_at_once == 3


def test_a_file_that_fails_does_not_stop_the_others(gateway: UploadGateway, client: RaytideClient, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a")
    (tmp_path / "c.csv").write_bytes(b"c")
    gateway.refusals = [NotFound("header.source: unknown")]
    first, second, third = client.upload_files(
        [tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv"], source="orders", parallel=1
    )
    assert (first.done, first.upload, first.why) == (False, None, "header.source: unknown")
    assert (second.done, "cannot be read" in second.why) == (False, True)
    assert third.done


def test_abandoned_files_are_broken_off_and_go_on_later(gateway: UploadGateway, client: RaytideClient, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a")
    large = tmp_path / "b.csv"
    large.write_bytes(os.urandom(16 * MIB))
    arrived = threading.Event()
    go_on = threading.Event()

    def hold(kept: Kept) -> None:
        if len(kept.content) >= MIB:
            arrived.set()
            go_on.wait(20)

    gateway.at_chunk = hold
    results = client.upload_files([tmp_path / "a.csv", large], source="orders", parallel=2)
    assert next(results).done
    assert arrived.wait(20)
    results.close()  # type: ignore[attr-defined] # a generator
    go_on.set()
    assert client.upload_file(large, source="orders").state is UploadState.DONE
    assert [kept.upload.state for kept in gateway.kept.values()] == [DONE, DONE]


def test_at_least_one_file_at_once(client: RaytideClient, file: Path) -> None:
    with pytest.raises(Refused, match="parallel is 0"):
        next(client.upload_files([file], source="orders", parallel=0))


# ---- tried out


def test_a_check_says_what_would_become_of_the_rows(gateway: UploadGateway, client: RaytideClient, file: Path) -> None:
    gateway.check = ingest_pb2.CheckFileResponse(
        rows=7,
        rejected=2,
        reasons={"bad_time": 2},
        examples=[ingest_pb2.RejectedRow(row=4, reason="bad_time", detail="'at' is no time", raw=b"a,\xff")],
        done=True,
        error="2 rows would be rejected, more than 1",
    )
    gateway.refusals = [Trouble(AWAY)]
    seen: list[CheckView] = []
    found = client.check_file(file, source="orders", max_rejects=1, progress=seen.append)
    assert gateway.checked == [file.read_bytes()]
    assert gateway.headers[0].max_rejects == 1
    assert gateway.kept == {}
    assert [view.done for view in seen] == [False, True]
    assert (found.rows, found.rejected, found.reasons) == (7, 2, {"bad_time": 2})
    assert found.examples == (RejectedRowView(4, "bad_time", "'at' is no time", b"a,\xff"),)
    assert found.error.startswith("2 rows would be rejected")


# ---- looked at, cancelled, done again


def test_a_file_is_watched_until_it_ends(gateway: UploadGateway, client: RaytideClient) -> None:
    gateway.add("u7", PROCESSING)
    gateway.cut_after_all = [Trouble(AWAY)]
    states = [view.upload.state for view in client.watch_upload("u7")]
    assert states == [UploadState.PROCESSING, UploadState.PROCESSING, UploadState.PROCESSING, UploadState.DONE]
    with pytest.raises(NotFound, match="'u8'"):
        list(client.watch_upload("u8"))


def test_a_file_is_cancelled_and_done_again(gateway: UploadGateway, client: RaytideClient) -> None:
    gateway.add("u7", PROCESSING)
    assert client.cancel_upload("u7").state is UploadState.CANCELLED
    assert client.get_upload("u7").state is UploadState.CANCELLED
    assert client.retry_upload("u7").state is UploadState.STORED
    assert [view.upload.state for view in client.watch_upload("u7")][-1] is UploadState.DONE
    with pytest.raises(Refused, match="did not fail"):
        client.retry_upload("u7")
    with pytest.raises(Refused, match="nothing to cancel"):
        client.cancel_upload("u7")
    assert [upload.upload_id for upload in client.list_uploads()] == ["u7"]
