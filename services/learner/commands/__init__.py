"""Commands of the operator: dead letters, forget, rebuild, export, import, evaluate-models."""
