"""The corpus of bad files: generated data, and for each file what has to become of it.

`world` (the sources that files are sent to), `case` (a file and its expectation), `rows` (one bad row among good ones),
`text` and `arrow` (files that are wrong as a whole, or look wrong and are not), `cut` (every place at which a small file
can be cut off), `damage` (every byte of a Parquet file changed).
"""

from tests.bad_files import arrow, rows, text
from tests.bad_files.case import Case

CASES: tuple[Case, ...] = (*rows.cases(), *text.cases(), *arrow.cases())
