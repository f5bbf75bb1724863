"""Where runs execute: this machine, Slurm, Ray."""
