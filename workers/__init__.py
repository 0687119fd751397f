"""Example apps, deployable as they are: ``taskmesh worker -A workers.orders``."""
