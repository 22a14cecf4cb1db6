"""`python -m sparsity_planner_server`."""

from . import main

main()
