"""A recording's journey, one module a step, in the order it happens."""
