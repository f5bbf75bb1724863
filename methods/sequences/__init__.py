"""Models of sequences of vectors: variational ones that draw all steps at once, and autoregressive ones."""
