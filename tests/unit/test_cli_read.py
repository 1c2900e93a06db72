"""Files that `raytide get-historical` reads and writes: what goes wrong is a sentence, not a traceback."""

from pathlib import Path

import pyarrow as pa
import pytest

from cluster.errors import Misconfigured
from raytide import cli_read


@pytest.mark.parametrize(
    ("name", "content"), [("rows.csv", b""), ("rows.parquet", b"user_id\nuser_1\n"), ("rows.parquet", b"")]
)
def test_rows_that_are_not_a_table_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=rf"{name} cannot be read as .*event_timestamp"):
        cli_read.get_historical(path, ["order"], address="127.0.0.1:1")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_answer_goes_where_it_was_sent_or_the_place_is_named(tmp_path: Path, suffix: str) -> None:
    answer = pa.table({"user_id": ["user_1"], "amount": [1.5]})
    path = tmp_path / f"answer.{suffix}"
    cli_read._write(answer, path)
    assert cli_read._read(path) == answer
    with pytest.raises(Misconfigured, match=rf"answer.{suffix} cannot be written .*--out"):
        cli_read._write(answer, tmp_path / "nowhere" / path.name)
