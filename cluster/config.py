"""`feature_store.yaml` and the environment become one frozen value, read once and passed down by section.

Any field can be overridden by `RAYTIDE_SECTION__FIELD`. Unknown keys are errors with a suggestion. Addresses left out
mean the local stack of the working folder (`raytide stack up`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cluster.config_file import explained, read_yaml
from cluster.config_rules import contradiction
from cluster.errors import Misconfigured

FILE_NAME = "feature_store.yaml"
STATE_FOLDER = ".raytide"

Positive = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A frozen part of the configuration; each component gets its own and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaConfig(Section):
    """How to reach Kafka, and how its topics are made when they are missing."""

    bootstrap_servers: str | None = None
    """Comma-separated host:port list. Left out: the local stack's brokers."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Transport of the brokers' listener."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """Authentication, with a SASL protocol."""
    sasl_username: str | None = None
    """User for SASL."""
    sasl_password: SecretStr | None = None
    """Password for SASL; never logged."""
    ssl_cafile: str | None = None
    """PEM file of the authority that signed the brokers' certificates."""
    ssl_certfile: str | None = None
    """PEM file of this client's certificate, for mutual TLS."""
    ssl_keyfile: str | None = None
    """PEM file of this client's private key, for mutual TLS."""
    ssl_password: SecretStr | None = None
    """Password of that private key, if it has one. Masked everywhere."""
    create_topics: bool = True
    """Create a source's topic with its declared partitions when it does not exist."""
    replication_factor: Positive | None = None
    """Replicas of topics that Raytide creates. Left out: what the brokers do by default."""
    min_insync_replicas: Positive | None = None
    """Replicas that must have a record before it is acknowledged. Left out: one less than replication_factor has, if set."""
    dead_letters: bool = True
    """Send rejected records to `<topic>.dead-letters` as well; they are in quarantine in any case."""
    group_id: str = "raytide"
    """Group whose offsets are written after the stores, for lag tools only."""
    metadata_max_age_ms: Positive = 5_000
    """How soon new partitions are seen."""
    request_timeout_ms: Positive = 10_000
    """How long a broker may take to answer."""


class OnlineStoreConfig(Section):
    """The Redis-compatible server that holds the newest values."""

    type: Literal["redis"] = "redis"
    """The only kind there is."""
    connection_string: SecretStr | None = None
    """redis://[user:password@]host:port/db or rediss://…. Left out: the local stack's Valkey. Masked in logs."""
    username: str | None = None
    """User of an access control list, when it is not in the connection string."""
    password: SecretStr | None = None
    """Password, when it is not in the connection string. Masked everywhere."""
    ssl_cafile: str | None = None
    """PEM file of the authority that signed the server's certificate, with rediss://. Left out: the system's authorities."""
    ssl_certfile: str | None = None
    """PEM file of this client's certificate, for mutual TLS."""
    ssl_keyfile: str | None = None
    """PEM file of this client's private key, for mutual TLS."""
    timeout_ms: Positive = 2_000
    """How long a read or write may take before it counts as failed."""
    entities_per_call: Annotated[int, Field(ge=1, le=1000)] = 250
    """Entities in one newest-wins script call."""


