"""What `--json` prints is JSON for any reader."""

import json
from datetime import UTC, datetime

import pytest

from raytide.cli_output import print_json


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_json_has_no_number_that_others_cannot_read(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2026, 1, 31, tzinfo=UTC)
    print_json({"rows": [{"a": float("nan"), "b": (float("-inf"), 1.5)}], "raw": b"a\xff", "when": when})
    read = json.loads(capsys.readouterr().out, parse_constant=_refuse)
    assert read == {"rows": [{"a": None, "b": [None, 1.5]}], "raw": "a\\xff", "when": str(when)}
