"""Episodes of classes that training has not seen."""
