"""Inpainting: images of which a part is seen, completed."""