class OfflineStoreConfig(Section):
    """The DuckDB file, owned by the writer actor alone."""

    type: Literal["duckdb"] = "duckdb"
    """The only kind there is."""
    path: str = f"{STATE_FOLDER}/features.duckdb"
    """The file, relative to the working folder of `raytide up`."""
    memory_limit: str = "512MB"
    """What DuckDB may take in the writer process, reads included; it uses the disk then, and after that reads are refused."""
    threads: Positive = max(1, (os.cpu_count() or 2) // 2)
    """Threads for DuckDB. Left out: half of the machine's cores, because streams and pieces of files want the others."""
    group_commit_rows: Positive = 400_000
    """Rows after which waiting batches become one transaction."""
    group_commit_ms: Annotated[int, Field(ge=0)] = 20
    """How long the first waiting batch waits for company."""
    queue_bytes: Positive = 256 * 1024 * 1024
    """Batches waiting in the writer, in bytes; above it senders wait."""
    clustering_rows: Positive = 2_000_000
    """Rows of history that wait until they are put in the order of (feature, entity, time), and how many are at once."""
    clustering_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the time that this may take while there is something to put in order."""
    read_timeout_s: Positive = 120
    """How long one historical or SQL read may run."""
    concurrent_reads: Positive = max(2, (os.cpu_count() or 2) // 2)
    """Historical and SQL reads at once; others wait. Left out: half of the cores, and two at least: more would slow commits."""
    read_wait_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a read waits for its turn; after that it is answered RESOURCE_EXHAUSTED."""
    read_memory: str = "512MB"
    """What a step of a read plans with (DuckDB's operator_memory_limit); what it may take is `memory_limit`."""
    max_result_rows: Positive = 1_000_000
    """Rows that one `raytide sql` may return."""


class WorkersConfig(Section):
    """The one cap on what works at the same time in the whole cluster."""

    max: Positive = 16
    """Slots for partition actors at work, upload pieces, backfills and replays together."""
    reserved_for_streams: Annotated[int, Field(ge=0)] = 8
    """Slots that only partition actors may take; must be below `max`."""
    lease_seconds: Positive = 30
    """A slot whose holder has not renewed for so long is taken back."""


class GatewayConfig(Section):
    """The gRPC server."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: Port = 50051
    """Port to bind; a free one is taken, and said, when it is in use. 0 always means a free one."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that share the port, on the node of `raytide up`: each has a part of the connections, and limits of its own."""
    max_message_bytes: Positive = 4 * 1024 * 1024
    """Largest message that a client may send."""
    max_concurrent_calls: Positive = 128
    """Calls at once; more are answered RESOURCE_EXHAUSTED."""
    max_calls_per_client: Positive = 64
    """Calls at once of one client: a token, without tokens a certificate's name, without either a connection."""
    max_entities: Positive = 10_000
    """Entities in one online read."""
    max_values: Positive = 200_000
    """Entities times features in one online read."""
    max_cells: Positive = 1_000_000
    """Entities times hops of the windows' panes in one online read: what Redis may have to send."""
    online_timeout_ms: Positive = 500
    """How long Redis may stay silent in an online read before it ends UNAVAILABLE; less if the caller has less time."""
    max_historical_rows: Positive = 5_000_000
    """Entity rows in one historical read."""
    max_historical_bytes: Positive = 1024**3
    """Entity rows in one historical read, all columns together, in bytes; and as much again for the features joined to them."""
    default_timeout_s: Positive = 60
    """How long a client may keep the gateway waiting for its next message, or leave one of an answer unread."""
    idle_connection_s: Positive = 300
    """A connection without a call is closed after so long; clients open a new one by themselves."""
    keepalive_s: Positive = 30
    """How often a connection is asked whether its client is still there; one that is silent for 10 s more is closed."""
    handshake_timeout_s: Positive = 10
    """How long a client may take to set up a connection, TLS included."""
    tls_cert: str | None = None
    """PEM file of the gateway's certificate, and those up to its authority: calls are encrypted. Read again when changed."""
    tls_key: str | None = None
    """PEM file of the certificate's private key, readable by nobody else."""
    tls_client_ca: str | None = None
    """PEM file of the authority for clients' certificates: only clients that have one can connect (mutual TLS)."""
    tokens: str | None = None
    """File of bearer tokens and roles, readable by nobody else. Left out: callers need none. Read again when changed."""
    denials_logged_per_minute: Positive = 60
    """Calls without a right or beyond a client's share that the log has a line for; the others are counted."""
    allow_plaintext: bool = False
    """First of two settings for an address other than loopback without TLS, where anybody on the way can listen."""
    plaintext_host: str | None = None
    """Second of the two: the same address as `host`, once more."""
    allow_anonymous: bool = False
    """Serve an address other than loopback without tokens and clients' certificates: who can connect may call everything."""


class ClientConfig(Section):
    """How clients and the command line reach a gateway that is protected."""

    tls: bool = False
    """Encrypt calls and check the gateway's certificate against the usual authorities; `ca` means it as well."""
    ca: str | None = None
    """PEM file of the authority that signed the gateway's certificate."""
    cert: str | None = None
    """PEM file of this client's certificate, for a gateway that wants one."""
    key: str | None = None
    """PEM file of this client's private key, readable by nobody else."""
    server_name: str | None = None
    """Name in the gateway's certificate, when it is not that of the address."""
    token: SecretStr | None = None
    """Bearer token; better in the environment (`RAYTIDE_CLIENT__TOKEN`) or in `token_file` than here. Masked everywhere."""
    token_file: str | None = None
    """File with the bearer token, readable by nobody else. Read again when changed."""
    plaintext_token: bool = False
    """Send the token without TLS to an address other than loopback: anybody on the way can read it."""


class UploadsConfig(Section):
    """Files over gRPC."""

    spool: str = f"{STATE_FOLDER}/spool"
    """Folder for files while they are received, and for their originals after that."""
    max_bytes: Positive = 20 * 1024**3
    """Largest file, packed and unpacked."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 512 * 1024**2
    """Disk space that must stay free under the spool."""
    concurrent: Positive = 8
    """Transfers at once; more are told to come again later."""
    piece_bytes: Positive = 8 * 1024 * 1024
    """Bytes of a file in one Ray task."""
    pieces_in_flight: Positive = 4
    """Tasks of one file at once."""
    idle_timeout_s: Positive = 60
    """How long a transfer may send nothing."""
    takeover_s: Positive = 2
    """A transfer that sent nothing for so long gives way to a client that resumes it."""
    resume_s: Positive = 3600
    """How long the beginning of a file whose transfer was cut waits for somebody to go on."""
    retention_s: Positive = 7 * 24 * 3600
    """How long the original of a file is kept after it is DONE, FAILED or CANCELLED."""
    budget_bytes: Annotated[int, Field(ge=0)] = 10 * 1024**3
    """What kept originals may take; the oldest go first. 0 keeps none."""


class IngestConfig(Section):
    """Bounds and rules of the path."""

    batch_records: Positive = 20_000
    """Most records in a batch."""
    batch_bytes: Positive = 16 * 1024 * 1024
    """Most bytes of raw values in a batch."""
    batches_in_flight: Positive = 3
    """Batches of one partition on their way to the writer."""
    max_record_bytes: Positive = 1024 * 1024
    """A longer record is rejected as `too_large`."""
    max_future_skew_s: Annotated[int, Field(ge=0)] = 300
    """How far a time may lie ahead of this machine's clock before it is rejected."""
    transform_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds that a call of a feature function may take, for one event or one batch; its calls of a batch have thrice that."""
    max_reject_run: Annotated[int, Field(ge=0)] = 1_000
    """A partition that rejects more records in a row is HALTED, and the batch is not stored; 0 means no limit."""
    max_reject_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A partition that rejects more than this share of `reject_window` records is HALTED; 1 means no limit."""
    reject_window: Positive = 10_000
    """Records, one after another, over which the share is taken; it counts once so many were read."""


class RayConfig(Section):
    """The Ray cluster that the app runs on."""

    address: str = "local"
    """`local` starts a Ray of our own; `auto` or host:port joins the cluster that `ray up` made."""
    dashboard_port: Port = 8265
    """Dashboard of a local Ray; a free one is taken, and said, when it is in use."""
    num_cpus: Positive | None = None
    """CPUs of a local Ray. Left out: what the machine has."""
    object_store_bytes: Positive = 256 * 1024 * 1024
    """Object store of a local Ray."""
    unresponsive_s: Positive = 10
    """An actor that answers nothing and uses no processor time for so long is replaced; after six times as long in any case."""


class TelemetryConfig(Section):
    """Logs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""


class _FileAndEnvironment(BaseSettings):
    """A file's content, and variables `RAYTIDE_SECTION__FIELD`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="RAYTIDE_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings


class Config(_FileAndEnvironment):
    """The whole configuration. Components take their section, never this."""

    project: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    """Name of the project: lower case letters, digits, underscores."""
    definitions: str = "definitions.py"
    """Python file with the project's definitions, relative to feature_store.yaml."""
    kafka: KafkaConfig = KafkaConfig()
    """How to reach Kafka."""
    online_store: OnlineStoreConfig = OnlineStoreConfig()
    """How to reach Redis."""
    offline_store: OfflineStoreConfig = OfflineStoreConfig()
    """Where the DuckDB file is."""
    workers: WorkersConfig = WorkersConfig()
    """The cluster-wide cap."""
    gateway: GatewayConfig = GatewayConfig()
    """The gRPC server."""
    client: ClientConfig = ClientConfig()
    """How clients and the command line reach a gateway that is protected."""
    uploads: UploadsConfig = UploadsConfig()
    """Files over gRPC."""
    ingest: IngestConfig = IngestConfig()
    """Bounds of the path."""
    ray: RayConfig = RayConfig()
    """The Ray cluster."""
    telemetry: TelemetryConfig = TelemetryConfig()
    """Logs."""


class _ClientOnly(_FileAndEnvironment):
    """The section of a client, for which nothing else of a project has to be right."""

    model_config = SettingsConfigDict(extra="ignore")

    client: ClientConfig = ClientConfig()


SECURITY_FILES = {
    "kafka": ("ssl_cafile", "ssl_certfile", "ssl_keyfile"),
    "online_store": ("ssl_cafile", "ssl_certfile", "ssl_keyfile"),
    "gateway": ("tls_cert", "tls_key", "tls_client_ca", "tokens"),
}


def folder_of(project: Path) -> Path:
    """Return the project's folder; `project` is that, or the configuration file in it."""
    return project if project.is_dir() else project.parent


def load(path: Path) -> Config:
    """Read `path` (the file, or the folder that holds it) and the environment.

    Raise Misconfigured naming each wrong key, with a suggestion for unknown ones.
    """
    file = path / FILE_NAME if path.is_dir() else path
    return from_mapping(read_yaml(file), str(file))


def rooted(config: Config, folder: Path) -> Config:
    """Return the configuration with certificates, keys and tokens named by full paths: processes start in other folders."""
    root = folder.resolve()
    return config.model_copy(
        update={name: _rooted(getattr(config, name), root, fields) for name, fields in SECURITY_FILES.items()},
    )


def _rooted(section: Section, root: Path, fields: tuple[str, ...]) -> Section:
    named = {field: getattr(section, field) for field in fields}
    return section.model_copy(update={field: str(root / name) for field, name in named.items() if name})


def client_section(path: Path | None) -> ClientConfig:
    """Return how a client reaches the gateway, by the file at `path` (or in that folder, if there is one) and the environment.

    Raise Misconfigured for what is wrong in that section alone.
    """
    file = path / FILE_NAME if path is not None and path.is_dir() else path
    content = read_yaml(file) if file is not None and file.exists() else {}
    with explained(str(file or "the environment"), _ClientOnly):
        return _ClientOnly(**{key: content[key] for key in content if key == "client"}).client


def from_mapping(content: Mapping[str, Any], where: str) -> Config:
    """Return the configuration that `content` and the environment describe; `where` names it in errors."""
    with explained(where, Config):
        config = Config(**content)
    if sentence := contradiction(config):
        raise Misconfigured(f"{where}: {sentence}")
    return config
