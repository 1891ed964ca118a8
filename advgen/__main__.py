"""`python -m advgen`: the `advgen` command."""

from advgen.cli import main

if __name__ == "__main__":
    main()
