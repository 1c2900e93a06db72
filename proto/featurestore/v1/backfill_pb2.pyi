from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BackfillPart(_message.Message):
    __slots__ = ("topic", "partition", "first", "end", "next", "published", "incarnation", "topic_id", "events", "rows", "superseded", "rejected", "open", "upload_id")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    first: int
    end: int
    next: int
    published: int
    incarnation: int
    topic_id: str
    events: int
    rows: int
    superseded: int
    rejected: int
    open: int
    upload_id: str
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., first: _Optional[int] = ..., end: _Optional[int] = ..., next: _Optional[int] = ..., published: _Optional[int] = ..., incarnation: _Optional[int] = ..., topic_id: _Optional[str] = ..., events: _Optional[int] = ..., rows: _Optional[int] = ..., superseded: _Optional[int] = ..., rejected: _Optional[int] = ..., open: _Optional[int] = ..., upload_id: _Optional[str] = ...) -> None: ...

class Backfill(_message.Message):
    __slots__ = ("backfill_id", "view", "source", "features", "registry_version", "since_us", "until_us", "state", "holder", "note", "created_at", "updated_at", "parts")
    BACKFILL_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    SINCE_US_FIELD_NUMBER: _ClassVar[int]
    UNTIL_US_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    backfill_id: str
    view: str
    source: str
    features: _containers.RepeatedScalarFieldContainer[str]
    registry_version: int
    since_us: int
    until_us: int
    state: str
    holder: str
    note: str
    created_at: int
    updated_at: int
    parts: _containers.RepeatedCompositeFieldContainer[BackfillPart]
    def __init__(self, backfill_id: _Optional[str] = ..., view: _Optional[str] = ..., source: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., registry_version: _Optional[int] = ..., since_us: _Optional[int] = ..., until_us: _Optional[int] = ..., state: _Optional[str] = ..., holder: _Optional[str] = ..., note: _Optional[str] = ..., created_at: _Optional[int] = ..., updated_at: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[BackfillPart, _Mapping]]] = ...) -> None: ...

class BackfillLeft(_message.Message):
    __slots__ = ("place", "records", "why")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    place: str
    records: int
    why: str
    def __init__(self, place: _Optional[str] = ..., records: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class RunBackfillRequest(_message.Message):
    __slots__ = ("view", "since_us", "until_us", "dry_run")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    SINCE_US_FIELD_NUMBER: _ClassVar[int]
    UNTIL_US_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    view: str
    since_us: int
    until_us: int
    dry_run: bool
    def __init__(self, view: _Optional[str] = ..., since_us: _Optional[int] = ..., until_us: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RunBackfillResponse(_message.Message):
    __slots__ = ("backfill", "left", "dry_run")
    BACKFILL_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    backfill: Backfill
    left: _containers.RepeatedCompositeFieldContainer[BackfillLeft]
    dry_run: bool
    def __init__(self, backfill: _Optional[_Union[Backfill, _Mapping]] = ..., left: _Optional[_Iterable[_Union[BackfillLeft, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ListBackfillsRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class ListBackfillsResponse(_message.Message):
    __slots__ = ("backfills",)
    BACKFILLS_FIELD_NUMBER: _ClassVar[int]
    backfills: _containers.RepeatedCompositeFieldContainer[Backfill]
    def __init__(self, backfills: _Optional[_Iterable[_Union[Backfill, _Mapping]]] = ...) -> None: ...

class CancelBackfillRequest(_message.Message):
    __slots__ = ("backfill_id",)
    BACKFILL_ID_FIELD_NUMBER: _ClassVar[int]
    backfill_id: str
    def __init__(self, backfill_id: _Optional[str] = ...) -> None: ...

class CancelBackfillResponse(_message.Message):
    __slots__ = ("backfill",)
    BACKFILL_FIELD_NUMBER: _ClassVar[int]
    backfill: Backfill
    def __init__(self, backfill: _Optional[_Union[Backfill, _Mapping]] = ...) -> None: ...
