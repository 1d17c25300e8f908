"""`python -m brainmri` is the console script `brainmri`."""

from brainmri.commands.cli import main

if __name__ == "__main__":
    main()
