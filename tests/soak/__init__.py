"""The dashboard under load and hostile input: `make soak`, and its miniature among the tests."""
