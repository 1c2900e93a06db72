"""Text files that are wrong as a whole, text files that look wrong and are not, and headers that are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Iterator

import pyarrow as pa

from cluster.errors import NotFound, Refused
from tests.bad_files import case
from tests.bad_files.case import (
    Case,
    Done,
    Failed,
    Reject,
    csv,
    csv_header,
    csv_line,
    good_rows,
    goods,
    json_line,
    jsonl,
    parquet,
)
from tests.bad_files.world import good

BOM = b"\xef\xbb\xbf"
HEADER = csv_header("features")
CSV_LINES = [csv_line(record) for record in goods("features", 3)]
JSON_LINES = [json_line(record) for record in goods("features", 3)]
CSV_FILE, JSON_FILE = csv(CSV_LINES), jsonl(JSON_LINES)
PARQUET_FILE = parquet(pa.Table.from_pylist(goods("features", 3)))
ALL = Done(good_rows("features", range(3)))
NOTHING = Done()


def cases() -> Iterator[Case]:
    """Yield them."""
    for name, content, text in HEADERS:
        yield Case(f"csv-header:{name}", "csv", content, Failed(text))
    for name, format_, content, text in KINDS:
        yield Case(f"{format_}-kind:{name}", format_, content, Failed(text))
    for name, format_, content, expected in TOLERATED:
        yield Case(f"{format_}:{name}", format_, content, expected)
    for delimiter in ",;|\t":
        lines = [csv_line({**record, "score;|\t": ";|\t,"}, delimiter) for record in goods("features", 3)]
        quoted = b'"more"'.join([csv_header("features", delimiter) + delimiter.encode(), b""])
        content = b"\n".join([quoted, *(_all_quoted(line, delimiter) for line in lines)])
        yield Case(f"csv:delimiter {delimiter!r}", "csv", content, ALL, options={"delimiter": delimiter})
    strict = csv([csv_line(good("strict", 0)) + b",1"], "strict").replace(b"known_at", b"known_at,more")
    yield Case("csv-header:strict", "csv", strict, Failed("strict and does not know the column 'more'"), "strict")
    yield from _refused()


def _all_quoted(line: bytes, delimiter: str) -> bytes:
    """Return a line whose last cell, which holds every delimiter, is quoted."""
    *cells, _ = line.split(delimiter.encode(), 4)
    return delimiter.encode().join([*cells, b'";|\t,"'])


HEADERS = [
    ("empty file", b"", "empty (0 bytes)"),
    ("only blank lines", b"\n\r\n\n", "header, the CSV file's first line, is missing"),
    ("only a byte order mark", BOM, "header, the CSV file's first line, is missing"),
    ("no header", b"\n".join(CSV_LINES), "no column 'entity_id', 'feature_name', 'value', 'event_timestamp'"),
    ("one column missing", CSV_FILE.replace(b"value", b"worth"), "no column 'value'"),
    ("all columns missing", b"a,b\n1,2\n", "the file has 'a', 'b'"),
    ("another case", HEADER.upper() + b"\n", "'ENTITY_ID' looks like 'entity_id'"),
    ("a space before the name", CSV_FILE.replace(b",value", b", value"), "' value' looks like 'value'"),
    ("a misspelt name", CSV_FILE.replace(b"value", b"valeu"), "'valeu' looks like 'value'"),
    ("a column twice", CSV_FILE.replace(HEADER, HEADER + b",value"), "more than one column 'value'"),
    ("an unwanted column twice", CSV_FILE.replace(HEADER, HEADER + b",x,x"), "more than one column 'x'"),
    ("another delimiter", CSV_FILE.replace(b",", b";"), "with a semicolon as the delimiter"),
    ("tabs", CSV_FILE.replace(b",", b"\t"), "with a tab as the delimiter"),
    ("all in quotes", b'"' + HEADER + b'"\n', "the file has 'entity_id,feature_name,value,event_times'"),
    ("an open quote", b'"' + CSV_FILE, "misplaced quotes"),
    ("a quote inside", CSV_FILE.replace(b"value", b'va"lue'), "misplaced quotes"),
    ("a NUL byte", CSV_FILE.replace(b"value", b"va\0lue"), "NUL bytes"),
    ("not UTF-8", CSV_FILE.replace(b"value", b"valu\xe9"), "not UTF-8"),
    ("too long", b"x" * 3000 + b"," + CSV_FILE, "longer than 2000 bytes"),
    ("UTF-16", CSV_FILE.decode().encode("utf-16"), "UTF-16 text: save it as UTF-8"),
    ("UTF-16 big endian", "\ufeff".encode("utf-16-be") + CSV_FILE.decode().encode("utf-16-be"), "UTF-16 text"),
    ("UTF-16 without a mark", CSV_FILE.decode().encode("utf-16-le"), "save the file as UTF-8"),
    ("UTF-32", CSV_FILE.decode().encode("utf-32"), "UTF-16 text: save it as UTF-8"),
    ("binary", bytes(range(256)) * 4, "the CSV file"),
    ("a comment first", b"# export\n" + CSV_FILE, "the file has '# export'"),
    ("HTML", b"<!DOCTYPE html>\n<html></html>\n", "no column 'entity_id'"),
]


def _zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return sink.getvalue()


PACKED = {
    "gzip": (gzip.compress(CSV_FILE, mtime=0), "unpack it first"),
    "zstd": (pa.compress(CSV_FILE, "zstd", asbytes=True), "unpack it first"),
    "bzip2": (bz2.compress(CSV_FILE), "bzip2: unpack it first"),
    "xz": (lzma.compress(CSV_FILE), "xz: unpack it first"),
    "xlsx": (_zip(), "a zip archive or spreadsheet"),
    "arrow": (b"ARROW1\0\0" + bytes(40), "an Arrow file: write it as Parquet"),
    "orc": (b"ORC" + bytes(40), "ORC: write it as Parquet"),
}
KINDS = [
    *((name, format_, content, text) for name, (content, text) in PACKED.items() for format_ in ("csv", "jsonl", "parquet")),
    ("empty file", "jsonl", b"", "empty (0 bytes)"),
    ("empty file", "parquet", b"", "empty (0 bytes)"),
    ("parquet", "csv", PARQUET_FILE, "is Parquet but was sent as csv"),
    ("parquet", "jsonl", PARQUET_FILE, "is Parquet but was sent as jsonl"),
    ("csv", "parquet", CSV_FILE, "is not Parquet but perhaps CSV or JSON Lines"),
    ("jsonl", "parquet", JSON_FILE, "is not Parquet but perhaps CSV or JSON Lines"),
    ("jsonl", "csv", JSON_FILE, "looks like JSON Lines but was sent as csv"),
    ("jsonl after blanks", "csv", BOM + b"\n " + JSON_FILE, "looks like JSON Lines but was sent as csv"),
    ("array", "jsonl", b"[\n" + b",\n".join(JSON_LINES) + b"\n]\n", "the file is an array of JSON"),
    ("array of one", "jsonl", b"[\n" + JSON_LINES[0] + b"\n]", "the file is an array of JSON"),
    ("array with its brackets beside", "jsonl", b"[" + b",\n".join(JSON_LINES) + b"]", "the file is an array of JSON"),
    ("array on one line", "jsonl", b"[" + b", ".join(JSON_LINES) + b"]\n", "the file is an array of JSON"),
    ("long array on one line", "jsonl", b"[" + b", ".join(JSON_LINES * 500) + b"]", "the file is an array of JSON"),
    ("array, printed nicely", "jsonl", json.dumps(goods("features", 3), indent=2).encode(), "the file is an array of JSON"),
    ("objects, printed nicely", "jsonl", json.dumps(good("features", 0), indent=2).encode(), "an object over several lines"),
    ("UTF-16", "jsonl", JSON_FILE.decode().encode("utf-16"), "UTF-16 text"),
    ("UTF-16 without a mark", "jsonl", JSON_FILE.decode().encode("utf-16-le"), "UTF-16 text"),
    ("UTF-16 big endian without a mark", "jsonl", JSON_FILE.decode().encode("utf-16-be"), "UTF-16 text"),
    ("a few bytes", "parquet", b"PAR1PAR1", "is cut off, its end is missing"),
    ("one byte", "parquet", b"P", "is not Parquet but perhaps"),
    ("nothing between", "parquet", b"PAR1" + bytes(20) + b"PAR1", "damaged and cannot be read"),
    ("encrypted", "parquet", b"PARE" + bytes(40) + b"PARE", "is encrypted"),
]


def _rejected(reason: str, lines: list[bytes]) -> Done:
    return Done(rejects=[Reject(position, reason, line) for position, line in enumerate(lines)])


TOLERATED = [
    ("a header alone", "csv", HEADER, NOTHING),
    ("a header and blank lines", "csv", b"\n" + HEADER + b"\r\n\n\n", NOTHING),
    ("no line end at the end", "csv", CSV_FILE.rstrip(), ALL),
    ("a byte order mark", "csv", BOM + CSV_FILE, ALL),
    ("CRLF", "csv", CSV_FILE.replace(b"\n", b"\r\n"), ALL),
    ("CR", "csv", CSV_FILE.replace(b"\n", b"\r"), ALL),
    ("every line end", "csv", HEADER + b"\r" + CSV_LINES[0] + b"\n" + CSV_LINES[1] + b"\r\n" + CSV_LINES[2], ALL),
    ("blank lines between", "csv", b"\n" + CSV_FILE.replace(b"\n", b"\n\r\n\r"), ALL),
    ("all quoted", "csv", b"".join(b'"' + line.replace(b",", b'","') + b'"\n' for line in CSV_FILE.splitlines()), ALL),
    (
        "a column without a name",
        "csv",
        b"," + CSV_FILE.replace(b"\n", b"\n0,", 3),
        ALL,
    ),
    ("one more column", "csv", CSV_FILE.replace(b"\n", b',"a\r\n""b"""\n').replace(b',"a\r\n""b"""', b",more", 1), ALL),
    ("other order", "csv", b"".join(b",".join(reversed(line.split(b","))) + b"\n" for line in CSV_FILE.splitlines()), ALL),
    (
        "ragged rows between blank lines",
        "csv",
        csv([b"", b"u", b"", CSV_LINES[1], b"", b"x,y", CSV_LINES[1].replace(b"u1", b"u3")]),
        Done(good_rows("features", [1, 3]), [Reject(0, "malformed_row", b"u"), Reject(2, "malformed_row", b"x,y")]),
    ),
    ("bad rows only", "csv", csv([b"u,age"] * 3), _rejected("malformed_row", [b"u,age"] * 3)),
    ("blank lines alone", "jsonl", b"\n \t\r\n\n", NOTHING),
    ("a byte order mark alone", "jsonl", BOM, NOTHING),
    ("a byte order mark", "jsonl", BOM + JSON_FILE, ALL),
    ("CRLF and blank lines", "jsonl", JSON_FILE.replace(b"\n", b"\r\n \r\n"), ALL),
    ("no line end at the end", "jsonl", JSON_FILE.rstrip(), ALL),
    ("fields of no interest", "jsonl", JSON_FILE.replace(b"{", b'{"more": {"a": [null]}, '), ALL),
    ("a name twice", "jsonl", JSON_FILE.replace(b"}", b', "value": 1.5}').replace(b'"value": 1.5, ', b'"value": 9, '), ALL),
    (
        "a bad array first",
        "jsonl",
        b"[1, 2]\n" + b"\n".join(JSON_LINES[1:]),
        Done(good_rows("features", [1, 2]), [Reject(0, "not_an_object", b"[1, 2]")]),
    ),
    (
        "a bracket alone first",
        "jsonl",
        b"[\n" + b"\n".join(JSON_LINES[1:]),
        Done(good_rows("features", [1, 2]), [Reject(0, "malformed_json", b"[")]),
    ),
    (
        "a brace alone first",
        "jsonl",
        b"{\n" + b"\n".join(JSON_LINES[1:]),
        Done(good_rows("features", [1, 2]), [Reject(0, "malformed_json", b"{")]),
    ),
    ("CR is no line end", "jsonl", b"\r".join(JSON_LINES), _rejected("malformed_json", [b"\r".join(JSON_LINES)])),
    ("CSV", "jsonl", CSV_FILE, _rejected("malformed_json", CSV_FILE.splitlines())),
    (
        "binary",
        "jsonl",
        b"\x80\x81\n\0\0",
        Done(rejects=[Reject(0, "invalid_utf8", b"\x80\x81"), Reject(1, "malformed_json", b"\0\0")]),
    ),
]


def _refused() -> Iterator[Case]:
    """Yield files whose header is refused, before a byte of them is read."""
    refused = case.Refused
    yield Case("header:unknown format", "xml", CSV_FILE, refused("format: 'xml'", Refused))
    yield Case("header:format in capitals", "CSV", CSV_FILE, refused("format: 'CSV'", Refused))
    yield Case("header:unknown source", "csv", CSV_FILE, refused("did you mean 'features'", NotFound), "feature")
    for format_ in ("jsonl", "parquet"):
        text = f"{format_} has no option 'delimiter'"
        yield Case(f"header:delimiter for {format_}", format_, b"", refused(text, Refused), options={"delimiter": ";"})
    for name, mark in {"two": ",,", "none": "", "quote": '"', "line end": "\n", "letter": "a"}.items():
        text = "delimiter must be one of"
        yield Case(f"header:delimiter {name}", "csv", CSV_FILE, refused(text, Refused), options={"delimiter": mark})
    yield Case("header:unknown option", "csv", CSV_FILE, refused("no option 'quote'", Refused), options={"quote": "'"})
