"""What random masks in training do: how far masked predictions lie apart, what is fitted, which way gradients point."""
