"""Which files a path means, and what `--max-rejects` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.errors import Refused
from raytide.cli_files import reject_limit
from raytide.local_files import find

NAMES = ("a.csv", "b.csv.gz", "notes.txt", "deep/c.PARQUET", "deep/er/d.jsonl.zst", ".hidden.csv", ".git/e.csv", "deep/f.gz")


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return lambda *paths, file_format=None: [str(file) for file in find(paths, file_format)]


def test_a_folder_means_all_files_of_known_suffixes_below_it(found: Callable[..., list[str]]) -> None:
    assert found(".") == ["a.csv", "b.csv.gz", "deep/c.PARQUET", "deep/er/d.jsonl.zst"]
    assert found("deep") == ["deep/c.PARQUET", "deep/er/d.jsonl.zst"]


def test_a_pattern_means_what_it_matches(found: Callable[..., list[str]], tmp_path: Path) -> None:
    assert found("*.csv*") == ["a.csv", "b.csv.gz"]
    assert found("**/*.zst") == ["deep/er/d.jsonl.zst"]
    assert found(str(tmp_path / "[ab].*")) == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv.gz")]
    assert found("*") == ["a.csv", "b.csv.gz"]
    assert found("*", file_format="csv") == ["a.csv", "b.csv.gz", "notes.txt"]


def test_a_named_file_is_taken_whatever_its_suffix_and_once(found: Callable[..., list[str]]) -> None:
    assert found("notes.txt") == ["notes.txt"]
    assert found("b.csv.gz", "a.csv", "./a.csv", "*.csv") == ["b.csv.gz", "a.csv"]


@pytest.mark.parametrize(
    ("path", "said"),
    [("gone.csv", "no file or folder 'gone.csv'"), ("*.tsv", r"'\*\.tsv' holds no file to send"), ("deep/f*", "--format")],
)
def test_a_path_that_means_nothing_says_what_to_do(found: Callable[..., list[str]], path: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        found("a.csv", path)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (None, {}),
        ("0", {"max_rejects": 0}),
        ("10", {"max_rejects": 10}),
        ("2.5%", {"max_reject_share": 0.025}),
        ("0%", {"max_reject_share": 0.0}),
        ("100%", {"max_reject_share": 1.0}),
    ],
)
def test_a_limit_is_a_number_or_a_share(text: str | None, options: dict[str, float]) -> None:
    assert reject_limit(text) == options


@pytest.mark.parametrize("text", ["", "ten", "-1", "2.5", "101%", "-1%", "nan%", "%", "5%%", "5% of it"])
def test_a_limit_that_is_neither_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="such as 10, or a share of them"):
        reject_limit(text)
