"""The file of bearer tokens: a line for each, `name role token`. docs/security.md says how to make and change them.

# name     role    token, or sha256: and its digest
scoring    reader  sha256:7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import Misconfigured
from cluster.gateway.roles import Role
from cluster.private_files import read_private

SETTING = "gateway.tokens"
GIVEN = {role.name.lower(): role for role in (Role.READER, Role.WRITER, Role.ADMIN)}
_FIELDS = 3
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{32,512}")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a token, and what it is good for."""

    name: str
    role: Role
    digest: bytes = field(repr=False)


class Tokens:
    """The holders of a file."""

    def __init__(self, holders: list[Holder]) -> None:
        self._holders = holders

    def holder(self, presented: str) -> Holder | None:
        """Return whose token this is, or None; how long that takes tells nothing about the tokens."""
        digest = _digest(presented)
        found = None
        for holder in self._holders:
            if hmac.compare_digest(holder.digest, digest):
                found = holder
        return found


def read_tokens(path: Path) -> Tokens:
    """Read a file; raise Misconfigured, naming the line but nothing of it, or saying who else could read the file."""
    try:
        lines = read_private(path, SETTING).decode().splitlines()
    except UnicodeDecodeError:
        raise Misconfigured(f"{SETTING} {path} is not text in UTF-8: write `name role token` on each line") from None
    holders = list(_holders(path, lines))
    if not holders:
        raise Misconfigured(f"{SETTING} {path} holds no token, so nobody could call: write `name role token` on a line")
    return Tokens(holders)


def _holders(path: Path, lines: list[str]) -> Iterator[Holder]:
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield _holder(line.split())
        except ValueError as error:
            raise Misconfigured(f"{SETTING} {path}, line {number}: {error}") from None


def _holder(fields: list[str]) -> Holder:
    if len(fields) != _FIELDS:
        raise ValueError(f"{len(fields)} words instead of three: write `name role token`")
    name, role, token = fields
    if not _NAME.fullmatch(name):
        raise ValueError("the name may have 64 letters, digits, dots, underscores and dashes")
    if role not in GIVEN:
        raise ValueError(f"the second word is no role: write {', '.join(GIVEN)}")
    if digest := _DIGEST.fullmatch(token):
        return Holder(name, GIVEN[role], bytes.fromhex(digest[1]))
    if not _TOKEN.fullmatch(token):
        raise ValueError(
            "the token needs at least 32 letters and digits (`openssl rand -hex 32`), or sha256: and 64 hex digits"
        )
    return Holder(name, GIVEN[role], _digest(token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
