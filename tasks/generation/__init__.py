"""Image generation: likelihood, samples, codes."""
