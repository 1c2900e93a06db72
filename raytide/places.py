"""Where a client finds Raytide: an address, or a project that says it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from cluster import config as configuration
from cluster.config import STATE_FOLDER, ClientConfig, Config, client_section
from cluster.errors import Misconfigured

_ADDRESS = re.compile(r"(\[[^\]]+\]|[^/\\:\s]+):\d{1,5}")


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway's address, what it takes to call it, and the project that named it, if one did."""

    address: str
    access: ClientConfig
    _project: tuple[Config, Path] | None = None

    @classmethod
    def of(cls, where: str | Path) -> Place:
        """Return what `where` means: host:port, a feature_store.yaml or its folder.

        A project's gateway is the one that `raytide up` started in this folder, else the configured address. Raise
        Misconfigured when it is neither.
        """
        if isinstance(where, str) and _ADDRESS.fullmatch(where):
            return cls(where, client_section(None))
        config = configuration.load(Path(where))
        address = _started(config.project) or _configured(config)
        return cls(address, client_section(Path(where)), (config, configuration.folder_of(Path(where))))

    def project(self, verb: str) -> tuple[Config, Path]:
        """Return configuration and folder; raise Misconfigured when only an address is known."""
        if self._project is None:
            raise Misconfigured(f"{verb} reads definitions: make the store with the project's feature_store.yaml")
        return self._project


def _configured(config: Config) -> str:
    host = f"[{config.gateway.host}]" if ":" in config.gateway.host else config.gateway.host
    return f"{host}:{config.gateway.port}"


def _started(project: str) -> str:
    """Return the address that `raytide up` wrote down in this folder for `project`, or nothing."""
    try:
        known = json.loads((Path.cwd() / STATE_FOLDER / "app.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(known.get("gateway", "")) if known.get("project") == project else ""
