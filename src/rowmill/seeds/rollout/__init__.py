"""Sessions that coding agents have recorded, one seed row each, in one shape whatever the agent."""
