"""Decides whether a user's statement may run: one query, nothing that writes, no function that reaches outside.

DuckDB's own parser does the reading, so a statement is judged as it will be executed. This is one fence of three: the
database is opened without external access, and the statement then runs in a read-only transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from cluster.errors import Refused

#: Above it, nested statements overflow the parser's stack, and with it the process that owns the data.
MAX_CHARACTERS = 20_000

#: Table functions that read nothing but their arguments or the catalog. All others are refused, also ones not yet known.
TABLE_FUNCTIONS = frozenset(
    {
        "duckdb_columns",
        "duckdb_functions",
        "duckdb_keywords",
        "duckdb_tables",
        "duckdb_types",
        "duckdb_views",
        "generate_series",
        "generate_subscripts",
        "json_each",
        "json_tree",
        "pragma_table_info",
        "pragma_version",
        "range",
        "repeat",
        "repeat_row",
        "summary",
        "unnest",
    },
)

#: Scalar functions that change state, wait, or show the process: its environment, settings and variables.
REFUSED_FUNCTIONS = frozenset(
    {
        "current_setting",
        "getenv",
        "getvariable",
        "json_execute_serialized_sql",
        "nextval",
        "pg_sleep",
        "setseed",
        "setval",
        "sleep_ms",
        "write_log",
    },
)

REFUSED_TABLES = frozenset({"duckdb_databases", "duckdb_logs", "pg_settings", "pragma_database_list"})

QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?(.*)", re.IGNORECASE | re.DOTALL)
_ALLOWED = "only a single SELECT (also WITH, VALUES, FROM, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN) is allowed here"


def check(statement: str, parser: duckdb.DuckDBPyConnection) -> None:
    """Raise Refused, saying why, unless `statement` is one query that only reads tables. Runs nothing of it.

    `parser` is any idle connection; it turns the statement into its syntax tree.
    """
    if len(statement) > MAX_CHARACTERS:
        raise Refused(f"the statement has {len(statement)} characters, {MAX_CHARACTERS} are allowed: split it")
    if _kind(statement) == duckdb.StatementType.EXPLAIN:
        explained = _EXPLAIN.fullmatch(statement)
        if explained is None:
            raise Refused("EXPLAIN with options or comments cannot be checked: write EXPLAIN [ANALYZE] SELECT ...")
        statement = explained.group(1)
    for node in _nodes(_tree(statement, parser)):
        _check_node(node)


def _kind(statement: str) -> duckdb.StatementType:
    try:
        found = duckdb.extract_statements(statement)
    except duckdb.Error as error:
        raise Refused(f"the statement does not parse: {str(error).splitlines()[0]}") from error
    if len(found) != 1:
        raise Refused(f"{len(found)} statements: {_ALLOWED}")
    if found[0].named_parameters:
        raise Refused("the statement has parameters: write the values into it")
    kind = found[0].type
    if kind == duckdb.StatementType.MULTI:
        raise Refused("a PIVOT must list its values (PIVOT t ON column IN (...)): it would create a type otherwise")
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise Refused(f"{kind.name} is refused: {_ALLOWED}")
    return kind


def _tree(statement: str, parser: duckdb.DuckDBPyConnection) -> Any:
    # The parser that is built in may not be asked for a tree of anything but queries: an error means "not a query".
    [(text,)] = parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchall()
    try:
        tree = json.loads(text)
    except RecursionError:
        raise Refused("the statement is nested too deeply to be checked: use WITH to take it apart") from None
    if tree["error"] or len(tree["statements"]) != 1:
        raise Refused(f"the statement is not a plain query: {_ALLOWED}")
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_node(node: dict[str, Any]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in QUERY_NODES:
        raise Refused(f"{kind.split('_', maxsplit=1)[0]} inside a query is refused: statements here only read")
    if kind == "TABLE_FUNCTION":
        name = _function_name(node["function"])
        if name not in TABLE_FUNCTIONS:
            raise Refused(
                f"table function '{name}' is refused: here are no files, network or settings, only the store's tables "
                "(SHOW TABLES lists them)",
            )
    if node.get("class") == "FUNCTION" and (name := _function_name(node)) in REFUSED_FUNCTIONS:
        raise Refused(f"function '{name}' is refused: it changes or shows the state of the process, leave it out")
    if kind == "BASE_TABLE" and str(node["table_name"]).lower() in REFUSED_TABLES:
        raise Refused(f"'{node['table_name']}' is refused: it shows settings of the process, leave it out")


def _function_name(node: dict[str, Any]) -> str:
    return str(node.get("function_name", "")).lower()
