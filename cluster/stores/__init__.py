"""I/O: one protocol file (`ports`), one module for each system, twins in memory for unit tests."""
