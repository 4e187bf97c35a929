"""Rigs and helpers of the tests: servers, fakes of the ports, sample records."""
