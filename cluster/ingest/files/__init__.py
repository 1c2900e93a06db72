"""The three formats of uploaded files. `cluster/ingest/split.py` cuts a file into pieces, `decoder` reads a piece.

Cutting: `sniff` (files that are something else), `layout` (columns that a source asks for), `blocks` and `lines` (bytes),
`csv_records` (where records end), `csv_split`, `jsonl_split`, `parquet_split`, `text_split` (what two of them share),
`piece` (what travels). Reading: `csv_read` with `csv_check` and `text_values`, `parquet_read`, `rows` (what they return).
"""
