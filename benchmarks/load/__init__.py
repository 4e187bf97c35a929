"""`make bench`: speed, processor time and memory of the gateway, compared with a bare proxy and with other gateways."""
