"""What a request's names mean: features in the words of the definitions in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from cluster.errors import NotFound, Refused
from cluster.gateway.failures import AtFault
from cluster.registry.catalog import Catalog, FeatureSpec, near_matches


class Named(Protocol):
    """A request that names either features or a feature service."""

    @property
    def features(self) -> Sequence[str]:
        """Return features, `view:feature`, views or services."""

    @property
    def feature_service(self) -> str:
        """Return a feature service, or nothing."""


class Names(NamedTuple):
    """Meets Named, and can be a dictionary's key."""

    features: tuple[str, ...]
    feature_service: str


def wanted(catalog: Catalog, request: Named) -> list[FeatureSpec]:
    """Return the features that a request means, each once, in order; raise AtFault naming the one that is unknown."""
    if bool(request.features) == bool(request.feature_service):
        raise AtFault("features", Refused("name either features or a feature service"))
    if request.feature_service:
        return _of_service(catalog, request.feature_service)
    specs = [spec for i, name in enumerate(request.features) for spec in _resolved(catalog, name, f"features[{i}]")]
    return _once(specs)


def _of_service(catalog: Catalog, name: str) -> list[FeatureSpec]:
    if name not in catalog.services:
        near = near_matches(name, catalog.services)
        raise AtFault("feature_service", NotFound(f"no feature service is called '{name}'{near}"))
    return _once(catalog.resolve([name]))


def _resolved(catalog: Catalog, reference: str, field: str) -> list[FeatureSpec]:
    try:
        return catalog.resolve([reference])
    except NotFound as error:
        raise AtFault(field, error) from None


def _once(specs: Iterable[FeatureSpec]) -> list[FeatureSpec]:
    return list({spec.name: spec for spec in specs}.values())
