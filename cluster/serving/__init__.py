"""Reads: newest values with true statuses, and point-in-time joins that never see the future."""
