"""The thin public face: what users import, the client, and the CLI."""

from cluster.registry.definitions import (
    DType,
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    Long,
    StreamSource,
    Wide,
    feature,
)

__all__ = [
    "DType",
    "Entity",
    "FeatureService",
    "FeatureView",
    "Field",
    "FileSource",
    "Long",
    "StreamSource",
    "Wide",
    "feature",
]
