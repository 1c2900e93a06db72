from featurestore.v1 import ingest_pb2 as _ingest_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VerifyScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERIFY_SCOPE_UNSPECIFIED: _ClassVar[VerifyScope]
    VERIFY_SCOPE_FULL: _ClassVar[VerifyScope]
    VERIFY_SCOPE_WINDOWS: _ClassVar[VerifyScope]
VERIFY_SCOPE_UNSPECIFIED: VerifyScope
VERIFY_SCOPE_FULL: VerifyScope
VERIFY_SCOPE_WINDOWS: VerifyScope

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Endpoints(_message.Message):
    __slots__ = ("bootstrap_servers", "redis_url", "gateway", "dashboard")
    BOOTSTRAP_SERVERS_FIELD_NUMBER: _ClassVar[int]
    REDIS_URL_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    DASHBOARD_FIELD_NUMBER: _ClassVar[int]
    bootstrap_servers: str
    redis_url: str
    gateway: str
    dashboard: str
    def __init__(self, bootstrap_servers: _Optional[str] = ..., redis_url: _Optional[str] = ..., gateway: _Optional[str] = ..., dashboard: _Optional[str] = ...) -> None: ...

class PartitionStatus(_message.Message):
    __slots__ = ("topic", "partition", "state", "note", "actor", "epoch", "next_offset", "end_offset", "lag", "events", "rejected", "in_flight", "registry_version", "lag_seconds")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    state: str
    note: str
    actor: str
    epoch: int
    next_offset: int
    end_offset: int
    lag: int
    events: int
    rejected: int
    in_flight: int
    registry_version: int
    lag_seconds: float
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., state: _Optional[str] = ..., note: _Optional[str] = ..., actor: _Optional[str] = ..., epoch: _Optional[int] = ..., next_offset: _Optional[int] = ..., end_offset: _Optional[int] = ..., lag: _Optional[int] = ..., events: _Optional[int] = ..., rejected: _Optional[int] = ..., in_flight: _Optional[int] = ..., registry_version: _Optional[int] = ..., lag_seconds: _Optional[float] = ...) -> None: ...

class SlotStatus(_message.Message):
    __slots__ = ("holder", "kind", "job", "seconds")
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    holder: str
    kind: str
    job: str
    seconds: float
    def __init__(self, holder: _Optional[str] = ..., kind: _Optional[str] = ..., job: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class LimiterStatus(_message.Message):
    __slots__ = ("slots", "reserved_for_streams", "most_at_once", "held", "waiting")
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FOR_STREAMS_FIELD_NUMBER: _ClassVar[int]
    MOST_AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    slots: int
    reserved_for_streams: int
    most_at_once: int
    held: _containers.RepeatedCompositeFieldContainer[SlotStatus]
    waiting: _containers.RepeatedCompositeFieldContainer[SlotStatus]
    def __init__(self, slots: _Optional[int] = ..., reserved_for_streams: _Optional[int] = ..., most_at_once: _Optional[int] = ..., held: _Optional[_Iterable[_Union[SlotStatus, _Mapping]]] = ..., waiting: _Optional[_Iterable[_Union[SlotStatus, _Mapping]]] = ...) -> None: ...

class WriterStatus(_message.Message):
    __slots__ = ("state", "note", "commits", "batches", "rows", "queued_batches", "queued_bytes", "file_bytes", "free_bytes")
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    state: str
    note: str
    commits: int
    batches: int
    rows: int
    queued_batches: int
    queued_bytes: int
    file_bytes: int
    free_bytes: int
    def __init__(self, state: _Optional[str] = ..., note: _Optional[str] = ..., commits: _Optional[int] = ..., batches: _Optional[int] = ..., rows: _Optional[int] = ..., queued_batches: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., file_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ...) -> None: ...

class OnlineStatus(_message.Message):
    __slots__ = ("state", "note", "entities_done", "entities_total")
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_DONE_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    state: str
    note: str
    entities_done: int
    entities_total: int
    def __init__(self, state: _Optional[str] = ..., note: _Optional[str] = ..., entities_done: _Optional[int] = ..., entities_total: _Optional[int] = ...) -> None: ...

class SpoolStatus(_message.Message):
    __slots__ = ("bytes", "budget_bytes", "files", "receiving")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    RECEIVING_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    budget_bytes: int
    files: int
    receiving: int
    def __init__(self, bytes: _Optional[int] = ..., budget_bytes: _Optional[int] = ..., files: _Optional[int] = ..., receiving: _Optional[int] = ...) -> None: ...

class GatewayStatus(_message.Message):
    __slots__ = ("name", "state", "address", "note")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    address: str
    note: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., address: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("project", "registry_version", "taken_at_us", "endpoints", "partitions", "limiter", "writer", "uploads", "online", "spool", "gateways")
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    TAKEN_AT_US_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LIMITER_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    UPLOADS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    SPOOL_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    project: str
    registry_version: int
    taken_at_us: int
    endpoints: Endpoints
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionStatus]
    limiter: LimiterStatus
    writer: WriterStatus
    uploads: _containers.RepeatedCompositeFieldContainer[_ingest_pb2.Upload]
    online: OnlineStatus
    spool: SpoolStatus
    gateways: _containers.RepeatedCompositeFieldContainer[GatewayStatus]
    def __init__(self, project: _Optional[str] = ..., registry_version: _Optional[int] = ..., taken_at_us: _Optional[int] = ..., endpoints: _Optional[_Union[Endpoints, _Mapping]] = ..., partitions: _Optional[_Iterable[_Union[PartitionStatus, _Mapping]]] = ..., limiter: _Optional[_Union[LimiterStatus, _Mapping]] = ..., writer: _Optional[_Union[WriterStatus, _Mapping]] = ..., uploads: _Optional[_Iterable[_Union[_ingest_pb2.Upload, _Mapping]]] = ..., online: _Optional[_Union[OnlineStatus, _Mapping]] = ..., spool: _Optional[_Union[SpoolStatus, _Mapping]] = ..., gateways: _Optional[_Iterable[_Union[GatewayStatus, _Mapping]]] = ...) -> None: ...

