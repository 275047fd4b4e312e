"""Networks (torso, core and heads) and action distributions."""
