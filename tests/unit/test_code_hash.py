"""The hash of a feature's code changes with what it computes, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.registry import loader

DEFINITIONS = """
from raytide import *
import helpers
from helpers import rate
TABLE = {"a": 1.0}
LIMITS = {3, 1, 2}

def twice(x):
    return x * 2

source = FileSource("s", Wide("user_id", "at", (Field("amount"),)))

@feature()
def f(amount):
    def inner(x):
        return twice(x) + helpers.rate(x)
    return inner(amount) * TABLE["a"] + len(LIMITS)

@feature(mode="pandas")
def g(amount):
    return amount + 1

view = FeatureView("v", Entity("user", "user_id"), source, [f, g])
"""
HELPERS = "def rate(x):\n    return x\n"


def hashes(folder: Path, definitions: str = DEFINITIONS, helpers: str = HELPERS) -> dict[str, str]:
    (folder / "definitions.py").write_text(definitions, encoding="utf-8")
    (folder / "helpers.py").write_text(helpers, encoding="utf-8")
    return dict(loader.load("project", folder / "definitions.py").code)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x * 2", "return x * 3"),  # a function that it calls from a function within
        ('"a": 1.0', '"a": 1.5'),
        ("{3, 1, 2}", "{3, 1, 4}"),
        ("return inner(amount)", "return -inner(amount)"),
    ],
)
def test_what_a_function_uses_is_a_part_of_it(tmp_path: Path, old: str, new: str) -> None:
    before, after = hashes(tmp_path), hashes(tmp_path, DEFINITIONS.replace(old, new))
    assert before["f"] != after["f"]
    assert before["g"] == after["g"]


def test_a_module_of_the_repository_is_a_part_of_it(tmp_path: Path) -> None:
    before, after = hashes(tmp_path), hashes(tmp_path, helpers=HELPERS.replace("return x", "return x + 1"))
    assert before["f"] != after["f"]
    assert before["g"] == after["g"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMITS = {3, 1, 2}", "LIMITS = {1, 2, 3}"),
        ("source =", "# a comment\n\nsource ="),
        ('TABLE = {"a"', 'OTHER = 1\nTABLE = {"a"'),
    ],
)
def test_other_text_is_not(tmp_path: Path, old: str, new: str) -> None:
    assert hashes(tmp_path) == hashes(tmp_path, DEFINITIONS.replace(old, new))


def test_it_is_the_same_in_another_folder_and_after_a_journey(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    before = hashes(tmp_path / "one")
    assert before == hashes(tmp_path / "two")
    catalog = loader.load("project", tmp_path / "one" / "definitions.py")
    again = loader.from_bytes(loader.to_bytes(catalog))
    assert again.describe() == catalog.describe()
    assert again.content_hash == catalog.content_hash
