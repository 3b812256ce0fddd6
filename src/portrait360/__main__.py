"""`python -m portrait360` is the same as the `portrait360` command."""

from portrait360.apps.cli.main import main

if __name__ == "__main__":
    main()
