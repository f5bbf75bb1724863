"""Models of discrete compositional latents, by how their posterior is approximated."""
