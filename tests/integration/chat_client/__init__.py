"""The real upstream client in front of an upstream of raw bytes."""
