"""The ``elboard`` command: parse, call, print."""
