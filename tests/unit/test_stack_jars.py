from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.errors import Misconfigured, Unreachable
from cluster.stack import jars
from cluster.stack.jars import Pin

CONTENT = b"a jar"
PIN = Pin("org.example:thing:1.0", hashlib.sha256(CONTENT).hexdigest())


class Repository:
    """Stands for jgo: serves `content` for every artifact, after `failures` failures."""

    def __init__(self, content: bytes = CONTENT, failures: int = 0) -> None:
        self.content, self.failures = content, failures
        self.served = 0
        self._lock = threading.Lock()

    def at(self, cache: Path) -> Any:
        def resolve() -> Path:
            with self._lock:
                self.served += 1
                if self.served <= self.failures:
                    raise ConnectionError("no route")
            file = cache / "downloaded.jar"
            file.write_bytes(self.content)
            return file

        artifact = SimpleNamespace(resolve=resolve, cached_path=cache / "downloaded.jar")
        component = SimpleNamespace(artifact=lambda: artifact)
        project = SimpleNamespace(at_version=lambda _version: component)
        return SimpleNamespace(repo_cache=cache, project=lambda _group, _artifact: project)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(repository: Repository) -> Repository:
        monkeypatch.setattr(jars, "_maven", repository.at)
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
        return repository

    return use


def test_the_pinned_list_is_whole() -> None:
    listed = jars.pins()
    names = [pin.coordinates for pin in listed]
    assert {"org.apache.kafka:kafka_2.13:4.4.0", "org.apache.kafka:kafka-clients:4.4.0"} <= set(names)
    assert "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5" in names
    assert len(set(names)) == len(names) == 45
    assert all(len(pin.sha256) == 64 for pin in listed)
    assert len({pin.file_name for pin in listed}) == len(listed)


def test_a_missing_jar_is_fetched_once(tmp_path: Path, serve: Any) -> None:
    repository = serve(Repository())
    for _ in range(2):
        assert jars.class_path(tmp_path, [PIN]) == [tmp_path / "jars" / "thing-1.0.jar"]
    assert repository.served == 1
    assert [file.name for file in (tmp_path / "jars").iterdir()] == ["thing-1.0.jar"]


def test_several_at_once_fetch_once(tmp_path: Path, serve: Any) -> None:
    repository = serve(Repository())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: jars.class_path(tmp_path, [PIN]), range(4)))
    assert repository.served == 1
    assert all(path.read_bytes() == CONTENT for (path,) in found)


def test_another_jar_than_the_pinned_one_is_not_kept(tmp_path: Path, serve: Any) -> None:
    serve(Repository(b"another jar"))
    with pytest.raises(Misconfigured, match=r"org\.example:thing:1\.0"):
        jars.class_path(tmp_path, [PIN])
    assert list((tmp_path / "jars").iterdir()) == []


def test_a_jar_that_changed_in_the_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / PIN.file_name).write_bytes(CONTENT[:-1])
    with pytest.raises(Misconfigured, match=r"thing-1\.0\.jar is not the pinned .* delete the file"):
        jars.class_path(tmp_path, [PIN])


def test_a_short_absence_of_the_repository_is_bridged(tmp_path: Path, serve: Any) -> None:
    repository = serve(Repository(failures=2))
    jars.class_path(tmp_path, [PIN])
    assert repository.served == 3


def test_a_repository_that_stays_away_is_named(tmp_path: Path, serve: Any) -> None:
    serve(Repository(failures=99))
    with pytest.raises(Unreachable, match=r"org\.example:thing:1\.0 cannot be fetched: no route.*jgo\.conf"):
        jars.class_path(tmp_path, [PIN])


def test_a_folder_that_java_would_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="RAYTIDE_CACHE"):
        jars.class_path(tmp_path / "a:b", [PIN])


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAYTIDE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.cache_folder() == tmp_path / "raytide"
    monkeypatch.setenv("RAYTIDE_CACHE", str(tmp_path / "other"))
    assert jars.cache_folder() == tmp_path / "other"
