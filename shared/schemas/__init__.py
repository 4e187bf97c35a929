"""What crosses a process boundary: requests, records, events, errors."""
