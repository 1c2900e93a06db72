"""Messages to our types and back. Behind this module nothing knows protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from featurestore.v1 import admin_pb2, ingest_pb2

from cluster.errors import Refused
from cluster.gateway.failures import AtFault
from cluster.status import (
    Endpoints,
    GatewayReport,
    LimiterReport,
    OnlineReport,
    OnlineState,
    PartitionReport,
    Scope,
    SlotReport,
    SpoolReport,
    StatusReport,
    WriterReport,
)
from cluster.stores.ports import Upload, UploadState
from cluster.uploads.messages import CheckProgress, RejectedRow, UploadHeader, UploadProgress

_SCOPES = {
    Scope.SAMPLE: admin_pb2.VERIFY_SCOPE_UNSPECIFIED,
    Scope.FULL: admin_pb2.VERIFY_SCOPE_FULL,
    Scope.WINDOWS: admin_pb2.VERIFY_SCOPE_WINDOWS,
}
FORMATS = {
    "csv": ingest_pb2.FILE_FORMAT_CSV,
    "parquet": ingest_pb2.FILE_FORMAT_PARQUET,
    "jsonl": ingest_pb2.FILE_FORMAT_JSONL,
}
FORMAT_NAMES = {number: name for name, number in FORMATS.items()}
COMPRESSIONS = {
    "none": ingest_pb2.COMPRESSION_NONE,
    "gzip": ingest_pb2.COMPRESSION_GZIP,
    "zstd": ingest_pb2.COMPRESSION_ZSTD,
}
COMPRESSION_NAMES = {number: name for name, number in COMPRESSIONS.items()} | {ingest_pb2.COMPRESSION_UNSPECIFIED: "none"}
STATES: dict[UploadState, Any] = {state: ingest_pb2.UploadState.Value(f"UPLOAD_STATE_{state}") for state in UploadState}
STATE_NAMES = {number: state for state, number in STATES.items()}


def header_to_proto(header: UploadHeader) -> ingest_pb2.UploadFileHeader:
    """Return the message for a header."""
    return ingest_pb2.UploadFileHeader(
        name=header.name,
        source=header.source,
        format=FORMATS[header.format],
        size=header.size,
        sha256=header.sha256,
        idempotency_key=header.idempotency_key,
        options=dict(header.options),
        compression=COMPRESSIONS[header.compression],
        resume=header.resume,
        max_rejects=header.max_rejects,
        max_reject_share=header.max_reject_share,
    )


def header_from_proto(message: ingest_pb2.UploadFileHeader) -> UploadHeader:
    """Return the header, as it came; raise AtFault for a format or a compression that has no name."""
    if message.format not in FORMAT_NAMES:
        raise AtFault("header.format", Refused(f"format {message.format} is not known: choose {', '.join(FORMATS)}"))
    if message.compression not in COMPRESSION_NAMES:
        known = ", ".join(COMPRESSIONS)
        raise AtFault("header.compression", Refused(f"compression {message.compression} is not known: choose {known}"))
    return UploadHeader(
        name=message.name,
        source=message.source,
        format=FORMAT_NAMES[message.format],
        size=message.size,
        sha256=message.sha256,
        idempotency_key=message.idempotency_key,
        options=dict(message.options),
        compression=COMPRESSION_NAMES[message.compression],
        resume=message.resume,
        max_rejects=message.max_rejects if message.HasField("max_rejects") else None,
        max_reject_share=message.max_reject_share if message.HasField("max_reject_share") else None,
    )


def upload_to_proto(upload: Upload) -> ingest_pb2.Upload:
    """Return the message for an upload."""
    return ingest_pb2.Upload(
        upload_id=upload.upload_id,
        idempotency_key=upload.idempotency_key,
        name=upload.name,
        source=upload.source,
        format=FORMATS[upload.format],
        sha256=upload.sha256,
        size=upload.bytes,
        state=STATES[upload.state],
        rows=upload.rows,
        rejected=upload.rejected,
        error=upload.error,
        created_at_us=upload.created_at,
        updated_at_us=upload.updated_at,
        original_kept=upload.original_kept,
    )


def upload_from_proto(message: ingest_pb2.Upload) -> Upload:
    """Undo `upload_to_proto`."""
    return Upload(
        upload_id=message.upload_id,
        idempotency_key=message.idempotency_key,
        name=message.name,
        source=message.source,
        format=FORMAT_NAMES[message.format],
        sha256=message.sha256,
        bytes=message.size,
        state=STATE_NAMES[message.state],
        rows=message.rows,
        rejected=message.rejected,
        error=message.error,
        created_at=message.created_at_us,
        updated_at=message.updated_at_us,
        original_kept=message.original_kept,
    )


def progress_to_proto(progress: UploadProgress) -> ingest_pb2.UploadFileResponse:
    """Return the message for an upload's progress."""
    return ingest_pb2.UploadFileResponse(
        upload=upload_to_proto(progress.upload),
        received=progress.received,
        pieces_total=progress.pieces_total,
        pieces_done=progress.pieces_done,
        pieces_split=progress.pieces_split,
        rows_validated=progress.rows_validated,
        rows_rejected=progress.rows_rejected,
        values_online=progress.values_online,
    )


def progress_from_proto(message: ingest_pb2.UploadFileResponse) -> UploadProgress:
    """Undo `progress_to_proto`."""
    return UploadProgress(
        upload=upload_from_proto(message.upload),
        received=message.received,
        pieces_total=message.pieces_total if message.HasField("pieces_total") else None,
        pieces_done=message.pieces_done,
        pieces_split=message.pieces_split,
        rows_validated=message.rows_validated,
        rows_rejected=message.rows_rejected,
        values_online=message.values_online,
    )


