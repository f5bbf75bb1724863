"""Whether codes have the topology of what generated their data."""
