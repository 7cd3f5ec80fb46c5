"""`python -m dashboard.cli` for where the command itself is not on the path."""

from dashboard.cli import main

if __name__ == "__main__":
    main()
