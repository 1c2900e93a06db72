"""What the sender of a file said about it, kept beside the file, so that it outlives the gateway."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

from cluster.ingest.split import Compression, SplitOptions, layout_of
from cluster.registry.catalog import Catalog
from cluster.uploads.messages import UploadHeader
from cluster.uploads.rejects import RejectLimits


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the configuration says about splitting."""

    piece_bytes: int
    max_bytes: int
    max_record_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """How the bytes are to be read, and how many rejects the sender accepts."""

    source: str
    options: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = Compression.NONE
    max_rejects: int | None = None
    max_reject_share: float | None = None

    @classmethod
    def of(cls, header: UploadHeader) -> Self:
        """Return what is kept of a header."""
        compression = Compression(header.compression)
        return cls(header.source, dict(header.options), compression, header.max_rejects, header.max_reject_share)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Undo `to_json`."""
        found = json.loads(text)
        return cls(**{**found, "compression": Compression(found["compression"])})

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @property
    def limits(self) -> RejectLimits:
        """Return the limits on rejected rows."""
        return RejectLimits(self.max_rejects, self.max_reject_share)


def split_options(catalog: Catalog, manifest: Manifest, bounds: Bounds) -> SplitOptions:
    """Return how a file is to be split; raise NotFound when its source is gone."""
    return SplitOptions(
        layout_of(catalog.source(manifest.source)),
        bounds.piece_bytes,
        bounds.max_record_bytes,
        compression=manifest.compression,
        max_unpacked_bytes=bounds.max_bytes,
        **manifest.options,
    )
