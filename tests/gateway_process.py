"""One of several gateway processes over a store in memory: `python -m tests.gateway_process PORT`.

Prints the port that it serves, and goes on until standard input ends.
"""

from __future__ import annotations

import sys

from cluster.config import GatewayConfig
from tests.online_world import OnlineBackend, serving

if __name__ == "__main__":
    with serving(OnlineBackend(), GatewayConfig(port=int(sys.argv[1]), processes=2)) as address:
        sys.stdout.write(address.rpartition(":")[2] + "\n")
        sys.stdout.flush()
        sys.stdin.read()
