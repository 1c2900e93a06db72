"""Files as an entrance: received, spooled, split into pieces, committed as one transaction, newest rows to Redis.

`messages` (what goes in and comes back), `service` (the entrance itself), `header` (is the file welcome), `spool` (bytes
on disk), `transfer` (bytes from a client), `job` (progress, for all who watch), `processing` (from a stored file to
DONE), `pieces` (one piece of a file, wherever it runs).
"""

from cluster.uploads.messages import UploadHeader, UploadProgress
from cluster.uploads.pieces import LocalPieceRunner, PieceCounts, PieceRunner, run_piece
from cluster.uploads.service import UploadService

__all__ = [
    "LocalPieceRunner",
    "PieceCounts",
    "PieceRunner",
    "UploadHeader",
    "UploadProgress",
    "UploadService",
    "run_piece",
]
