"""The pages of docs/reference, written from the code when the documentation is built."""
