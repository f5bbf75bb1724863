"""Making a trained classifier forget some of its training examples."""
