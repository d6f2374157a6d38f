"""A bundle: everything that a user of Termux needs to run a model, in one file."""
