"""Forms of checkpoints: what each is, made small, and what loading it gives."""
