"""Several modalities of one thing: how good, how likely and how coherent they are, generated together and given one another."""
