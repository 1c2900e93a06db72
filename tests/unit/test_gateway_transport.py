from __future__ import annotations

import pytest

from cluster.config import GatewayConfig
from cluster.gateway.transport import check_reach, on_node

HERE, NODE = "192.0.2.1", "192.0.2.9"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])  # noqa: S104 - a setting
def test_another_node_binds_loopback_and_all_addresses_as_the_first_one_does(host: str) -> None:
    assert on_node(GatewayConfig(host=host, processes=4), NODE).host == host


def test_another_node_binds_its_own_address_where_the_first_one_has_its_own() -> None:
    config = on_node(
        GatewayConfig(host=HERE, processes=4, allow_plaintext=True, plaintext_host=HERE, allow_anonymous=True), NODE
    )
    assert (config.host, config.processes) == (NODE, 1)
    check_reach(config)  # what was said twice of the first one holds for the others


def test_what_was_not_meant_for_the_first_one_is_not_meant_for_others() -> None:
    assert on_node(GatewayConfig(host=HERE, plaintext_host="192.0.2.5"), NODE).plaintext_host == "192.0.2.5"
