"""Variational autoencoders and their linear, exactly solvable relative."""
