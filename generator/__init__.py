"""`python -m generator`: drives load and reports what was acknowledged."""
