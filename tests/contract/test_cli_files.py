"""What `raytide ingest` and `raytide uploads` say and with which code they end, against a gateway in memory."""

from __future__ import annotations

import io
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from featurestore.v1 import ingest_pb2
from rich.console import Console
from typer.testing import CliRunner, Result

from cluster.errors import BadFile, NotFound, RaytideError
from cluster.gateway.arrow import CHUNK_BYTES
from raytide import cli_file_bars
from raytide.cli import app
from raytide.cli_output import exit_code
from tests.upload_gateway import CANCELLED, DONE, FAILED, PROCESSING, Kept, UploadGateway, serving

Run = Callable[..., Result]


@pytest.fixture
def gateway() -> UploadGateway:
    return UploadGateway()


@pytest.fixture
def run(gateway: UploadGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "deep/c.jsonl.zst"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    with serving(gateway) as address:
        yield lambda *arguments: CliRunner().invoke(app, [*arguments, "--address", address])


def ingest(run: Run, *arguments: str) -> Result:
    return run("ingest", *arguments, "-s", "orders")


def refused(result: Result) -> str:
    """Return the sentence of an error that the command's `main` prints, ending with 2."""
    assert isinstance(result.exception, RaytideError)
    assert exit_code(result.exception) == 2
    return str(result.exception)


def test_one_file_is_one_line(run: Run) -> None:
    done = ingest(run, "a.csv")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "a.csv: DONE, 9 rows, 1 rejected (u1)\n", "")


def test_folders_and_patterns_end_with_a_sum(run: Run, gateway: UploadGateway) -> None:
    done = ingest(run, "*.csv", "deep", "--parallel", "1")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "a.csv: DONE, 9 rows, 1 rejected (u1)",
        "b.csv: DONE, 9 rows, 1 rejected (u2)",
        "deep/c.jsonl.zst: DONE, 9 rows, 1 rejected (u3)",
        "3 of 3 files are DONE: 27 rows, 3 rejected",
    ]
    assert [header.name for header in gateway.headers] == ["a.csv", "b.csv", "c.jsonl.zst"]


def test_options_reach_the_gateway(run: Run, gateway: UploadGateway) -> None:
    options = ("--compression", "none", "--delimiter", "tab", "--null", "NA", "--key", "k", "--max-rejects", "2.5%")
    assert ingest(run, "deep/c.jsonl.zst", "--format", "csv", *options).exit_code == 0
    (header,) = gateway.headers
    assert (header.format, header.compression) == (ingest_pb2.FILE_FORMAT_CSV, ingest_pb2.COMPRESSION_NONE)
    assert (dict(header.options), header.idempotency_key) == ({"delimiter": "\t", "null": "NA"}, "k")
    assert (header.HasField("max_rejects"), header.max_reject_share) == (False, 0.025)


def test_one_failure_among_several_ends_with_1_and_the_others_are_done(run: Run, gateway: UploadGateway) -> None:
    def spoil(kept: Kept) -> None:
        if kept.upload.name == "a.csv":
            kept.content[:] = b"other"

    gateway.at_chunk = spoil
    done = ingest(run, "a.csv", "b.csv")
    assert done.exit_code == 1
    assert done.stderr == "error: a.csv: sha256: differs\n"
    assert "a.csv: FAILED, 0 rows, 0 rejected" in done.stdout
    assert "1 of 2 files are DONE: 9 rows, 1 rejected" in done.stdout


def test_json_is_one_document_with_one_entry_for_each_file(run: Run, gateway: UploadGateway) -> None:
    Path("x[red].txt").write_text("x")
    done = ingest(run, "a.csv", "x[red].txt", "--json", "--parallel", "1")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["done"], found["failed"], found["rows"], found["rejected"]) == (1, 1, 1, 9, 1)
    first, second = found["files"]
    assert (first["path"], first["state"], first["upload_id"], first["error"]) == ("a.csv", "DONE", "u1", "")
    assert first["original_kept"] is True
    assert (second["path"], second["state"]) == ("x[red].txt", None)
    assert "suffix '.txt' is not known" in second["error"]
    assert len(gateway.headers) == 1


@pytest.mark.parametrize(("refusal", "code"), [(NotFound("header.source: unknown"), 2), (BadFile("size"), 1)])
def test_a_cause_that_stops_all_has_its_own_code(run: Run, gateway: UploadGateway, refusal: RaytideError, code: int) -> None:
    gateway.refusals = [refusal, refusal]
    done = ingest(run, "a.csv", "b.csv")
    assert done.exit_code == code
    assert done.stderr.count(str(refusal)) == 2


def test_wrong_use_sends_nothing_and_names_the_next_step(run: Run, gateway: UploadGateway) -> None:
    assert "correct the path" in refused(ingest(run, "a.csv", "gone.csv"))
    assert "with --format" in refused(ingest(run, "*.tsv"))
    assert "there are 2" in refused(ingest(run, "a.csv", "b.csv", "--key", "k"))
    assert "--max-rejects is '5%%'" in refused(ingest(run, "a.csv", "--max-rejects", "5%%"))
    assert gateway.headers == []


