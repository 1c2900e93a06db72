"""Everything that decides, and the small classes that talk to the outside behind ports.

Read in this order: `records` (the nouns), `ingest.pipeline` (the path), `actors.partition` (who drives it),
`docs/delivery.md` (what happens when it dies in the middle).

    registry/   what features exist                  pure
    ingest/     decode -> validate -> DAG -> batch   pure
    serving/    online and point-in-time reads       pure
    windows/    which events a window holds          pure
    stores/     Kafka, Redis, DuckDB behind ports    I/O
    gateway/    gRPC edge                            I/O
    stack/      a local Kafka and Valkey             I/O
    lifecycle   the composition root; with `actors/` the only module that imports Ray
"""
