"""Images of several domains, of which some have labels: what carries over to the others."""
