"""Features that are computed from other answers, when somebody reads: functions that take windows.

The same function runs on the answers of an online read and of a historical one, by the code that runs functions on records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cluster.errors import Refused
from cluster.ingest.budget import TIMEOUT_S
from cluster.ingest.columns import Column, Doubles
from cluster.ingest.evaluate import evaluate
from cluster.registry.catalog import FeatureSpec, ReadFunction


def base_of(specs: Iterable[FeatureSpec]) -> list[FeatureSpec]:
    """Return the features that have to be read for `specs`, each once, in order: those themselves that nothing computes."""
    found: dict[str, FeatureSpec] = {}
    for spec in specs:
        for base in base_of(spec.computed.inputs) if spec.computed else [spec]:
            found.setdefault(base.name, base)
    return list(found.values())


def complete(
    specs: Sequence[FeatureSpec], answers: Mapping[str, Doubles], timeout_s: float = TIMEOUT_S
) -> Mapping[str, Doubles]:
    """Return the answers of all `specs`, by name; `answers` has those of `base_of(specs)`. NaN is null.

    Each function is called once, with at most `timeout_s`. Raise Refused when it fails for an answer: a null that nobody
    computed would look like a value.
    """
    known = dict(answers)
    for spec in specs:
        if spec.computed:
            _compute(spec.computed, known, timeout_s)
    return {spec.name: known[spec.name] for spec in specs}


def _compute(made: ReadFunction, known: dict[str, Doubles], timeout_s: float) -> None:
    if made.function.names[0] in known:
        return
    for spec in made.inputs:
        if spec.computed:
            _compute(spec.computed, known, timeout_s)
    columns = [known[spec.name] for spec in made.inputs]
    known.update(zip(made.function.names, _called(made, columns, timeout_s), strict=True))


def _called(made: ReadFunction, columns: Sequence[Doubles], timeout_s: float) -> Sequence[Doubles]:
    if not len(columns[0]):
        return [np.empty(0) for _ in made.function.names]
    found = evaluate(made.function, [Column.of_doubles(column) for column in columns], timeout_s)
    if found.faults:
        _, why = next(iter(found.faults.values()))
        raise Refused(
            f"feature {why}; so it was for {len(found.faults):,} of {len(columns[0]):,} answers: let the function take what "
            "windows give, nulls among them, or leave the feature out",
        )
    return found.outputs
