"""The path, pure: decode -> validate -> transform -> batch. Knows no Ray, Kafka, Redis or DuckDB."""
