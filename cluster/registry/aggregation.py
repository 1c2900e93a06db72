"""Features over windows, as an author writes them in a view: what is counted or summed, and how far back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from cluster.registry.places import here
from cluster.windows.window import Window, spoken, usual_hop


class Function(StrEnum):
    """What is computed of the values in a window. Nulls are no values: no function sees them."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    STD = "std"
    LAST = "last"
    FIRST = "first"
    COUNT_DISTINCT = "count_distinct"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A feature that is computed when it is read, from what history has of another feature of its view.

    `Aggregation("amount_eur", "sum", timedelta(days=7))` is the feature `amount_eur_sum_7d`: at a time t, the sum of the
    entity's values of `amount_eur` with event times in `(floor_to_hop(t - window), t]`.

    `function` is count, sum, mean, min, max, std (of a sample, as in pandas and SQL), last, first or count_distinct.
    `filter` names another feature of the view: only events for which it is neither false, 0 nor null count. Without a
    `hop` the lower edge moves in steps of a second, minute, five minutes, hour or day, whichever is the finest that cuts
    the window into 300 or fewer. Without a `name` it is called after the other three.
    """

    input: str
    function: str
    window: timedelta
    hop: timedelta | None = None
    filter: str | None = None
    name: str = ""
    description: str = ""
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        # Part of the definition from here on: another default in a later version changes no window.
        if isinstance(self.window, timedelta):
            object.__setattr__(self, "hop", usual_hop(self.window) if self.hop is None else self.hop)
            object.__setattr__(self, "name", self.name or f"{self.input}_{self.function}_{spoken(self.window)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the one feature that this is in a view."""
        return (self.name,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the features that it is computed from."""
        return (self.input, self.filter) if self.filter else (self.input,)

    @property
    def span(self) -> Window:
        """Return its window; raise Misconfigured when it has none."""
        return Window.of(self.window, self.window if self.hop is None else self.hop)
