"""Text as sequences of letters: likelihoods and bounds on them."""
