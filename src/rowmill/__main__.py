"""``python -m rowmill``: the same as the command ``rowmill``."""

from rowmill.cli.main import main

if __name__ == "__main__":
    main()
