"""The road: messages out with confirms, deliveries in with acks. One protocol, two adapters."""
