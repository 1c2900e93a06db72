"""Files of uploads that are kept, read again: for backfills."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.errors import NotFound
from cluster.ingest.split import Format, Piece, split
from cluster.registry.catalog import Catalog
from cluster.stores.ports import Upload
from cluster.uploads.manifest import Bounds, split_options
from cluster.uploads.spool import Spool


class Originals:
    """Meets `cluster.backfills.drive.StoredFiles` with the spool of one gateway. Any thread."""

    def __init__(self, spool: Spool, bounds: Bounds) -> None:
        self._spool, self._bounds = spool, bounds

    def kept(self, source: str) -> set[str]:
        """See StoredFiles."""
        return set(self._spool.originals(source))

    def pieces(self, catalog: Catalog, upload: Upload) -> Iterator[Piece]:
        """See StoredFiles. Rows have the numbers that they had when the file came in."""
        try:
            manifest = self._spool.manifest(upload.upload_id)
            options = split_options(catalog, manifest, self._bounds)
            yield from split(self._spool.path(upload.upload_id), Format(upload.format), options)
        except FileNotFoundError:
            raise NotFound(f"the file of upload {upload.upload_id} is not kept here any more") from None
