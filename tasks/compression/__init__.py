"""Networks that become smaller after training."""
