"""`python -m brainmri` is the console script `brainmri`."""

from brainmri.cli import main

if __name__ == "__main__":
    main()
