"""Examples of custom parts; the scripts run from a checkout."""
