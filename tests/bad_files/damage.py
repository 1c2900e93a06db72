"""A Parquet file with one byte changed, for each of its bytes: in a process of its own, for Arrow may end it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster.errors import BadFile
from cluster.ingest.files.decoder import compile_file_decoder
from cluster.ingest.split import Format, SplitOptions, layout_of, split
from tests.bad_files.cut import PARQUET_FILE
from tests.bad_files.world import CATALOG, FEATURES, INGEST
from tests.file_world import NOW_US


def in_another_process(folder: Path) -> list[str]:
    """Return what became of each damaged file; fail if the process did not see all of them."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(folder / "damaged")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{len(done.stdout.split())} files were read, then: {done.stderr[-1000:]}"
    return done.stdout.split()


def outcome(file: Path) -> str:
    """Return `refused`, or `read` when each row is an event or a reject."""
    decode = compile_file_decoder(FEATURES, CATALOG, INGEST, Format.PARQUET)
    try:
        for piece in split(file, Format.PARQUET, SplitOptions(layout_of(FEATURES), 1 << 20, INGEST.max_record_bytes)):
            decoded = decode(piece, 0, NOW_US)
            assert len(decoded.events) + len(decoded.rejected) == piece.rows
    except BadFile:
        return "refused"
    return "read"


def main(file: Path) -> None:
    """Damage every byte, one after the other."""
    for at, byte in enumerate(PARQUET_FILE):
        file.write_bytes(PARQUET_FILE[:at] + bytes([byte ^ 0xFF]) + PARQUET_FILE[at + 1 :])
        sys.stdout.write(f"{outcome(file)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
