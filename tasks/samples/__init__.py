"""How near samples come to the data, for whatever draws them."""
