"""Who may call what. One table; a method that is not in it is for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Role(IntEnum):
    """Each role may do what those before it may."""

    ANYONE = 0  # also without a token
    READER = 1
    WRITER = 2
    ADMIN = 3


NEEDED: Mapping[str, Mapping[str, Role]] = {
    "featurestore.v1.FeatureService": {
        "GetOnlineFeatures": Role.READER,
        "GetHistoricalFeatures": Role.READER,
    },
    "featurestore.v1.RegistryService": {
        "ListDefinitions": Role.READER,
        "DescribeDefinition": Role.READER,
        "GetFeatureLineage": Role.READER,
        "GetValueLineage": Role.READER,
    },
    "featurestore.v1.IngestService": {
        "GetUpload": Role.READER,
        "ListUploads": Role.READER,
        "WatchUpload": Role.READER,
        "CheckFile": Role.WRITER,
        "UploadFile": Role.WRITER,
        "CancelUpload": Role.WRITER,
        "RetryUpload": Role.WRITER,
    },
    "featurestore.v1.BackfillService": {
        "ListBackfills": Role.READER,
        "RunBackfill": Role.ADMIN,
        "CancelBackfill": Role.ADMIN,
    },
    "featurestore.v1.AdminService": {
        "GetStatus": Role.READER,
        # Rejected records are raw data, often of those who sent them.
        "ListDeadLetters": Role.WRITER,
        "GetDeadLetter": Role.WRITER,
        "ReplayDeadLetters": Role.ADMIN,
        # Reads every table, the payloads of rejected records among them.
        "RunSql": Role.ADMIN,
        "Verify": Role.ADMIN,
        "RebuildOnline": Role.ADMIN,
        "ResumePartition": Role.ADMIN,
        "ResetPartition": Role.ADMIN,
    },
    # The same reads in Feast's words, and under the name that Feast's own Python server has.
    "feast.serving.ServingService": {
        "GetFeastServingInfo": Role.READER,
        "GetOnlineFeatures": Role.READER,
    },
    "GrpcFeatureServer": {
        "GetOnlineFeatures": Role.READER,
    },
    # Probes of load balancers and Kubernetes carry no token.
    "grpc.health.v1.Health": {
        "Check": Role.ANYONE,
        "List": Role.ANYONE,
        "Watch": Role.ANYONE,
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": Role.READER,
    },
}


def needed(method: str) -> Role:
    """Return the least role for a method, named as on the wire: /package.Service/Method."""
    _, service, name = method.split("/", 2)
    return NEEDED.get(service, {}).get(name, Role.ADMIN)
