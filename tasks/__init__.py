"""Tasks: one file each, ``tasks/<family>/<data>.py``; data sets in ``tasks/data``."""
