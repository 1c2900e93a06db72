from __future__ import annotations

import json

import pytest

from cluster.errors import NotFound, Refused
from cluster.registry.metadata import OWNED, DefinitionKind, Filter, described, listed
from tests.lineage_world import CATALOG

KIND = DefinitionKind


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (KIND.ENTITY, ["user"]),
        (KIND.SOURCE, ["orders", "people"]),
        (KIND.VIEW, ["order", "person"]),
        (KIND.FEATURE, ["amount", "total", "total_log"]),
        (KIND.SERVICE, ["model"]),
    ],
)
def test_each_kind_is_listed_by_name_and_fits_json(kind: DefinitionKind, names: list[str]) -> None:
    found = listed(CATALOG, Filter(kind))
    assert [definition.name for definition in found] == names
    assert found == [described(CATALOG, kind, name) for name in names]
    assert all(json.loads(json.dumps(definition.facts)) == definition.facts for definition in found)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Filter(KIND.VIEW, tag="live"), ["order"]),
        (Filter(KIND.VIEW, owner="shop"), ["order"]),
        (Filter(KIND.VIEW, tag="live", owner="nobody"), []),
        (Filter(KIND.FEATURE, tag="money", owner="shop"), ["total", "total_log"]),
        (Filter(KIND.FEATURE, tag="mon"), []),
    ],
)
def test_tags_and_owners_select_views_and_their_features(wanted: Filter, names: list[str]) -> None:
    assert [definition.name for definition in listed(CATALOG, wanted)] == names


@pytest.mark.parametrize("kind", sorted(set(KIND) - OWNED))
def test_other_kinds_have_neither(kind: DefinitionKind) -> None:
    with pytest.raises(Refused, match=rf"^tag: a definition of kind '{kind}' has none"):
        listed(CATALOG, Filter(kind, tag="x"))
    with pytest.raises(Refused, match=r"^owner: "):
        listed(CATALOG, Filter(kind, owner="x"))


def test_a_feature_says_where_it_belongs_and_how_it_is_made() -> None:
    found = described(CATALOG, KIND.FEATURE, "order:total")
    assert (found.name, found.description, found.owner, found.tags) == ("total", "in euros", "shop", ("money", "live"))
    said = {
        "type": "function",
        "function": "total",
        "view": "order",
        "services": ["model"],
        "entity": "user",
        "source": "orders",
        "online": True,
        "ttl": 604_800.0,
        "mode": "numpy",
        "inputs": ["amount", "rate"],
        "source_hash": "2",
    }
    assert {name: found.facts[name] for name in said} == said


def test_other_definitions_name_what_hangs_on_them() -> None:
    assert described(CATALOG, KIND.ENTITY, "user").facts == {"views": ["order", "person"], "join_key": "user_id"}
    assert described(CATALOG, KIND.SOURCE, "orders").facts["topic"] == "shop.orders"
    assert described(CATALOG, KIND.SOURCE, "people").facts["views"] == ["person"]
    assert described(CATALOG, KIND.VIEW, "order").facts["features"] == ["total", "total_log"]
    assert described(CATALOG, KIND.SERVICE, "model").facts["features"] == ["order:total", "order:total_log", "person:amount"]


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (KIND.VIEW, "ordr", r"no view is called 'ordr'; did you mean 'order'\?"),
        (KIND.FEATURE, "totl", r"no feature is called 'totl'; did you mean 'total'"),
        (KIND.FEATURE, "person:total", "belongs to view 'order', not 'person'"),
        (KIND.FEATURE, "order", "no feature is called 'order'; known: amount, total, total_log"),
    ],
)
def test_unknown_names_get_near_ones(kind: DefinitionKind, name: str, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        described(CATALOG, kind, name)
