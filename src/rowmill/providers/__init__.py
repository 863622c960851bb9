"""Model endpoints: an OpenAI-compatible client, a simulated one, and their typed errors."""
