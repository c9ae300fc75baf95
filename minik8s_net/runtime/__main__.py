"""`python -m minik8s_net.runtime CLUSTER STATE`: what `daemon.start` runs. Not for the command line."""

import sys

from .daemon import main

sys.exit(main())
