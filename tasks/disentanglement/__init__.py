"""Disentanglement: images made from known factors of variation, and the codes that methods find for them without seeing these."""
