"""`python -m edgeaudit`."""

from edgeaudit.cli import main

if __name__ == "__main__":
    main()
