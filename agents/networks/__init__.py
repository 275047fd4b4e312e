"""Networks: torso, core, heads, and the distribution that reads them."""
