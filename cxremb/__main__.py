"""`python -m cxremb` is the command `cxremb`."""

from cxremb.cli.main import main

if __name__ == "__main__":
    main()
