"""`feature_store.yaml` and the environment become one frozen value, read once and passed down by section.

Any field can be overridden by `RAYTIDE_SECTION__FIELD`. Unknown keys are errors with a suggestion. Addresses left out
mean the local stack of the working folder (`raytide stack up`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

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
    create_topics: bool = True
    """Create a source's topic with its declared partitions when it does not exist."""
    replication_factor: Positive = 1
    """Replicas of topics that Raytide creates."""
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
    memory_limit: str = "2GB"
    """DuckDB's own limit for the writer process."""
    threads: Positive = max(1, (os.cpu_count() or 2) // 2)
    """Threads for DuckDB. Left out: half of the machine's cores, because streams and pieces of files want the others."""
    group_commit_rows: Positive = 400_000
    """Rows after which waiting batches become one transaction."""
    group_commit_ms: Annotated[int, Field(ge=0)] = 20
    """How long the first waiting batch waits for company."""
    queue_bytes: Positive = 256 * 1024 * 1024
    """Batches waiting in the writer, in bytes; above it senders wait."""
    staged_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    """Rows of files that may wait for their commit in the writer's memory; the others wait in temporary tables of DuckDB."""
    read_timeout_s: Positive = 120
    """How long one historical or SQL read may run."""
    concurrent_reads: Positive = 4
    """Historical and SQL reads at once; others wait."""
    read_wait_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a read waits for its turn; after that it is answered RESOURCE_EXHAUSTED."""
    read_memory: str = "512MB"
    """What one read may take for sorting and hash tables before it uses the disk; DuckDB's operator_memory_limit."""
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
    max_message_bytes: Positive = 4 * 1024 * 1024
    """Largest message that a client may send."""
    max_concurrent_calls: Positive = 128
    """Calls at once; more are answered RESOURCE_EXHAUSTED."""
    max_entities: Positive = 10_000
    """Entities in one online read."""
    max_historical_rows: Positive = 5_000_000
    """Entity rows in one historical read."""
    max_historical_bytes: Positive = 1024**3
    """Entity rows in one historical read, all columns together, in bytes."""
    default_timeout_s: Positive = 60
    """How long a client that streams may keep the gateway waiting for its next message."""


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


class Config(BaseSettings):
    """The whole configuration. Components take their section, never this."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="RAYTIDE_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

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
    uploads: UploadsConfig = UploadsConfig()
    """Files over gRPC."""
    ingest: IngestConfig = IngestConfig()
    """Bounds of the path."""
    ray: RayConfig = RayConfig()
    """The Ray cluster."""
    telemetry: TelemetryConfig = TelemetryConfig()
    """Logs."""

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


def folder_of(project: Path) -> Path:
    """Return the project's folder; `project` is that, or the configuration file in it."""
    return project if project.is_dir() else project.parent


def load(path: Path) -> Config:
    """Read `path` (the file, or the folder that holds it) and the environment.

    Raise Misconfigured naming each wrong key, with a suggestion for unknown ones.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise Misconfigured(f"no {FILE_NAME} at {file}: run in a feature repository, or name one with --project") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise Misconfigured(f"{file} must be a mapping of sections, such as `project: my_project`")
    return from_mapping(content, str(file))


def from_mapping(content: Mapping[str, Any], where: str) -> Config:
    """Return the configuration that `content` and the environment describe; `where` names it in errors."""
    try:
        config = Config(**content)
    except ValidationError as error:
        raise Misconfigured(f"{where}:\n" + "\n".join(f"  {_explain(e)}" for e in error.errors())) from None
    if config.workers.reserved_for_streams >= config.workers.max:
        raise Misconfigured(
            f"{where}: workers.reserved_for_streams ({config.workers.reserved_for_streams}) must be below "
            f"workers.max ({config.workers.max}), or uploads would never get a slot",
        )
    return config


def _explain(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{path}: is required; add `{path}: my_{path}`"
    if error["type"] != "extra_forbidden":
        return f"{path}: {error['msg']}"  # never `input`: it may be a secret
    *parents, key = [str(part) for part in error["loc"]]
    close = difflib.get_close_matches(key, _keys(parents), n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(sorted(_keys(parents)))}"
    return f"{path}: unknown key; {hint}"


def _keys(parents: list[str]) -> list[str]:
    model: Any = Config
    for parent in parents:
        annotation = model.model_fields[parent].annotation
        model = next((a for a in (annotation, *get_args(annotation)) if hasattr(a, "model_fields")), model)
    return list(model.model_fields)
