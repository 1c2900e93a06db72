"""The jars of Apache Kafka: fetched once from Maven repositories, checked against pinned hashes at every use.

`jars.sha256` names each jar with its version, so nothing is resolved when the stack starts. (Resolving Kafka and its
logging binding together gives wrong jars: the binding's dependency management replaces Kafka's own versions.)
What jgo honours is honoured: repositories named in its configuration file, `central` among them for a mirror, and jars
that the user's Maven repository folder already holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from cluster.errors import Misconfigured, Unreachable

PINS = Path(__file__).with_name("jars.sha256")
_ROOTS = ("org.apache.kafka:kafka_2.13:4.4.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5")
_ANSWER_SECONDS = 30
_DOWNLOADS_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Pin:
    """A jar that the class path must hold, and the hash that it must have."""

    coordinates: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Return the name that Maven gives the jar."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


def pins(file: Path = PINS) -> tuple[Pin, ...]:
    """Read the committed list."""
    lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return tuple(Pin(coordinates, sha256) for coordinates, sha256 in lines)


def cache_folder() -> Path:
    """Return where jars are kept for all projects of this user: RAYTIDE_CACHE, or `raytide` in the user's cache folder."""
    if named := os.environ.get("RAYTIDE_CACHE"):
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "raytide"


def class_path(cache: Path | None = None, wanted: Iterable[Pin] | None = None) -> list[Path]:
    """Return the checked jars, fetching what `cache` does not hold yet.

    Safe with several processes at once. Raise Misconfigured for a jar with another hash than the pinned one,
    Unreachable when a jar cannot be fetched.
    """
    folder = (cache or cache_folder()) / "jars"
    if os.pathsep in str(folder):
        raise Misconfigured(
            f"{folder} cannot be on a class path because of '{os.pathsep}': set RAYTIDE_CACHE to another folder"
        )
    expected = pins() if wanted is None else tuple(wanted)
    if any(not (folder / pin.file_name).exists() for pin in expected):
        _fill(folder, expected)
    for pin in expected:
        _check(folder / pin.file_name, pin)
    return [folder / pin.file_name for pin in expected]


def _check(file: Path, pin: Pin) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != pin.sha256:
        raise Misconfigured(
            f"{file} is not the pinned {pin.coordinates} (sha256 {found[:12]}…, expected {pin.sha256[:12]}…): delete the file "
            "and run again; if it comes back like this, the Maven repository that it comes from serves a changed jar",
        )


def _fill(folder: Path, expected: Iterable[Pin]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        context = _maven(Path(scratch))
        missing = [pin for pin in expected if not (folder / pin.file_name).exists()]
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            list(pool.map(lambda pin: _fetch(context, pin, folder), missing))


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # let go when the file is closed, also by a crash
        yield


def _fetch(context: Any, pin: Pin, folder: Path) -> None:
    try:
        source = _download(context, pin)
    except (OSError, RuntimeError) as error:
        raise Unreachable(
            f"{pin.coordinates} cannot be fetched: {error}. Kafka's jars come from Maven Central once; behind a mirror, name "
            "it as `central` under [repositories] in jgo's configuration file (~/.config/jgo.conf)",
        ) from error
    _check(source, pin)
    staged = context.repo_cache / pin.file_name
    staged.write_bytes(source.read_bytes())
    staged.replace(folder / pin.file_name)


@retry(
    retry=retry_if_exception_type((OSError, RuntimeError)),
    stop=stop_after_attempt(3),
    wait=wait_exponential(max=5),
    reraise=True,
)
def _download(context: Any, pin: Pin) -> Path:
    group, artifact, version = pin.coordinates.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    try:
        return Path(wanted.resolve())
    except (OSError, RuntimeError):
        wanted.cached_path.unlink(missing_ok=True)  # half a file would count as downloaded
        raise


def _maven(cache: Path) -> Any:
    try:
        from jgo.config import GlobalSettings  # noqa: PLC0415 - optional, and slow to import
        from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
        from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as error:
        raise Misconfigured("the local Kafka needs jgo: install Raytide with its extra, `raytide[stack]`") from error
    logging.getLogger("jgo").setLevel(logging.ERROR)
    settings = GlobalSettings.load()
    return MavenContext(
        repo_cache=cache,
        local_repos=[settings.repo_cache],
        remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
        timeout=_ANSWER_SECONDS,
    )


def _resolve(context: Any, root: str) -> list[Any]:
    given, further = context.resolver.resolve([context.create_dependency(root)])
    return [dep.artifact for dep in (*given, *(d for d in further if d.scope in {"compile", "runtime"}))]


def renewed() -> str:
    """Return a fresh `jars.sha256`: each root resolved by itself, with the hashes of what the repositories serve now."""
    head = "".join(line for line in PINS.read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#"))
    with tempfile.TemporaryDirectory() as scratch:
        context = _maven(Path(scratch))
        found = {f"{a.groupId}:{a.artifactId}:{a.version}": a for root in _ROOTS for a in _resolve(context, root)}
        hashes = {name: hashlib.sha256(artifact.resolve().read_bytes()).hexdigest() for name, artifact in sorted(found.items())}
    return head + "".join(f"{name}  {sha256}\n" for name, sha256 in hashes.items())


if __name__ == "__main__":
    print(renewed(), end="")  # noqa: T201 - this is what the command is for
