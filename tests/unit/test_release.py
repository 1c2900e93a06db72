from __future__ import annotations

from pathlib import Path

import pytest

from cluster import release
from cluster.config import Config, OfflineStoreConfig, OnlineStoreConfig, RayConfig
from cluster.ray_head import RayHead
from cluster.release import Release
from cluster.running import Running
from cluster.stack.process import ProcessId

CONFIG = Config(project="shop")


def test_the_same_code_and_configuration_are_the_same_release() -> None:
    assert Release.of(CONFIG) == Release.of(Config(project="shop"))


def test_another_configuration_is_another_app_on_the_same_ray() -> None:
    other = Release.of(CONFIG.model_copy(update={"offline_store": OfflineStoreConfig(group_commit_ms=1)}))
    assert other.app != Release.of(CONFIG).app
    assert other.ray == Release.of(CONFIG).ray


def test_another_configuration_of_ray_is_another_ray_for_the_same_app() -> None:
    other = Release.of(CONFIG.model_copy(update={"ray": RayConfig(num_cpus=7)}))
    assert other.app == Release.of(CONFIG).app
    assert other.ray != Release.of(CONFIG).ray


def test_what_a_client_sets_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTIDE_CLIENT__TOKEN", "secret")
    assert Release.of(Config(project="shop")) == Release.of(CONFIG)


def test_a_password_is_in_no_hash() -> None:
    urls = ("redis://:one@h:1", "redis://:two@h:1")
    stores = (OnlineStoreConfig.model_validate({"connection_string": url}) for url in urls)
    first, second = (Release.of(CONFIG.model_copy(update={"online_store": store})) for store in stores)
    assert first == second


@pytest.mark.parametrize("change", ["text", "name", "new"])
def test_another_code_is_another_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setattr(release, "_ROOT", tmp_path)
    file = tmp_path / "cluster" / "stores" / "newest.lua"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    before = Release.of(CONFIG)
    assert Release.of(CONFIG) == before
    if change == "text":
        file.write_text("b")
    elif change == "name":
        file.rename(file.with_name("other.lua"))
    else:
        (tmp_path / "actors").mkdir()
        (tmp_path / "actors" / "x.py").write_text("")
    assert Release.of(CONFIG).app != before.app
    assert Release.of(CONFIG).ray == before.ray


def test_a_folder_remembers_the_release(tmp_path: Path) -> None:
    head = RayHead("h:1", "http://h:2", ProcessId(1, 2.0), "t")
    for known in (Release.of(CONFIG), None):
        Running("shop", "h:3", "", "h:1", "c", head, release=known).write(tmp_path)
        found = Running.read(tmp_path)
        assert found is not None
        assert found.release == known
