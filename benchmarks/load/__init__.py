<<<<<<< HEAD
"""`make bench`: speed, processor time and memory of the gateway, compared with a bare proxy and with other gateways."""
=======
"""`make bench`: throughput, processor time and memory of the gateway, compared with a bare proxy and other gateways."""
>>>>>>> 825f16d (benchmarks: put docstrings, options and messages in plain English)
