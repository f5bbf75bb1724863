"""Classifiers that are to carry over to domains whose labels they have not seen."""
