"""The distance of a candidate from its reference: KLD, perplexity, top-1, on the kernels that will run it."""
