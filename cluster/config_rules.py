"""Settings that are right one by one and do not fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:  # config.py calls this module
    from cluster.config import Config, KafkaConfig, OnlineStoreConfig, WorkersConfig


def contradiction(config: Config) -> str:
    """Return what does not fit together, with the next step; empty when all does."""
    return _workers(config.workers) or _kafka(config.kafka) or _online_store(config.online_store) or _replicas(config.kafka)


def _workers(workers: WorkersConfig) -> str:
    if workers.reserved_for_streams < workers.max:
        return ""
    return (
        f"workers.reserved_for_streams ({workers.reserved_for_streams}) must be below workers.max ({workers.max}), "
        "or uploads would never get a slot"
    )


def _kafka(kafka: KafkaConfig) -> str:
    has_sasl = kafka.security_protocol.startswith("SASL_")
    if has_sasl and not (kafka.sasl_mechanism and kafka.sasl_username and kafka.sasl_password):
        return (
            f"kafka.security_protocol {kafka.security_protocol} needs sasl_mechanism, sasl_username and sasl_password: set all"
        )
    if not has_sasl and kafka.sasl_mechanism:
        return f"kafka.sasl_mechanism is not used with {kafka.security_protocol}: set security_protocol to SASL_SSL"
    if "SSL" not in kafka.security_protocol and (kafka.ssl_cafile or kafka.ssl_certfile):
        return f"kafka.ssl_cafile and ssl_certfile are not used with {kafka.security_protocol}: set security_protocol to SSL"
    return ""


def _online_store(online: OnlineStoreConfig) -> str:
    url = online.connection_string.get_secret_value() if online.connection_string else ""
    if "@" in urlsplit(url).path + urlsplit(url).query + urlsplit(url).fragment:
        return "online_store.connection_string: / ? and # in a password are written %2F %3F %23; or set online_store.password"
    if (online.ssl_cafile or online.ssl_certfile) and not url.startswith("rediss://"):
        return "online_store.ssl_cafile and ssl_certfile are not used without TLS: let connection_string begin with rediss://"
    return ""


def _replicas(kafka: KafkaConfig) -> str:
    if (kafka.min_insync_replicas or 1) <= (kafka.replication_factor or 1):
        return ""
    return (
        f"kafka.min_insync_replicas {kafka.min_insync_replicas} is more than kafka.replication_factor: set that to one more, "
        "so that a broker may be lost"
    )
