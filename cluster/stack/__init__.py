"""A real Kafka and a real Redis-compatible server on this machine, from packages alone."""
