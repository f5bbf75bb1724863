"""Learning with corrupted labels."""