class RunSqlRequest(_message.Message):
    __slots__ = ("statement",)
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    statement: str
    def __init__(self, statement: _Optional[str] = ...) -> None: ...

class RunSqlResponse(_message.Message):
    __slots__ = ("arrow",)
    ARROW_FIELD_NUMBER: _ClassVar[int]
    arrow: bytes
    def __init__(self, arrow: _Optional[bytes] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("wait_s", "scope")
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    wait_s: float
    scope: VerifyScope
    def __init__(self, wait_s: _Optional[float] = ..., scope: _Optional[_Union[VerifyScope, str]] = ...) -> None: ...

class VerifyCheck(_message.Message):
    __slots__ = ("name", "checked", "offenders", "examples")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    OFFENDERS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    name: str
    checked: int
    offenders: int
    examples: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., checked: _Optional[int] = ..., offenders: _Optional[int] = ..., examples: _Optional[_Iterable[str]] = ...) -> None: ...

class VerifyPartition(_message.Message):
    __slots__ = ("topic", "partition", "first", "next", "end", "behind")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    first: int
    next: int
    end: int
    behind: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., first: _Optional[int] = ..., next: _Optional[int] = ..., end: _Optional[int] = ..., behind: _Optional[int] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("ok", "checks", "partitions", "declared")
    OK_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    checks: _containers.RepeatedCompositeFieldContainer[VerifyCheck]
    partitions: _containers.RepeatedCompositeFieldContainer[VerifyPartition]
    declared: _containers.RepeatedCompositeFieldContainer[DeclaredLoss]
    def __init__(self, ok: _Optional[bool] = ..., checks: _Optional[_Iterable[_Union[VerifyCheck, _Mapping]]] = ..., partitions: _Optional[_Iterable[_Union[VerifyPartition, _Mapping]]] = ..., declared: _Optional[_Iterable[_Union[DeclaredLoss, _Mapping]]] = ...) -> None: ...

class RebuildOnlineRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RebuildOnlineResponse(_message.Message):
    __slots__ = ("online",)
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    online: OnlineStatus
    def __init__(self, online: _Optional[_Union[OnlineStatus, _Mapping]] = ...) -> None: ...

class DeadLetterPlace(_message.Message):
    __slots__ = ("position", "topic", "partition", "upload_id")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    position: int
    topic: str
    partition: int
    upload_id: str
    def __init__(self, position: _Optional[int] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., upload_id: _Optional[str] = ...) -> None: ...

class DeadLetterSelection(_message.Message):
    __slots__ = ("source", "upload_id", "reason", "since_us", "until_us", "replayed", "place")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_US_FIELD_NUMBER: _ClassVar[int]
    UNTIL_US_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    source: str
    upload_id: str
    reason: str
    since_us: int
    until_us: int
    replayed: bool
    place: DeadLetterPlace
    def __init__(self, source: _Optional[str] = ..., upload_id: _Optional[str] = ..., reason: _Optional[str] = ..., since_us: _Optional[int] = ..., until_us: _Optional[int] = ..., replayed: _Optional[bool] = ..., place: _Optional[_Union[DeadLetterPlace, _Mapping]] = ...) -> None: ...

