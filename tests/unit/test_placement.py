from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Misconfigured
from cluster.placement import DISK, GATEWAY, NODE_ID, Node, disk, elsewhere, home, reading, surplus

HEAD = Node("h", "192.0.2.1", {DISK: "history"})
WORKER = Node("w", "192.0.2.2")


def test_the_disk_is_on_the_labelled_node() -> None:
    assert disk([HEAD, WORKER], "h") == {DISK: "history"}


def test_without_a_label_it_is_on_the_node_where_the_command_runs() -> None:
    assert disk([WORKER], "w") == {NODE_ID: "w"}


def test_another_node_than_the_labelled_one_is_refused_with_where_to_go() -> None:
    with pytest.raises(Misconfigured, match=r"is 192\.0\.2\.1: run this there"):
        disk([HEAD, WORKER], "w")


def test_two_labelled_nodes_are_refused() -> None:
    with pytest.raises(Misconfigured, match=r"2 nodes \(192\.0\.2\.1, 192\.0\.2\.9\)"):
        disk([HEAD, Node("x", "192.0.2.9", {DISK: "history"})], "h")


def test_nodes_of_one_machine_are_not_elsewhere() -> None:
    assert elsewhere([HEAD, Node("x", HEAD.address)], "h") == ""
    assert elsewhere([HEAD, WORKER], "h") == WORKER.address


def test_a_gateway_for_reads_is_where_the_label_is_and_not_beside_a_whole_one() -> None:
    labelled = Node("x", "192.0.2.9", {GATEWAY: "yes"})
    assert reading([HEAD, WORKER, labelled], "h") == [labelled]
    assert reading([labelled], "x") == []


def test_the_home_is_where_there_are_fewest() -> None:
    assert home({1: "a", 2: "a", 3: "b"}, ["a", "b"]) == "b"
    assert home({}, ["b", "a"]) == "a"
    assert home({1: "lost", 2: "lost"}, ["a"]) == "a"


def test_a_halted_one_stays_and_others_go() -> None:
    where = {1: "a", 2: "a", 3: "a", 4: "a"}
    assert sorted(surplus(where, ["a", "b"], {2, 4})) == [2, 4]
    assert surplus(where, ["a", "b"], {2}) == [2]
    assert surplus(where, ["a", "b"], set()) == []


NODES = ["a", "b", "c", "d"]


@given(
    where=st.dictionaries(st.integers(0, 99), st.sampled_from([*NODES, "lost"]), max_size=40), nodes=st.integers(1, len(NODES))
)
def test_after_the_moves_nothing_is_left_to_move(where: dict[int, str], nodes: int) -> None:
    there = NODES[:nodes]
    leaving = surplus(where, there, set(where))
    after = {key: at for key, at in where.items() if key not in leaving and at in there}
    for key in leaving:
        after[key] = home(after, there)
    counts = [Counter(after.values())[node] for node in there]
    assert max(counts) - min(counts) <= 1
    assert surplus(after, there, set(after)) == []
    assert len(leaving) == _fewest([Counter(where.values())[node] for node in there])


def _fewest(counts: list[int]) -> int:
    """Return how many have to move at least: those above an even share, whose larger parts go to the fullest nodes."""
    share, larger = divmod(sum(counts), len(counts))
    wanted = [share + (n < larger) for n in range(len(counts))]
    return sum(max(0, has - may) for has, may in zip(sorted(counts, reverse=True), wanted, strict=True))
