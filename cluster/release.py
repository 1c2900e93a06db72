"""What an app is made of, so that `raytide up` sees when that is no longer what it was started with."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from cluster.config import Config

_ROOT = Path(__file__).parents[1]
_CODE = ("actors", "cluster", "raytide", "proto/featurestore")
_NOT_THE_APP = {"client", "ray"}


@dataclass(frozen=True, slots=True)
class Release:
    """Two hashes. Secrets are in none of them: a password that changed is not seen."""

    app: str
    """Raytide's code and the configuration: what actors are made of."""
    ray: str
    """Python, the libraries and the configuration of Ray: what every process of Ray is made of."""

    @classmethod
    def of(cls, config: Config) -> Release:
        """Return what an app would be made of that is started now with `config`."""
        libraries = sorted(f"{found.name} {found.version}" for found in distributions())
        settings = config.model_dump_json(exclude=_NOT_THE_APP)  # secrets are masked
        return cls(
            app=_hash([settings.encode(), *_code()]),
            ray=_hash([sys.version.encode(), config.ray.model_dump_json().encode(), *(text.encode() for text in libraries)]),
        )


def _code() -> Iterable[bytes]:
    for package in _CODE:
        for file in sorted((_ROOT / package).rglob("*")):
            if file.suffix in {".py", ".lua"}:
                yield str(file.relative_to(_ROOT)).encode()
                yield file.read_bytes()


def _hash(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:16]
