"""Classification with corrupted training labels."""
