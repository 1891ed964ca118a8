"""A forward pass, cheaper than the libraries' own: shared prompts, fused products, sampling, log-probabilities."""
