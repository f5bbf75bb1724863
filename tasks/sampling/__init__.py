"""What samplers of one trained model give, by what they cost."""
