"""Raytide with an invariant broken on purpose, each of which must turn a cell red: the test of the tests.

A mutant is a copy of the code in which some text, found exactly once, is replaced by another.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.fault.world import ROOT

FOLDERS = ("cluster", "actors", "generator", "raytide", "proto", "examples")


def copy_code(source: Path, folder: Path) -> Path:
    """Copy Raytide's code to `folder`, and return that."""
    for name in FOLDERS:
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".raytide"))
    return folder


@dataclass(frozen=True)
class Edit:
    """A text of one file that is replaced."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """What is broken, how, the cell that must see it, and a word of what it then says."""

    name: str
    what: str
    cell: str
    sign: str
    edits: tuple[Edit, ...]

    def write(self, folder: Path) -> Path:
        """Make the broken copy in `folder`; raise AssertionError when a text is not there exactly once."""
        copy_code(ROOT, folder)
        for edit in self.edits:
            text = (folder / edit.file).read_text(encoding="utf-8")
            if text.count(edit.old) != 1:
                raise AssertionError(f"{self.name}: {edit.file} has this text {text.count(edit.old)} times: {edit.old}")
            (folder / edit.file).write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        return folder


MUTANTS = (
    Mutant(
        "no-epoch-check",
        "the epoch of a batch is not compared",
        "zombie:fenced",
        "zombie",
        (
            Edit("cluster/ingest/ledger.py", "if batch.epoch < start.epoch:", "if False:"),
            Edit("cluster/stores/duckdb_group.py", "AND partitions.epoch = incoming.epoch ", ""),
        ),
    ),
    Mutant(
        "offsets-before-rows",
        "the offset is committed in a transaction before that of the rows",
        "at:writer.in_transaction",
        "stored",
        (
            Edit(
                "cluster/stores/duckdb_group.py",
                "            insert_batches(self._cursor, batches, ids, now_us)\n            reach(Point.IN_TRANSACTION)\n",
                "",
            ),
            Edit(
                "cluster/stores/duckdb_group.py",
                "            self._advance(batches)\n",
                "            self._advance(batches)\n        with transaction(self._cursor):\n"
                "            reach(Point.IN_TRANSACTION)\n"
                "            insert_batches(self._cursor, batches, ids, now_us)\n",
            ),
        ),
    ),
    Mutant(
        "rejects-ignored",
        "rejected records are dropped instead of put into quarantine",
        "kill:limiter",
        "quarantine",
        (Edit("cluster/ingest/pipeline.py", "rejects_table([*rejected, *failed])", "rejects_table([])"),),
    ),
    Mutant(
        "no-compare-in-script",
        "Redis takes every value, newer or not",
        "kill:limiter",
        "online",
        (
            Edit(
                "cluster/stores/newest_wins.lua", "if not stored or stored == time then return false end", "do return false end"
            ),
        ),
    ),
    Mutant(
        "pieces-twice",
        "a piece of a file that comes again is appended again",
        "at:upload.piece_appended",
        "uploads",
        (Edit("cluster/stores/duckdb_files.py", "if piece not in opened.pieces:", "if True:"),),
    ),
    Mutant(
        "windows-added-twice",
        "cells of windows that may have been changed are added to again",
        "at:windows.put",
        "windows",
        (Edit("cluster/windows/publishing.py", "whole=self._in_doubt or is_due", "whole=is_due"),),
    ),
)
