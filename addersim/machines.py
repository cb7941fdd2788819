"""evaluate_machines, in its old place; :func:`addersim.evaluate_machines` is the same function."""

from addersim.costs.evaluate_machines import evaluate_machines as evaluate_machines
