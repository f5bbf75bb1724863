"""Sequences of vectors: how good samples and completions are, how likely what was held out is, and what drawing costs by length."""
