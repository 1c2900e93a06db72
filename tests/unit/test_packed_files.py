"""Packed files are split into the same pieces as plain ones, or refused as a whole; and the CSV option `null`."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.config import IngestConfig
from cluster.errors import BadFile
from cluster.ingest.files.csv_again import around, piece_of
from cluster.ingest.files.decoder import compile_file_decoder
from cluster.ingest.files.unpack import opened
from cluster.ingest.split import Compression, Format, Piece, SplitOptions, layout_of, split
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, FileSource, Long, Wide

SOURCE = FileSource("features", Long())
CSV = b"entity_id,feature_name,value,event_timestamp\n" + b"".join(b'"u\n%d",age,%d,2024-05-01\n' % (n, n) for n in range(200))
JSONL = b"".join(b'{"entity_id":"u%d","feature_name":"age","value":1,"event_timestamp":"2024-05-01"}\n' % n for n in range(99))
LONG_LINE = CSV + b"u," + b"x" * 5000 + b",1,2024-05-01\n" + b"u9,age,1,2024-05-01\n"


def zstd(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


Pack = Callable[[bytes], bytes]
PACKS: list[tuple[Compression, Pack]] = [(Compression.GZIP, gzip.compress), (Compression.ZSTD, zstd)]
packed_both_ways = pytest.mark.parametrize(("compression", "pack"), PACKS, ids=["gzip", "zstd"])


def options(compression: Compression = Compression.NONE, most: int = 2**40) -> SplitOptions:
    return SplitOptions(layout_of(SOURCE), 300, 2000, compression=compression, max_unpacked_bytes=most)


def pieces(tmp_path: Path, content: bytes, options_: SplitOptions, format_: Format = Format.CSV) -> list[Piece]:
    file = tmp_path / "file"
    file.write_bytes(content)
    return list(split(file, format_, options_))


def refusal(tmp_path: Path, content: bytes, options_: SplitOptions, format_: Format = Format.CSV) -> str:
    with pytest.raises(BadFile) as caught:
        pieces(tmp_path, content, options_, format_)
    return str(caught.value)


@packed_both_ways
@pytest.mark.parametrize(
    ("content", "format_"),
    [(CSV, Format.CSV), (JSONL, Format.JSONL), (LONG_LINE, Format.CSV), (b"\xef\xbb\xbf" + CSV, Format.CSV)],
)
def test_pieces_are_those_of_the_plain_file(
    tmp_path: Path, compression: Compression, pack: Pack, content: bytes, format_: Format
) -> None:
    plain = pieces(tmp_path, content, options(), format_)
    assert len(plain) > 5
    for packed in (pack(content), pack(content[:500]) + pack(b"") + pack(content[500:])):
        assert pieces(tmp_path, packed, options(compression), format_) == plain


@packed_both_ways
def test_every_truncation_is_refused_by_name(tmp_path: Path, compression: Compression, pack: Pack) -> None:
    whole = pack(CSV[:600])
    magic = 2 if compression is Compression.GZIP else 4
    for length in range(magic, len(whole)):
        assert f"the {compression} file is cut off" in refusal(tmp_path, whole[:length], options(compression))


def test_damaged_bytes_are_refused_by_name(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(CSV))
    packed[-6] ^= 255  # its checksum
    assert "the gzip file is damaged" in refusal(tmp_path, bytes(packed), options(Compression.GZIP))
    assert "the zstd file is damaged" in refusal(tmp_path, zstd(CSV) + b"more", options(Compression.ZSTD))


@pytest.mark.parametrize(
    ("content", "compression", "text"),
    [
        (CSV, Compression.GZIP, "sent with compression gzip, but it is not packed so"),
        (zstd(CSV), Compression.GZIP, "sent with compression gzip, but it is packed with zstd"),
        (gzip.compress(CSV), Compression.ZSTD, "but it is packed with gzip: name the right compression"),
        (gzip.compress(b""), Compression.GZIP, "empty once it is unpacked"),
        (b"", Compression.GZIP, "empty (0 bytes)"),
        (gzip.compress(CSV), Compression.NONE, "not csv but gzip: send it with compression gzip"),
        (zstd(CSV), Compression.NONE, "not csv but zstd: send it with compression zstd"),
        (gzip.compress(b"PAR1abc"), Compression.GZIP, "is Parquet but was sent as csv"),
        (gzip.compress(b"a,b\n"), Compression.GZIP, "no column 'entity_id'"),
    ],
)
def test_a_file_that_is_not_what_it_is_said_to_be_is_named(
    tmp_path: Path, content: bytes, compression: Compression, text: str
) -> None:
    assert text in refusal(tmp_path, content, options(compression))


@packed_both_ways
def test_what_a_file_unpacks_to_is_bounded(tmp_path: Path, compression: Compression, pack: Pack) -> None:
    assert pieces(tmp_path, pack(CSV), options(compression, len(CSV))) == pieces(tmp_path, CSV, options())
    text = refusal(tmp_path, pack(CSV), options(compression, len(CSV) - 1))
    assert f"unpacks to more than {len(CSV) - 1} bytes (uploads.max_bytes)" in text


@packed_both_ways
def test_a_file_that_unpacks_to_much_is_read_as_it_is_wanted(tmp_path: Path, compression: Compression, pack: Pack) -> None:
    bomb = CSV + b"\n" * 50_000_000
    (tmp_path / "file").write_bytes(pack(bomb))
    before = pa.total_allocated_bytes()
    with opened(tmp_path / "file", options(compression)) as source:
        assert source.read(len(CSV)) == CSV
        assert pa.total_allocated_bytes() - before < 5_000_000
        source.skip(49_999_999)
        assert (source.at_end(), source.read(10), source.at_end()) == (False, b"\n", True)


# ---- the option `null`

ORDERS = FileSource(
    "orders",
    Wide(
        "user_id", "at", (Field("amount", optional=True), Field("note", DType.STRING, optional=True), Field("n", DType.INT64))
    ),
)
CATALOG = build("demo", [FeatureView("order", Entity("user", "user_id"), ORDERS, [Field("amount")])])
ROWS = (
    b"user_id,at,amount,note,n\n"
    b"u0,2024-05-01,NA,NA,1\n"
    b'u1,2024-05-01,2,"NA",1\n'
    b"u2,2024-05-01,,NAN,1\n"
    b"NA,2024-05-01,1,x,1\n"
    b"u4,2024-05-01,1,x,NA\n"
)


def test_an_unquoted_text_stands_for_no_value(tmp_path: Path) -> None:
    (piece,) = pieces(tmp_path, ROWS, replace(options(), layout=layout_of(ORDERS), null="NA"))
    decoded = compile_file_decoder(ORDERS, CATALOG, IngestConfig(), Format.CSV)(piece, 0, 2**60)
    assert decoded.events.columns["amount"].to_pylist() == [None, 2.0, None]
    assert decoded.events.columns["note"].to_pylist() == [None, "NA", "NAN"]
    assert [(r.position, r.reason) for r in decoded.rejected] == [(3, "missing_field"), (4, "missing_field")]
    plain = replace(piece, null="")
    assert len(compile_file_decoder(ORDERS, CATALOG, IngestConfig(), Format.CSV)(plain, 0, 2**60).rejected) == 2


def test_a_rejected_row_is_read_again_with_its_text_for_no_value(tmp_path: Path) -> None:
    (piece,) = pieces(tmp_path, ROWS, replace(options(), layout=layout_of(ORDERS), null="NA"))
    decode = compile_file_decoder(ORDERS, CATALOG, IngestConfig(), Format.CSV)
    rejected = decode(piece, 0, 2**60).rejected
    again = piece_of([r.payload or b"" for r in rejected], rejected[0].headers)
    assert (again.null, [r.reason for r in decode(again, 0, 2**60).rejected]) == ("NA", ["missing_field"] * 2)
    assert dict(around(replace(piece, null=""))).keys() == {"csv-columns", "csv-delimiter"}
