"""The spec: what a user asks for, how it is loaded, and what is wrong with it. The lowest layer."""
