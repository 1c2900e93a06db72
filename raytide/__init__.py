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
from cluster.registry.lookups import lookup

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
    "lookup",
]
