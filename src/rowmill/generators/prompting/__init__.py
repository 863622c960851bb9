"""Columns that ask a model, and what they share: prompts, conversations, answers, pictures, vectors."""
