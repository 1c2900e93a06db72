"""The thin public face: what users import, the client, and the CLI."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cluster.registry.aggregation import Aggregation
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

if TYPE_CHECKING:
    from raytide.async_store import AsyncFeatureStore
    from raytide.feature_store import FeatureStore

__all__ = [
    "Aggregation",
    "AsyncFeatureStore",
    "DType",
    "Entity",
    "FeatureService",
    "FeatureStore",
    "FeatureView",
    "Field",
    "FileSource",
    "Long",
    "StreamSource",
    "Wide",
    "feature",
    "lookup",
]

_CLIENTS = {"AsyncFeatureStore": "raytide.async_store", "FeatureStore": "raytide.feature_store"}


def __getattr__(name: str) -> Any:
    # Definitions, which every worker imports, need no gRPC.
    if name in _CLIENTS:
        return getattr(import_module(_CLIENTS[name]), name)
    raise AttributeError(f"module 'raytide' has no attribute '{name}'")
