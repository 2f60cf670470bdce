"""`python -m energy_plugin`: the command line."""

from energy_plugin.cli import main

raise SystemExit(main())
