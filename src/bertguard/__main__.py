"""Run the command line as `python -m bertguard`."""

from bertguard.cli import main

if __name__ == "__main__":
    main()
