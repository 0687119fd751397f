"""What people and Prometheus see of a running taskmesh.

Import ``metrics`` only where they are served: it is the one module here that loads prometheus_client.
"""