def test_ctrl_c_says_what_goes_on_and_how_to_end_it(run: Run, gateway: UploadGateway) -> None:
    interrupted = threading.Event()

    def interrupt(_kept: Kept) -> None:
        if not interrupted.is_set():
            interrupted.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            forever.wait(20)

    forever = threading.Event()
    gateway.at_chunk = interrupt
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    try:
        done = ingest(run, "a.csv")
    finally:
        signal.signal(signal.SIGINT, before)
        forever.set()
    assert done.exit_code == 130
    assert "a.csv is not all there: the same command goes on where it stopped" in done.stderr
    assert "raytide uploads cancel u1 drops it" in done.stderr


# ---- tried out


def test_a_dry_run_shows_counts_reasons_and_the_first_rejects(run: Run, gateway: UploadGateway) -> None:
    row = ingest_pb2.RejectedRow(row=4, reason="bad_time", detail="'[red]at' is no time", raw=b"user_1,\x1b[31m")
    gateway.check = ingest_pb2.CheckFileResponse(rows=7, rejected=2, reasons={"bad_time": 2}, examples=[row], done=True)
    done = ingest(run, "a.csv", "--dry-run")
    assert done.exit_code == 0
    assert "a.csv: 7 rows would be stored, 2 rejected" in done.stdout
    assert "'[red]at' is no time" in done.stdout
    assert "\x1b" not in done.stdout
    assert (gateway.kept, gateway.checked) == ({}, [b"a.csv"])
    found = json.loads(ingest(run, "a.csv", "--dry-run", "--json").stdout)
    assert (found["dry_run"], found["refused"], found["files"][0]["rows"]) == (True, 0, 7)
    assert found["files"][0]["reasons"] == {"bad_time": 2}
    assert found["files"][0]["examples"][0]["row"] == 4


def test_a_dry_run_ends_with_1_when_a_file_would_be_refused(run: Run, gateway: UploadGateway) -> None:
    gateway.check = ingest_pb2.CheckFileResponse(rejected=5, done=True, error="column amount is missing")
    done = ingest(run, "a.csv", "b.csv", "--dry-run")
    assert done.exit_code == 1
    assert done.stderr == "error: a.csv: column amount is missing\nerror: b.csv: column amount is missing\n"


# ---- uploads


def test_a_list_says_whether_the_original_is_kept(run: Run, gateway: UploadGateway) -> None:
    gateway.add("u7", DONE)
    gateway.add("u8", FAILED)
    gateway.kept["u7"].upload.original_kept = True
    found = json.loads(run("uploads", "list", "--json").stdout)
    assert [(upload["upload_id"], upload["original_kept"]) for upload in found] == [("u7", True), ("u8", False)]
    assert "kept" in run("uploads", "list").stdout
    assert json.loads(run("uploads", "show", "u8", "--json").stdout)["state"] == "FAILED"


def test_watch_ends_as_the_file_does(run: Run, gateway: UploadGateway) -> None:
    gateway.add("u7", PROCESSING)
    done = run("uploads", "watch", "u7")
    assert (done.exit_code, done.stdout) == (0, "old.csv: DONE, 9 rows, 1 rejected (u7)\n")
    gateway.add("u8", CANCELLED)
    assert run("uploads", "watch", "u8").exit_code == 1


def test_cancel_and_retry(run: Run, gateway: UploadGateway) -> None:
    gateway.add("u7", PROCESSING)
    done = run("uploads", "cancel", "u7")
    assert (done.exit_code, done.stdout) == (0, "old.csv: CANCELLED, 0 rows, 0 rejected (u7)\n")
    gateway.end = (FAILED, "column amount is missing")
    done = run("uploads", "retry", "u7")
    assert (done.exit_code, done.stderr) == (1, "error: column amount is missing\n")
    gateway.end = (DONE, "")
    assert json.loads(run("uploads", "retry", "u7", "--json").stdout)["state"] == "DONE"
    assert "did not fail" in refused(run("uploads", "retry", "u7"))


# ---- on a terminal


def test_bars_show_what_is_on_its_way_and_lines_come_after_them(
    run: Run, gateway: UploadGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=160)
    monkeypatch.setattr(cli_file_bars, "errors", terminal)
    shown: list[str] = []

    def look(_kept: Kept) -> None:
        shown.extend(task.description for task in made[0].tasks if task.visible)

    made = [cli_file_bars.bars()]
    monkeypatch.setattr(cli_file_bars, "bars", lambda: made[0])
    Path("[red]d.csv").write_bytes(b"d" * 3 * CHUNK_BYTES)
    gateway.at_chunk = look
    done = ingest(run, "[red]d.csv", "a.csv", "--parallel", "1")
    assert "2 files" in shown
    assert r"\[red]d.csv" in shown, "nothing of a name is taken for markup"
    assert not [task for task in made[0].tasks if task.description != "2 files"], "bars of files that ended are gone"
    assert made[0].tasks[0].completed == made[0].tasks[0].total
    assert done.stdout.splitlines()[-1] == "2 of 2 files are DONE: 18 rows, 2 rejected"
    assert len(done.stdout.splitlines()) == 3
