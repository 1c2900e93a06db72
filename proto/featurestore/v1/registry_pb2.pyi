from featurestore.v1 import features_pb2 as _features_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DefinitionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEFINITION_KIND_UNSPECIFIED: _ClassVar[DefinitionKind]
    DEFINITION_KIND_ENTITY: _ClassVar[DefinitionKind]
    DEFINITION_KIND_SOURCE: _ClassVar[DefinitionKind]
    DEFINITION_KIND_VIEW: _ClassVar[DefinitionKind]
    DEFINITION_KIND_FEATURE: _ClassVar[DefinitionKind]
    DEFINITION_KIND_SERVICE: _ClassVar[DefinitionKind]
DEFINITION_KIND_UNSPECIFIED: DefinitionKind
DEFINITION_KIND_ENTITY: DefinitionKind
DEFINITION_KIND_SOURCE: DefinitionKind
DEFINITION_KIND_VIEW: DefinitionKind
DEFINITION_KIND_FEATURE: DefinitionKind
DEFINITION_KIND_SERVICE: DefinitionKind

class Definition(_message.Message):
    __slots__ = ("kind", "name", "description", "owner", "tags", "facts_json")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    FACTS_JSON_FIELD_NUMBER: _ClassVar[int]
    kind: DefinitionKind
    name: str
    description: str
    owner: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    facts_json: str
    def __init__(self, kind: _Optional[_Union[DefinitionKind, str]] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., owner: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., facts_json: _Optional[str] = ...) -> None: ...

class ListDefinitionsRequest(_message.Message):
    __slots__ = ("kind", "tag", "owner")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    kind: DefinitionKind
    tag: str
    owner: str
    def __init__(self, kind: _Optional[_Union[DefinitionKind, str]] = ..., tag: _Optional[str] = ..., owner: _Optional[str] = ...) -> None: ...

class ListDefinitionsResponse(_message.Message):
    __slots__ = ("definitions", "registry_version")
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    definitions: _containers.RepeatedCompositeFieldContainer[Definition]
    registry_version: int
    def __init__(self, definitions: _Optional[_Iterable[_Union[Definition, _Mapping]]] = ..., registry_version: _Optional[int] = ...) -> None: ...

class DescribeDefinitionRequest(_message.Message):
    __slots__ = ("kind", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: DefinitionKind
    name: str
    def __init__(self, kind: _Optional[_Union[DefinitionKind, str]] = ..., name: _Optional[str] = ...) -> None: ...

class DescribeDefinitionResponse(_message.Message):
    __slots__ = ("definition", "registry_version")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    definition: Definition
    registry_version: int
    def __init__(self, definition: _Optional[_Union[Definition, _Mapping]] = ..., registry_version: _Optional[int] = ...) -> None: ...

class LineageNode(_message.Message):
    __slots__ = ("kind", "name", "detail", "digest")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    detail: str
    digest: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., detail: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class LineageEdge(_message.Message):
    __slots__ = ("taken", "taker")
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    TAKER_FIELD_NUMBER: _ClassVar[int]
    taken: int
    taker: int
    def __init__(self, taken: _Optional[int] = ..., taker: _Optional[int] = ...) -> None: ...

class LineageGraph(_message.Message):
    __slots__ = ("nodes", "edges")
    NODES_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[LineageNode]
    edges: _containers.RepeatedCompositeFieldContainer[LineageEdge]
    def __init__(self, nodes: _Optional[_Iterable[_Union[LineageNode, _Mapping]]] = ..., edges: _Optional[_Iterable[_Union[LineageEdge, _Mapping]]] = ...) -> None: ...

class GetFeatureLineageRequest(_message.Message):
    __slots__ = ("feature",)
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    feature: str
    def __init__(self, feature: _Optional[str] = ...) -> None: ...

class FeatureVersion(_message.Message):
    __slots__ = ("version", "applied_at_us", "applied_by", "comment", "change", "what")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_US_FIELD_NUMBER: _ClassVar[int]
    APPLIED_BY_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    version: int
    applied_at_us: int
    applied_by: str
    comment: str
    change: str
    what: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., applied_at_us: _Optional[int] = ..., applied_by: _Optional[str] = ..., comment: _Optional[str] = ..., change: _Optional[str] = ..., what: _Optional[_Iterable[str]] = ...) -> None: ...

class GetFeatureLineageResponse(_message.Message):
    __slots__ = ("feature", "view", "registry_version", "graph", "versions")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    feature: str
    view: str
    registry_version: int
    graph: LineageGraph
    versions: _containers.RepeatedCompositeFieldContainer[FeatureVersion]
    def __init__(self, feature: _Optional[str] = ..., view: _Optional[str] = ..., registry_version: _Optional[int] = ..., graph: _Optional[_Union[LineageGraph, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[FeatureVersion, _Mapping]]] = ...) -> None: ...

class GetValueLineageRequest(_message.Message):
    __slots__ = ("entity_id", "feature", "at_us")
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    entity_id: str
    feature: str
    at_us: int
    def __init__(self, entity_id: _Optional[str] = ..., feature: _Optional[str] = ..., at_us: _Optional[int] = ...) -> None: ...

class GetValueLineageResponse(_message.Message):
    __slots__ = ("entity_id", "feature", "view", "value", "status", "event_timestamp_us", "created_at_us", "committed_at_us", "kind", "topic", "partition", "incarnation", "upload_id", "upload_name", "position", "registry_version", "applied_at_us", "applied_by", "graph")
    ENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMESTAMP_US_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_US_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_US_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_NAME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_US_FIELD_NUMBER: _ClassVar[int]
    APPLIED_BY_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    entity_id: str
    feature: str
    view: str
    value: float
    status: _features_pb2.FeatureStatus
    event_timestamp_us: int
    created_at_us: int
    committed_at_us: int
    kind: str
    topic: str
    partition: int
    incarnation: int
    upload_id: str
    upload_name: str
    position: int
    registry_version: int
    applied_at_us: int
    applied_by: str
    graph: LineageGraph
    def __init__(self, entity_id: _Optional[str] = ..., feature: _Optional[str] = ..., view: _Optional[str] = ..., value: _Optional[float] = ..., status: _Optional[_Union[_features_pb2.FeatureStatus, str]] = ..., event_timestamp_us: _Optional[int] = ..., created_at_us: _Optional[int] = ..., committed_at_us: _Optional[int] = ..., kind: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., incarnation: _Optional[int] = ..., upload_id: _Optional[str] = ..., upload_name: _Optional[str] = ..., position: _Optional[int] = ..., registry_version: _Optional[int] = ..., applied_at_us: _Optional[int] = ..., applied_by: _Optional[str] = ..., graph: _Optional[_Union[LineageGraph, _Mapping]] = ...) -> None: ...
