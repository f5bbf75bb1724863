"""Classifiers of classes that training has not seen, by a few examples of each."""