class DeadLetterHeader(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("place", "source", "reason", "detail", "registry_version", "received_at_us", "replayed_at_us", "record_time_us", "payload_bytes", "payload", "key", "headers")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_US_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_AT_US_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_US_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    place: DeadLetterPlace
    source: str
    reason: str
    detail: str
    registry_version: int
    received_at_us: int
    replayed_at_us: int
    record_time_us: int
    payload_bytes: int
    payload: bytes
    key: bytes
    headers: _containers.RepeatedCompositeFieldContainer[DeadLetterHeader]
    def __init__(self, place: _Optional[_Union[DeadLetterPlace, _Mapping]] = ..., source: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., registry_version: _Optional[int] = ..., received_at_us: _Optional[int] = ..., replayed_at_us: _Optional[int] = ..., record_time_us: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., payload: _Optional[bytes] = ..., key: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[DeadLetterHeader, _Mapping]]] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("selection", "limit")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    selection: DeadLetterSelection
    limit: int
    def __init__(self, selection: _Optional[_Union[DeadLetterSelection, _Mapping]] = ..., limit: _Optional[int] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("letters", "total")
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    total: int
    def __init__(self, letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class GetDeadLetterRequest(_message.Message):
    __slots__ = ("place",)
    PLACE_FIELD_NUMBER: _ClassVar[int]
    place: DeadLetterPlace
    def __init__(self, place: _Optional[_Union[DeadLetterPlace, _Mapping]] = ...) -> None: ...

class GetDeadLetterResponse(_message.Message):
    __slots__ = ("letter",)
    LETTER_FIELD_NUMBER: _ClassVar[int]
    letter: DeadLetter
    def __init__(self, letter: _Optional[_Union[DeadLetter, _Mapping]] = ...) -> None: ...

class ReplayDeadLettersRequest(_message.Message):
    __slots__ = ("selection", "dry_run")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    selection: DeadLetterSelection
    dry_run: bool
    def __init__(self, selection: _Optional[_Union[DeadLetterSelection, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ReplayDeadLettersResponse(_message.Message):
    __slots__ = ("total", "registry_version", "seen", "replayed", "taken", "rejected", "skipped", "note")
    class RejectedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class SkippedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    total: int
    registry_version: int
    seen: int
    replayed: int
    taken: int
    rejected: _containers.ScalarMap[str, int]
    skipped: _containers.ScalarMap[str, int]
    note: str
    def __init__(self, total: _Optional[int] = ..., registry_version: _Optional[int] = ..., seen: _Optional[int] = ..., replayed: _Optional[int] = ..., taken: _Optional[int] = ..., rejected: _Optional[_Mapping[str, int]] = ..., skipped: _Optional[_Mapping[str, int]] = ..., note: _Optional[str] = ...) -> None: ...

class ResumePartitionRequest(_message.Message):
    __slots__ = ("topic", "partition", "allowed_rejects")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_REJECTS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    allowed_rejects: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., allowed_rejects: _Optional[int] = ...) -> None: ...

class ResumePartitionResponse(_message.Message):
    __slots__ = ("partition",)
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    partition: PartitionStatus
    def __init__(self, partition: _Optional[_Union[PartitionStatus, _Mapping]] = ...) -> None: ...

class DeclaredLoss(_message.Message):
    __slots__ = ("topic", "partition", "incarnation", "first", "next", "offsets", "reason", "declared_by", "declared_at_us")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DECLARED_BY_FIELD_NUMBER: _ClassVar[int]
    DECLARED_AT_US_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    incarnation: int
    first: int
    next: int
    offsets: int
    reason: str
    declared_by: str
    declared_at_us: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., incarnation: _Optional[int] = ..., first: _Optional[int] = ..., next: _Optional[int] = ..., offsets: _Optional[int] = ..., reason: _Optional[str] = ..., declared_by: _Optional[str] = ..., declared_at_us: _Optional[int] = ...) -> None: ...

class ResetPartitionRequest(_message.Message):
    __slots__ = ("topic", "partition", "target", "declared_by", "dry_run", "expected")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DECLARED_BY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    target: str
    declared_by: str
    dry_run: bool
    expected: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., target: _Optional[str] = ..., declared_by: _Optional[str] = ..., dry_run: _Optional[bool] = ..., expected: _Optional[int] = ...) -> None: ...

class ResetPartitionResponse(_message.Message):
    __slots__ = ("previous", "next", "declared")
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    previous: int
    next: int
    declared: _containers.RepeatedCompositeFieldContainer[DeclaredLoss]
    def __init__(self, previous: _Optional[int] = ..., next: _Optional[int] = ..., declared: _Optional[_Iterable[_Union[DeclaredLoss, _Mapping]]] = ...) -> None: ...
