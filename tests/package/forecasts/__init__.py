"""A package beside ELBoard that brings a kind of work with a metric, a task and a method."""
