"""`python -m minik8s_net.cli`: the same command, where the console script is not on the PATH."""

from . import main

main()
