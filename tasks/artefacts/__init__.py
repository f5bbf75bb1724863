"""Artefacts: what reconstructions of image autoencoders show that images do not."""
