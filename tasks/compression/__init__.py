"""Networks and maps that become smaller."""
