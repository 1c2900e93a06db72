"""Where in a cluster things run: the writer where its disk is, partitions evenly, gateways where wanted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cluster.errors import Misconfigured

#: Label of the node on whose disk the DuckDB file is: `ray start --labels=raytide.disk=NAME`.
DISK = "raytide.disk"
#: Label of a node that has a gateway for reads, besides that of the disk's: `ray start --labels=raytide.gateway=yes`.
GATEWAY = "raytide.gateway"
#: Ray's own label of each node, a new one at each start.
NODE_ID = "ray.io/node-id"

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Node:
    """A living node of the cluster."""

    node_id: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


def disk(nodes: Iterable[Node], here: str) -> dict[str, str]:
    """Return the label selector of the node with the disk, which must be `here`, as relative paths are meant here.

    Without a labelled node it is this one, for as long as it lives. Raise Misconfigured when it is another one, or several.
    """
    labelled = {node.node_id: node for node in nodes if DISK in node.labels}
    if not labelled:
        return {NODE_ID: here}
    places = ", ".join(sorted(node.address for node in labelled.values()))
    if len(labelled) > 1:
        raise Misconfigured(
            f"the label {DISK} is on {len(labelled)} nodes ({places}), and the DuckDB file on one disk: "
            "start all but one of them without it"
        )
    if here not in labelled:
        raise Misconfigured(f"the node with the label {DISK}, on whose disk the DuckDB file is, is {places}: run this there")
    return {DISK: labelled[here].labels[DISK]}


def reading(nodes: Iterable[Node], here: str) -> list[Node]:
    """Return the nodes that want a gateway for reads; `here` is the one that has a whole gateway anyway."""
    return [node for node in nodes if GATEWAY in node.labels and node.node_id != here]


def elsewhere(nodes: Iterable[Node], here: str) -> str:
    """Return the address of a node that is not on the machine of the node `here`, or nothing when there is none."""
    addresses = {node.node_id: node.address for node in nodes}
    return min((address for address in addresses.values() if address != addresses.get(here)), default="")


def home(where: Mapping[K, str], nodes: Sequence[str]) -> str:
    """Return the node with the fewest partitions, the first of equals. `where` names the node of each one."""
    counts = Counter(where.values())
    return min(nodes, key=lambda node: (counts[node], node))


def surplus(where: Mapping[K, str], nodes: Sequence[str], movable: Collection[K]) -> list[K]:
    """Return what has to go to the emptiest nodes so that no node has two more than another: as few as possible.

    Those on a node that is not among `nodes` are not counted: Ray starts them elsewhere.
    """
    counts = {node: sum(at == node for at in where.values()) for node in nodes}
    there = {node: [key for key, at in where.items() if at == node and key in movable] for node in nodes}
    leaving: list[K] = []
    while givers := [node for node in nodes if there[node]]:
        fullest = max(givers, key=lambda node: counts[node])
        emptiest = min(nodes, key=lambda node: counts[node])
        if counts[fullest] - counts[emptiest] < 2:  # noqa: PLR2004 - moving one would only turn it round
            break
        leaving.append(there[fullest].pop())
        counts[fullest] -= 1
        counts[emptiest] += 1
    return leaving