def check_to_proto(progress: CheckProgress) -> ingest_pb2.CheckFileResponse:
    """Return the message for what is known of a file that is only checked."""
    return ingest_pb2.CheckFileResponse(
        received=progress.received,
        rows=progress.rows,
        rejected=progress.rejected,
        reasons=dict(progress.reasons),
        examples=[ingest_pb2.RejectedRow(**asdict(row)) for row in progress.examples],
        done=progress.done,
        error=progress.error,
    )


def check_from_proto(message: ingest_pb2.CheckFileResponse) -> CheckProgress:
    """Undo `check_to_proto`."""
    return CheckProgress(
        received=message.received,
        rows=message.rows,
        rejected=message.rejected,
        reasons=dict(message.reasons),
        examples=tuple(RejectedRow(**fields(row)) for row in message.examples),
        done=message.done,
        error=message.error,
    )


def status_to_proto(report: StatusReport) -> admin_pb2.GetStatusResponse:
    """Return the message for a status report. Fields have the same names on both sides, so that a new one is one line."""
    return admin_pb2.GetStatusResponse(
        project=report.project,
        registry_version=report.registry_version,
        taken_at_us=report.taken_at,
        endpoints=admin_pb2.Endpoints(**asdict(report.endpoints)),
        partitions=[partition_to_proto(p) for p in report.partitions],
        limiter=admin_pb2.LimiterStatus(**asdict(report.limiter)),
        writer=admin_pb2.WriterStatus(**asdict(report.writer)),
        uploads=[upload_to_proto(upload) for upload in report.uploads],
        online=online_to_proto(report.online),
        spool=admin_pb2.SpoolStatus(**asdict(report.spool)),
        gateways=[admin_pb2.GatewayStatus(**asdict(gateway)) for gateway in report.gateways],
    )


def status_from_proto(message: admin_pb2.GetStatusResponse) -> StatusReport:
    """Undo `status_to_proto`."""
    limiter = fields(message.limiter)
    return StatusReport(
        project=message.project,
        registry_version=message.registry_version,
        taken_at=message.taken_at_us,
        endpoints=Endpoints(**fields(message.endpoints)),
        partitions=tuple(partition_from_proto(p) for p in message.partitions),
        limiter=LimiterReport(
            **{
                **limiter,
                "held": tuple(SlotReport(**fields(slot)) for slot in message.limiter.held),
                "waiting": tuple(SlotReport(**fields(slot)) for slot in message.limiter.waiting),
            },
        ),
        writer=WriterReport(**fields(message.writer)),
        uploads=tuple(upload_from_proto(upload) for upload in message.uploads),
        online=online_from_proto(message.online),
        spool=SpoolReport(**fields(message.spool)),
        gateways=tuple(GatewayReport(**fields(gateway)) for gateway in message.gateways),
    )


def online_to_proto(report: OnlineReport) -> admin_pb2.OnlineStatus:
    """Return the message for what is known of the online store."""
    return admin_pb2.OnlineStatus(**asdict(report))


def online_from_proto(message: admin_pb2.OnlineStatus) -> OnlineReport:
    """Undo `online_to_proto`."""
    return OnlineReport(**{**fields(message), "state": OnlineState(message.state or OnlineState.UNKNOWN)})


def scope_to_proto(scope: Scope) -> admin_pb2.VerifyScope:
    """Return the number of a scope."""
    return _SCOPES[scope]


def scope_from_proto(number: int) -> Scope:
    """Undo `scope_to_proto`; a number that is not known yet means everything."""
    return next((scope for scope, known in _SCOPES.items() if known == number), Scope.SAMPLE)


def verify_to_proto(report: Mapping[str, Any]) -> admin_pb2.VerifyResponse:
    """Return the message for a verify report in its dictionary form; see Backend.verify."""
    return admin_pb2.VerifyResponse(
        ok=report["ok"],
        checks=[admin_pb2.VerifyCheck(**check) for check in report["checks"]],
        partitions=[admin_pb2.VerifyPartition(**partition) for partition in report["partitions"]],
        declared=[admin_pb2.DeclaredLoss(**loss) for loss in report["declared"]],
    )


def verify_from_proto(message: admin_pb2.VerifyResponse) -> dict[str, Any]:
    """Undo `verify_to_proto`."""
    return {
        "ok": message.ok,
        "checks": [{**fields(check), "examples": list(check.examples)} for check in message.checks],
        "partitions": [fields(partition) for partition in message.partitions],
        "declared": [fields(loss) for loss in message.declared],
    }


def partition_to_proto(report: PartitionReport) -> admin_pb2.PartitionStatus:
    """Return the message for a partition."""
    return admin_pb2.PartitionStatus(**asdict(report), lag=report.lag)


def partition_from_proto(message: admin_pb2.PartitionStatus) -> PartitionReport:
    """Undo `partition_to_proto`."""
    found = fields(message)
    del found["lag"]  # computed from the offsets
    return PartitionReport(**found)


def fields(message: Any) -> dict[str, Any]:
    """Return a message's fields by name; an optional one that is not set is None."""
    return {
        f.name: getattr(message, f.name) if not f.has_presence or message.HasField(f.name) else None
        for f in message.DESCRIPTOR.fields
    }
