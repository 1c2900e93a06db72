"""Files as an entrance: received, spooled, split into pieces, committed as one transaction, newest rows to Redis.

`messages` (what goes in and comes back), `service` (the entrance itself), `header` (is the file welcome), `receiving` and
`transfer` (bytes from a client), `spool`, `incoming` and `manifest` (bytes on disk and what was said about them), `job` and
`jobs` (progress, for all who watch, and who owns an upload), `work` and `processing` (from a stored file to DONE), `pieces`
(one piece of a file, wherever it runs), `rejects` (how many are too many), `checking` (the same for nothing), `janitor` (what
had its time).
"""

from cluster.uploads.messages import CheckProgress, RejectedRow, UploadHeader, UploadProgress
from cluster.uploads.pieces import LocalPieceRunner, PieceCounts, PieceRunner, check_piece, run_piece
from cluster.uploads.service import UploadService

__all__ = [
    "CheckProgress",
    "LocalPieceRunner",
    "PieceCounts",
    "PieceRunner",
    "RejectedRow",
    "UploadHeader",
    "UploadProgress",
    "UploadService",
    "check_piece",
    "run_piece",
]
