"""Detection of out-of-distribution examples."""
