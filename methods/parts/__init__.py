"""What families share, so that a difference in a table is a difference of method: networks, likelihoods, priors, posteriors, schedules."""
