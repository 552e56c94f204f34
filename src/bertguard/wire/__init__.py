"""Bytes on the wire -> segments. One file per dialect, pure functions, no I/O."""
