"""The demo: real prompts with recorded outcomes go through the running system, and one can watch it learn."""
