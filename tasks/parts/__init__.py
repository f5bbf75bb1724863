"""What several families of tasks share: the protocol of image likelihoods, feature networks, pictures."""
