"""Post-hoc detectors of out-of-distribution examples."""
