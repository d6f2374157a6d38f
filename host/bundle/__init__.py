"""What somebody with nothing but Termux needs to run a model, in one file: binaries, models, and how to start them."""
