"""The contract of ELBOard: cards, configurations, runs and records. Importing it imports neither torch nor a method."""
