"""Methods, one file each, by family: ``methods/<family>/<method>.py``."""
