"""`raytide get-online`, `get-historical` and `sql`."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from pyarrow import csv, parquet

from cluster.errors import Misconfigured
from raytide.cli_output import Address, Json, connect, output, print_json, print_table

Features = Annotated[
    list[str] | None,
    typer.Option("--feature", "-f", help="A feature, view:feature or a view; repeat for more."),
]
Service = Annotated[str | None, typer.Option(help="A feature service instead of single features.")]
SHOWN_ROWS = 50


def get_online(
    entities: Annotated[list[str], typer.Argument(help="Entity ids.")],
    feature: Features = None,
    service: Service = None,
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Read the newest values: raytide get-online user_1 user_2 -f account_balance."""
    with connect(address) as client:
        answer = client.get_online_features(_wanted(feature, service), entities)
    if as_json:
        print_json(answer.to_dict())
        return
    rows = [
        (entity, name, _text(answer.values[column][row]), answer.statuses[column][row], answer.event_timestamps[column][row])
        for row, entity in enumerate(answer.entity_ids)
        for column, name in enumerate(answer.names)
    ]
    print_table("newest values", ["entity", "feature", "value", "status", "event time (µs)"], rows)


def get_historical(
    entity_rows: Annotated[Path, typer.Argument(help="CSV or Parquet with the join key and event_timestamp.", exists=True)],
    feature: Features = None,
    service: Service = None,
    known_at: Annotated[str | None, typer.Option(help="Only what was known by this time (RFC 3339).")] = None,
    known_at_column: Annotated[str, typer.Option(help="A column with such a time for each row.")] = "",
    registry_version: Annotated[int, typer.Option(help="Only what this version's definitions computed.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the answer here, .parquet or .csv.")] = None,
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Join features as they were at each row's time: raytide get-historical rows.csv -f account_balance."""
    rows = _read(entity_rows)
    with connect(address) as client:
        joined = client.get_historical_features(
            rows,
            _wanted(feature, service),
            known_at=known_at,
            known_at_column=known_at_column,
            registry_version=registry_version,
        )
    if out is not None:
        _write(joined, out)
        output.print(f"{joined.num_rows} rows written to {out}", highlight=False)
        return
    _print_arrow(joined, "features as they were", as_json=as_json)


def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT; files, network and settings are switched off.")],
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Query history: raytide sql "SELECT feature_name, count(*) FROM features GROUP BY 1"."""
    with connect(address) as client:
        _print_arrow(client.sql(statement), "", as_json=as_json)


def _read(path: Path) -> pa.Table:
    """Return the rows of a CSV or Parquet file; raise Misconfigured when it is neither."""
    try:
        return parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = "Parquet" if path.suffix == ".parquet" else "CSV"
        raise Misconfigured(
            f"{path} cannot be read as {kind} ({_first_line(error)}): give a .csv or .parquet file with the join key "
            "and event_timestamp"
        ) from error


def _write(table: pa.Table, path: Path) -> None:
    """Write the answer by the suffix; raise Misconfigured when that is not possible."""
    try:
        parquet.write_table(table, path) if path.suffix == ".parquet" else csv.write_csv(table, path)
    except (pa.ArrowException, OSError) as error:
        raise Misconfigured(
            f"{path} cannot be written ({_first_line(error)}): name a place in a folder that exists with --out"
        ) from error


def _first_line(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]


def _text(value: float) -> str:
    return "" if isnan(value) else f"{value:.15g}"


def _wanted(features: list[str] | None, service: str | None) -> list[str] | str:
    if bool(features) == bool(service):
        raise Misconfigured("name features with -f, or one service with --service")
    return features or str(service)


def _print_arrow(table: pa.Table, title: str, *, as_json: bool) -> None:
    if as_json:
        print_json(table.to_pylist())
        return
    shown: list[dict[str, Any]] = table.slice(0, SHOWN_ROWS).to_pylist()
    print_table(title, table.column_names, [list(row.values()) for row in shown])
    if table.num_rows > SHOWN_ROWS:
        output.print(f"{SHOWN_ROWS} of {table.num_rows} rows; --json prints all", highlight=False)
