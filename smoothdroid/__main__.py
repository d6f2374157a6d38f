"""`python -m smoothdroid`: the same as the command `smoothdroid`."""

from smoothdroid.host.cli import main

main()
