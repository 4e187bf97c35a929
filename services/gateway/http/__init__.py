"""The HTTP edge: server, request lifecycle, authentication, bodies, errors, routes and handlers."""
