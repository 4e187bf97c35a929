"""Demo: sends prompts with recorded outcomes through a running stack, and shows how it learns."""
