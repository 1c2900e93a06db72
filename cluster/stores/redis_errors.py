"""What a Redis client's error means for us: try again, or something is set up wrong."""

from __future__ import annotations

import redis.exceptions as client

from cluster.errors import Misconfigured, RaytideError, RetryLater, Unreachable

#: First word of a server's error reply -> cause and next step, for states that pass by themselves or by an operator's hand.
_PASSING = {
    "OOM": "has no memory left for writes; raise its maxmemory or make room",
    "LOADING": "is loading its data; it will answer when that is done",
    "BUSY": "is busy with a script of another program; wait, or stop that with SCRIPT KILL",
    "READONLY": "is a read-only replica; wait for the failover to end, or name the primary in online_store.connection_string",
    "MISCONF": "refuses writes because it cannot save to disk; look at its log and its disk",
    "NOREPLICAS": "refuses writes because too few replicas follow; look at its replicas",
    "MASTERDOWN": "is a replica that has lost its primary; wait for the failover to end",
    "MAXCLIENTS": "takes no more connections; raise its maxclients",
    "NOSCRIPT": "forgot the newest-wins script while it was in use; somebody runs SCRIPT FLUSH over and over",
}

_NOT_ALLOWED = "does not let this user do what is needed; allow @read, @write, @scripting and SELECT on its keys"

#: The same for what does not pass.
_LASTING = {
    "WRONGPASS": "refuses the user or password, or wants one; correct online_store.connection_string",
    "NOPERM": _NOT_ALLOWED,
    "ACL": _NOT_ALLOWED,  # as a script is told
    "WRONGTYPE": "holds keys named entity:… that are not hashes; another program uses this database, give Raytide its own",
    "CLUSTER": "is a node of a Redis Cluster, which is not supported; name a server without cluster mode",
}

# redis-py cuts the first word off the replies that it has classes for. A class stands before the class it derives from.
_CODES: dict[type[Exception], str] = {
    client.OutOfMemoryError: "OOM",
    client.BusyLoadingError: "LOADING",
    client.ReadOnlyError: "READONLY",
    client.MasterDownError: "MASTERDOWN",
    client.NoScriptError: "NOSCRIPT",
    client.NoPermissionError: "NOPERM",
    client.AuthenticationError: "WRONGPASS",
    client.MovedError: "CLUSTER",
    client.ClusterCrossSlotError: "CLUSTER",
    client.ClusterDownError: "CLUSTER",
}


def translate(error: client.RedisError | OSError, address: str) -> RaytideError:
    """Return our error for one of redis-py's; `address` has no password in it."""
    code = _code(error)
    if code in _PASSING:
        return RetryLater(f"Redis at {address} {_PASSING[code]}")
    if code in _LASTING:
        return Misconfigured(f"Redis at {address} {_LASTING[code]}")
    if isinstance(error, client.TimeoutError):
        return Unreachable(f"Redis at {address} did not answer in time; see that it runs, or raise online_store.timeout_ms")
    if "SSL" in str(error) or "certificate" in str(error):
        return Unreachable(
            f"Redis at {address} and this client find no way to speak TLS: rediss:// in online_store.connection_string is for "
            "a port with TLS, ssl_cafile names the authority of its certificate, and that names the host"
        )
    if isinstance(error, client.ConnectionError | OSError):
        return Unreachable(f"Redis at {address} cannot be reached; start it, or correct online_store.connection_string")
    return Misconfigured(
        f"Redis at {address} refused a command ({code or type(error).__name__}); Raytide needs Redis 7, Valkey 7.2 or later",
    )


def _code(error: Exception) -> str:
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if "max number of clients" in str(error):
        return "MAXCLIENTS"
    word = str(error).partition(" ")[0]
    return word if isinstance(error, client.ResponseError) and word.isupper() else ""
