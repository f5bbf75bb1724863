"""Models of text: masked diffusions of tokens, and the autoregressive one that they stand against."""
