"""The implementations behind the ports. Only the assembly may import them."""
